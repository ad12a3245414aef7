"""Set-ups of trainings: what is trained, on what, how, and which bounds are taken.

Nothing heavy is imported here: the Snakefile reads this module on every call. What a part (a family,
a loss, a schedule, ...) can be set to stands in the file of the part.
"""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from nets import parts
from nets.settings import (
    LARGEST,
    Count,
    NonNegative,
    Percent,
    PositiveFloat,
    Repeats,
    Section,
)
from pipeline.config.errors import quoted

# The settings themselves are parameters of the rules, so a new key here rebuilds nothing.
AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

_CHAINS = "lipbounds.bounds.chains"

CHAIN_BOUNDS = sorted(
    path.stem for path in parts.ROOT.parent.joinpath(*_CHAINS.split(".")).glob("[a-z]*.py")
)
"""Bounds of chains of layers, one file each; lipbounds itself would bring torch along."""


def chain_modules(names: Iterable[str] = CHAIN_BOUNDS) -> list[str]:
    """The modules of bounds of chains, all by default."""
    return [f"{_CHAINS}.{name}" for name in names]


VariantName = Annotated[str, StringConstraints(pattern=r"^[a-z_]+~\d+$")]
"""A name and a whole number, as in the paths of results."""


@cache
def _sections(kind: str) -> dict[str, type[Section]]:
    """The settings of every part of a kind, with the part's ``name``."""
    return {
        name: create_model(
            name,
            __base__=parts.settings_of(kind, name),
            __doc__=parts.settings_of(kind, name).__doc__,
            name=(Literal[name], Field(description=f"kind of {kind}")),  # type: ignore[arg-type]
        )
        for name in parts.names(kind)
    }


def _one_of(sections: dict[str, type[Section]]) -> Any:
    """The type of a section that is one of these, chosen by its ``name``."""
    union = reduce(or_, sections.values())
    return Annotated[union, Field(discriminator="name")] if len(sections) > 1 else union


def _name_of(kind: str) -> Any:
    """The type of the name of a part."""
    return Literal[tuple(parts.names(kind))]


def _optional(kind: str) -> type[Section]:
    """A section with a key for every part of a kind, all of which may be left out."""
    keys: dict[str, Any] = {
        name: (parts.settings_of(kind, name) | None, Field(None, description=_first_line(kind, name)))
        for name in parts.names(kind)
    }
    return create_model(kind, __base__=Section, **keys)


def _first_line(kind: str, name: str) -> str:
    about = (parts.settings_of(kind, name).__doc__ or "").strip().splitlines()[0].rstrip(".")
    return f"{about}; null: none"


if TYPE_CHECKING:
    Model = Any
    Schedule = Any
    Optimizer = Any
    Augmentation = Any
    Penalties = Section
    DataName = str
    LossName = str
    NoiseName = str
    UpperName = str
else:
    Model = _one_of(_sections("model"))
    Schedule = _one_of(_sections("schedule"))
    Optimizer = _one_of(_sections("optimizer"))
    Augmentation = _one_of(_sections("augmentation"))
    Penalties = _optional("penalty")
    DataName, LossName, NoiseName = (_name_of(kind) for kind in ("data", "loss", "noise"))
    UpperName = Literal[("autolip", *CHAIN_BOUNDS, "best", "tightest")]

_SGD = _sections("optimizer")["sgd"](name="sgd")  # type: ignore[call-arg]


class LabelNoise(Section):
    """Which training labels are changed, and how. Test labels never are."""

    kind: NoiseName = Field(
        description="pair_swap: labels of random pairs swapped, class counts kept (the paper); "
        "uniform: random points relabelled uniformly over all classes"
    )
    percent: Percent = Field(description="share of the training points, per cent")
    seed: NonNegative = Field(description="seed of the noise, the same for every width and seed")


class Training(Penalties):
    """How nets are updated, and when that stops. Besides, a key for each penalty and constraint."""

    loss: LossName = Field(
        description="mean_squared_error is summed over classes and averaged over points"
    )
    learning_rate: PositiveFloat = Field(description="base learning rate")
    schedule: Schedule = Field(description="factor of the learning rate per update")
    optimizer: Optimizer = Field(_SGD, description="what is done with the gradient after clipping")
    batch_size: Count = Field(description="points per update; more than there are means one batch")
    shuffle: bool = Field(description="new batch order each epoch (the paper's code: never)")
    order_seed: NonNegative = Field(0, description="which batch orders, where shuffle is true")
    clip_norm: PositiveFloat | None = Field(
        description="gradients are scaled down to this 2-norm; null: no clipping"
    )
    augmentation: Augmentation | None = Field(
        None,
        description="what is done to the points of each batch, drawn anew in each epoch; null: nothing. "
        "Losses, gradient norms and bounds are of the points as they are",
    )
    temperature: PositiveFloat = Field(
        1.0, description="the loss is that of this multiple of the logits; bounds are of the net without"
    )
    track_path: bool = Field(
        False,
        description="whether history.csv has the length of the path of the weights and the largest "
        "norm of a batch's gradient so far",
    )
    min_epochs: NonNegative = Field(description="no stop before this many epochs")
    max_epochs: Count = Field(description="stop after this many epochs in any case")
    target_gradient_norm: PositiveFloat = Field(
        description="stop once the 2-norm of the full-batch gradient is at most this"
    )
    gradient_norm_every: Count = Field(
        description="epochs between two checks of the stopping rule, from min_epochs on"
    )
    record_every: Count = Field(description="epochs between two rows of history.csv")
    keep_epochs: tuple[NonNegative, ...] = Field(
        description="epochs whose weights are kept, besides initialisation and the stop; those of an "
        "inherited list that lie beyond max_epochs are left out"
    )

    @property
    def penalties(self) -> dict[str, Section]:
        """The penalties and constraints that are stated, by name."""
        found = {name: getattr(self, name) for name in parts.names("penalty")}
        return {name: settings for name, settings in found.items() if settings is not None}

    @model_validator(mode="after")
    def _epochs_in_order(self) -> Self:
        if self.min_epochs > self.max_epochs:
            raise ValueError(
                f"min_epochs ({self.min_epochs}) exceeds max_epochs ({self.max_epochs}); "
                "lower min_epochs or raise max_epochs"
            )
        return self

    @model_validator(mode="after")
    def _order_seed_needs_shuffling(self) -> Self:
        if self.order_seed and not self.shuffle:
            raise ValueError(
                f"order_seed {self.order_seed} does nothing without shuffling; set shuffle to true, "
                "or order_seed to 0"
            )
        return self


class Bounds(Section):
    """Which bounds are computed of every kept checkpoint."""

    upper: UpperName = Field(
        description="autolip: product of the layers' operator norms (the paper); best: the least of "
        "all that take milliseconds; docs/library.md has the others"
    )
    ord: Literal[1, 2, "inf"] = Field(description="norm on inputs and logits; 1 and inf for autolip")
    points: Count | None = Field(
        None,
        description="the largest number of training points, and of test points, that the lower bounds "
        "are taken over, at random and the same for all nets; null: all",
    )

    @field_validator("ord", mode="before")
    @classmethod
    def _no_truth_value(cls, given: Any) -> Any:
        """Python takes true for 1."""
        if isinstance(given, bool):
            raise ValueError(f"{given} is not known; use 1 or 2 or inf")
        return given

    @model_validator(mode="after")
    def _tighter_bounds_are_of_the_2_norm(self) -> Self:
        if self.ord != 2 and self.upper != "autolip":
            raise ValueError(f"upper: {self.upper} is for ord 2, not {self.ord}; use autolip")
        return self


def _positive(given: Any) -> Any:
    """Told once here, and not once for each of two types."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= LARGEST:
        raise ValueError(f"{quoted(given)} is out of range; write a number above 0")
    return given


class PlainSetup(Section):
    """What one experiment trains at one scale."""

    dataset: DataName = Field(description="name of a file in scripts/nets/data")
    training_points: Count | None = Field(
        None, description="size of the random subset of the training points; null: all of them"
    )
    label_noise: LabelNoise
    noises: tuple[Percent, ...] = Field(
        (),
        description="levels of label noise, per cent, one training job each for every width; none "
        "listed: the one in label_noise",
    )
    model: Model
    widths: tuple[Count, ...] = Field(min_length=1, description="hidden widths, one training job each")
    seeds: Repeats = Field(description="independent initialisations per width, trained side by side")
    training: Training
    bounds: Bounds
    threshold_width: Annotated[
        Count | Annotated[float, Field(gt=0, allow_inf_nan=False)], BeforeValidator(_positive)
    ] = Field(
        description="width at which parameters equal training points (times classes, for the squared "
        "error), between two if need be, drawn as a vertical line"
    )

    @field_validator("widths", "noises")
    @classmethod
    def _distinct(cls, values: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        twice = sorted(value for value, times in Counter(values).items() if times > 1)
        if twice:
            what = str(info.field_name).removesuffix("s")
            raise ValueError(f"{what} {', '.join(map(str, twice))} is listed twice; remove one")
        return values


class Setup(PlainSetup):
    """One experiment at one scale."""

    variants: dict[VariantName, PlainSetup] = Field(
        {},
        description="what is trained instead of the set-up itself: it with some settings replaced, by "
        "name; at other scales null leaves a variant out",
    )


class TrainingJob(Section):
    """All settings that a training run depends on, besides its width and its input files."""

    model: Model
    seeds: Count
    random_seed: NonNegative
    training: Training
    training_points: Count | None = None

    def parts(self) -> list[str]:
        """The modules of the parts that it is made of."""
        training = self.training
        found = [
            parts.module_name("model", self.model.name),
            parts.module_name("loss", training.loss),
            parts.module_name("schedule", training.schedule.name),
            parts.module_name("optimizer", training.optimizer.name),
        ]
        if training.augmentation is not None:
            found.append(parts.module_name("augmentation", training.augmentation.name))
        return found + [parts.module_name("penalty", penalty) for penalty in training.penalties]


class BoundsJob(Section):
    """All settings that the bounds of a run depend on, besides its width and its input files."""

    model: Model
    bounds: Bounds
    training_points: Count | None = None

    def parts(self) -> list[str]:
        """The modules of the parts that it is made of."""
        used = [] if self.bounds.upper == "autolip" else CHAIN_BOUNDS
        if self.bounds.upper in used:
            used = [self.bounds.upper]
        return [parts.module_name("model", self.model.name), *chain_modules(used)]


def identity(settings: BaseModel) -> str:
    """Settings as they enter the identity of a job: JSON without defaults, keys in order.

    So a new key with a default makes nothing again, and neither does a default that is written out.
    The price is that the meaning of a default must never change.
    """
    return json.dumps(settings.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
