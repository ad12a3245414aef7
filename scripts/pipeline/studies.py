"""Settings of the studies: figures that need bounds or small nets, but no experiment's training.

A study is one job, ``scripts/study_NAME.py``, that writes one tidy table. Nothing heavy is imported
here: the Snakefile reads this module on every call.
"""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

# The settings themselves are parameters of the rules, so a new key here rebuilds nothing.
AFFECTS_RESULTS = False  # see pipeline.fingerprint

Count = Annotated[int, Field(strict=True, ge=1)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]


class Settings(BaseModel):
    """Settings of one study at one scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SeqlipIdeal(Settings):
    """AutoLip against SeqLip for random weights with given singular values."""

    layers: Count = Field(description="largest number of linear layers; one point for each from 1 on")
    width: Count = Field(description="width of the hidden layers")
    ratios: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        min_length=1, description="ratio of all other singular values to the leading ones"
    )
    leading: Count = Field(description="number of unit singular values (figure: 1; released default: 5)")
    draws: Count = Field(description="independent draws of the weights (the paper: one, without a seed)")
    seed: NonNegative = Field(description="seed of the weights")


AnySettings = TypeVar("AnySettings", bound=Settings)


class Study(BaseModel, Generic[AnySettings]):
    """A study at every scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: AnySettings = Field(description="the set-up of the paper, in full")
    laptop: AnySettings = Field(description="what differs on a laptop (minutes)")
    smoke: AnySettings = Field(description="what differs in a quick check that the workflow runs")


class Studies(BaseModel):
    """The studies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seqlip_ideal: Study[SeqlipIdeal] = Field(
        description="SeqLip in the ideal scenario (Virmaux & Scaman 2018)"
    )
