"""The whole configuration: config.yaml, and the set-ups that lie beside their figures.

A set-up is written out at the scale of the paper; the other scales name only what differs, so the
list of departures from the paper is computed and never typed. ``overrides`` in config.yaml, in a file
of the user's or on the command line changes any of it. All is checked before any job starts, and
all mistakes are told at once. Nothing heavy is imported here: the Snakefile does this on every call.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from nets.settings import NonNegative, PositiveFloat, Section
from pipeline.config.layers import leaves
from pipeline.config.rooms import (
    Paper,
    Room,
    StudyAbout,
    TrainingAbout,
)
from pipeline.config.training import BoundsJob, PlainSetup, Setup, TrainingJob, identity

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

ScaleName = Literal["laptop", "paper", "smoke"]
PAPER = "paper"
SCALES: tuple[str, ...] = (PAPER, *(s for s in get_args(ScaleName) if s != PAPER))


class TopLevel(Section):
    """All of config.yaml."""

    scale: ScaleName = Field(description="which scale the figures are drawn at")
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="where to train; auto: a CUDA device if there is one"
    )
    jobs_per_gpu: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="jobs that share a GPU: small nets leave most of it idle, studies that take times "
        "want it alone; under SLURM it is SLURM that assigns GPUs",
    )
    random_seed: NonNegative = Field(description="root of all seeds of initialisation and batch order")
    save_every: PositiveFloat = Field(
        description="seconds between two saves of a running training: what a kill can lose"
    )
    progress_every: PositiveFloat = Field(description="seconds between two lines of progress")
    simulations: Annotated[int, Field(ge=0, le=10_000)] = Field(
        description="simulated tables for the coverage and errors of each claim, which are left out "
        "with 0; smoke makes 4 at most"
    )
    data_root: str | None = Field(
        None,
        description="a folder where published files of data sets may lie, loose, by data set or as "
        "torchvision has them; what is missing is added to it; null: the environment variable DATA_ROOT",
    )
    mirror: str | None = Field(
        None,
        description="an address that is asked for published files before all others, as "
        "MIRROR/mnist/train-images-idx3-ubyte.gz",
    )
    without: tuple[str, ...] = Field(
        (),
        description="published data, such as cifar100, that are not to be had: the targets "
        "figures_images and claims_images leave out what needs them",
    )
    overrides: dict[str, Any] = Field(
        {}, description="what to change in set-ups: NAME.SCALE.KEY: value, dotted or nested"
    )

    @field_validator("mirror")
    @classmethod
    def _is_an_address(cls, mirror: str | None) -> str | None:
        split = urlsplit(mirror or "http://nowhere")
        if split.scheme not in ("http", "https") or not split.netloc:
            raise ValueError(
                f"{mirror!r} is no address; write http://HOST/FOLDER or https://HOST/FOLDER, "
                "and name a folder on this machine by data_root"
            )
        return mirror


@dataclass(frozen=True)
class Config:
    """The checked configuration.

    ``trainings`` and ``studies`` hold, by name, the set-up at each scale; trainings are in an order
    in which each comes behind the one that it is like.
    """

    top: TopLevel
    rooms: dict[str, Room]
    trainings: dict[str, dict[str, Setup]]
    studies: dict[str, dict[str, Section]]
    about_trainings: dict[str, TrainingAbout]
    about_studies: dict[str, StudyAbout]
    papers: dict[str, Paper]

    @property
    def scale(self) -> str:
        """Which scale the figures are drawn at."""
        return self.top.scale

    @property
    def simulations(self) -> int:
        """How many simulated tables the claims are tested on."""
        return min(self.top.simulations, 4) if self.scale == "smoke" else self.top.simulations

    @property
    def figures(self) -> list[str]:
        """Names of all figures."""
        return [name for name, room in self.rooms.items() if room.kind == "figure"]

    @property
    def reader_tables(self) -> list[str]:
        """Names of all tables for readers."""
        return [name for name, room in self.rooms.items() if room.kind == "table"]

    def setup(self, training: str) -> PlainSetup:
        """The set-up of ``training``, or of one of its :meth:`variants`, at the configured scale."""
        name, _, variant = training.partition("/")
        setup = self.trainings[name][self.scale]
        return setup.variants[variant] if variant else setup

    def variants(self, training: str) -> list[str]:
        """What is trained: the training itself, or ``TRAINING/VARIANT`` for each of its variants."""
        names = self.trainings[training][self.scale].variants
        return [f"{training}/{name}" for name in names] or [training]

    def training_job(self, training: str) -> TrainingJob:
        """What the runs of ``training`` depend on."""
        setup = self.setup(training)
        return TrainingJob(
            model=setup.model,
            seeds=setup.seeds,
            random_seed=self.top.random_seed,
            training=setup.training,
            training_points=setup.training_points,
        )

    def bounds_job(self, training: str) -> BoundsJob:
        """What the bounds of the runs of ``training`` depend on."""
        setup = self.setup(training)
        return BoundsJob(model=setup.model, bounds=setup.bounds, training_points=setup.training_points)

    def study(self, name: str) -> Section:
        """The settings of the study ``name`` at the configured scale."""
        return self.studies[name][self.scale]

    def study_job(self, name: str) -> str:
        """The settings of the study ``name`` as they enter its identity."""
        return identity(self.study(name))

    def departures(self, name: str) -> list[dict[str, Any]]:
        """What differs from the paper in a training or study: {setting, paper, here}."""
        room = self.rooms.get(name)
        always = {} if room is None else room.about.departs
        scales: Mapping[str, BaseModel] = self.studies.get(name) or self.trainings[name]
        paper, here = (dict(leaves(_stated(scales[scale]))) for scale in (PAPER, self.scale))
        stated = [{"setting": key} | pair.model_dump() for key, pair in always.items()]
        return stated + [
            {"setting": key, "paper": paper.get(key), "here": here.get(key)}
            for key in sorted(paper | here)
            if paper.get(key) != here.get(key)
        ]


def _stated(settings: BaseModel) -> dict[str, Any]:
    """``settings`` as JSON, each variant with nothing but what it replaces."""
    whole = settings.model_dump(mode="json")
    variants = whole.pop("variants", {})
    base = dict(leaves(whole))
    return whole | {
        "variants": {
            name: {key: value for key, value in leaves(variant) if base.get(key) != value}
            for name, variant in variants.items()
        }
    }


def names_of_setups(config: Config) -> Iterator[str]:
    """All trainings, then all studies."""
    yield from config.trainings
    yield from config.studies
