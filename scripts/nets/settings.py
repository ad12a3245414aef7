"""Typed settings: what a number in a YAML file may be. Imports neither torch nor anything else heavy."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class Section(BaseModel):
    """A section of settings: a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; kernels that keep the input's size have odd lengths")
    return value


Count = Annotated[int, Field(strict=True, ge=1)]
OddCount = Annotated[int, Field(strict=True, ge=1), AfterValidator(_odd)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Flag = Annotated[bool, Field(strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Device = Literal["auto", "cpu", "cuda"]
