"""The typed configuration: what may stand in config.yaml, checked once before any job starts.

Each experiment is written out at the scale of the paper; the other scales name only what differs,
so the list of departures from the paper is computed and never typed. Nothing heavy is imported
here: the Snakefile reads this module on every call.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeGuard, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipeline.studies import Studies, Study

# The settings themselves are parameters of the rules, so a new key here rebuilds nothing.
AFFECTS_RESULTS = False  # see pipeline.fingerprint

ScaleName = Literal["laptop", "paper", "smoke"]
PAPER = "paper"

_STRENGTH = "/strength~"  # in the paths of results, and as all numbers there whole: in millionths
_MILLION = 1_000_000

Count = Annotated[int, Field(strict=True, ge=1)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{count} in the configuration:", *problems]))
        self.problems = problems


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConstantSchedule(_Section):
    """The base rate throughout."""

    name: Literal["constant"] = Field(description="kind of schedule")


class WarmupStepSchedule(_Section):
    """Linear warm-up, then a drop by a factor at some epochs (the paper's Warmup20000Step25)."""

    name: Literal["warmup_step"] = Field(description="kind of schedule")
    warmup_updates: Count = Field(description="length of the linear warm-up, in updates")
    drop_epochs: tuple[Count, ...] = Field(description="epochs after the warm-up at which it drops")
    drop_factor: Factor = Field(description="factor of each drop")


class ExponentialStepSchedule(_Section):
    """A drop by a factor every so many epochs (the paper's Cont100 is 0.95 every 100)."""

    name: Literal["exponential_step"] = Field(description="kind of schedule")
    drop_every_epochs: Count = Field(description="epochs between drops")
    drop_factor: Factor = Field(description="factor of each drop")
    minimum_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="the factor never falls below this (1e-3 in Cont100LimitLR)"
    )


Schedule = Annotated[
    ConstantSchedule | WarmupStepSchedule | ExponentialStepSchedule, Field(discriminator="name")
]


class LabelNoise(_Section):
    """Which training labels are changed, and how. Test labels never are."""

    kind: Literal["pair_swap", "uniform"] = Field(
        description="pair_swap: labels of random pairs swapped, class counts kept (the paper); "
        "uniform: random points relabelled uniformly over all classes"
    )
    percent: Percent = Field(description="share of the training points, per cent")
    seed: NonNegative = Field(description="seed of the noise, the same for every width and seed")


class Model(_Section):
    """The network."""

    name: Literal["fcn"] = Field(description="fcn: fully connected, ReLU, no biases")
    hidden_layers: Count = Field(description="number of hidden layers, each of the run's width")
    output_activation: Literal["relu", "leaky_relu", "identity"] = Field(
        description="activation behind the last layer (the paper: relu; leaky_relu has slope 0.01)"
    )
    minimum_alive_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        description="an initialisation is redrawn while some class has a positive logit on a "
        "smaller share of its own training points, because a ReLU output that starts dead stays "
        "dead; 0: never redrawn (the paper)"
    )

    @model_validator(mode="after")
    def _alive_share_needs_relu(self) -> Self:
        if self.minimum_alive_share > 0 and self.output_activation != "relu":
            raise ValueError(
                f"minimum_alive_share is for output_activation relu, not {self.output_activation}; "
                "set it to 0"
            )
        return self


class Regularisation(_Section):
    """A penalty on the spectral norms of the layers (Delattre et al. 2023)."""

    strength: PositiveFloat = Field(
        description="the loss grows by this times the sum of the norms above the threshold"
    )
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="norms up to this cost nothing"
    )
    steps: NonNegative = Field(
        description="Gram products per norm (6 in the released code); 0: the Frobenius norm"
    )


class Training(_Section):
    """Stochastic gradient descent without momentum or weight decay, and when it stops."""

    loss: Literal["cross_entropy", "mean_squared_error"] = Field(
        description="mean_squared_error is summed over classes and averaged over points"
    )
    learning_rate: PositiveFloat = Field(description="base learning rate")
    schedule: Schedule = Field(description="factor of the learning rate per update")
    batch_size: Count = Field(description="points per update; more than there are means one batch")
    shuffle: bool = Field(description="new batch order each epoch (the paper's code: never)")
    clip_norm: PositiveFloat | None = Field(
        description="gradients are scaled down to this 2-norm; null: no clipping"
    )
    regularisation: Regularisation | None = Field(
        None, description="penalty on the layers' norms, added to the loss; null: none"
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
        description="epochs whose weights are kept, besides initialisation and the stop"
    )

    @model_validator(mode="after")
    def _epochs_in_order(self) -> Self:
        if self.min_epochs > self.max_epochs:
            raise ValueError(
                f"min_epochs ({self.min_epochs}) exceeds max_epochs ({self.max_epochs}); "
                "lower min_epochs or raise max_epochs"
            )
        return self


class Bounds(_Section):
    """Which bounds are computed of every kept checkpoint."""

    upper: Literal["autolip", "liplt", "eclipse", "seqlip", "descent", "lipsdp", "best", "tightest"] = (
        Field(
            description="autolip: product of the layers' operator norms (the paper); best: the least of "
            "all that take milliseconds; docs/library.md has the others"
        )
    )
    ord: Literal[1, 2, "inf"] = Field(description="norm on inputs and logits; 1 and inf for autolip")

    @model_validator(mode="after")
    def _tighter_bounds_are_of_the_2_norm(self) -> Self:
        if self.ord != 2 and self.upper != "autolip":
            raise ValueError(f"upper: {self.upper} is for ord 2, not {self.ord}; use autolip")
        return self


class Setup(_Section):
    """One experiment at one scale."""

    dataset: Literal["mnist1d"] = Field(description="name in the registry of data sets")
    label_noise: LabelNoise
    model: Model
    widths: tuple[Count, ...] = Field(min_length=1, description="hidden widths, one training job each")
    seeds: Count = Field(description="independent initialisations per width, trained side by side")
    training: Training
    strengths: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        (),
        description="strengths of training.regularisation, one training job each for every width, "
        "in whole millionths; 0 trains without it; none listed: the one in training",
    )
    bounds: Bounds
    threshold_width: Count = Field(
        description="width at which parameters equal training points, drawn as a vertical line"
    )

    @field_validator("widths")
    @classmethod
    def _distinct(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({w for w in widths if widths.count(w) > 1})
        if twice:
            raise ValueError(f"width {', '.join(map(str, twice))} is listed twice; remove one")
        return widths

    @model_validator(mode="after")
    def _strengths_have_paths_of_their_own(self) -> Self:
        if self.strengths and self.training.regularisation is None:
            raise ValueError("strengths are of training.regularisation, which is null; state it")
        whole = [round(strength * _MILLION) for strength in self.strengths]
        for strength, number in zip(self.strengths, whole, strict=True):
            if not math.isclose(strength * _MILLION, number, rel_tol=1e-9, abs_tol=1e-9):
                raise ValueError(f"strength {strength} is not in whole millionths; round it")
            if whole.count(number) > 1:
                raise ValueError(f"strength {strength} is listed twice; remove one")
        return self

    def at_strength(self, millionths: int) -> "Setup":
        """The set-up with one strength of regularisation."""
        own = None
        if millionths and self.training.regularisation is not None:
            strength = {"strength": millionths / _MILLION}
            own = self.training.regularisation.model_copy(update=strength)
        training = self.training.model_copy(update={"regularisation": own})
        return self.model_copy(update={"training": training, "strengths": ()})


class TrainingJob(_Section):
    """All settings that a training run depends on, besides its width and its input files."""

    model: Model
    seeds: Count
    random_seed: NonNegative
    training: Training


class BoundsJob(_Section):
    """All settings that the bounds of a run depend on, besides its width and its input files."""

    model: Model
    bounds: Bounds


class Experiment(_Section):
    """An experiment at every scale."""

    paper: Setup = Field(description="the set-up of the paper, in full")
    laptop: Setup = Field(description="what differs on a laptop (minutes)")
    smoke: Setup = Field(description="what differs in a quick check that the workflow runs")

    def at(self, scale: ScaleName) -> Setup:
        """The set-up at ``scale``."""
        return getattr(self, scale)


class Experiments(_Section):
    """The experiments."""

    double_descent: Experiment = Field(
        description="width double descent on MNIST-1D, cross-entropy "
        "(Khromov & Singh 2024, Figure S12, set-up E-M1D-CE)"
    )
    lipschitz_training: Experiment = Field(
        description="penalty on the layers' norms in training, on MNIST-1D (the regularisation of "
        "Delattre et al. 2023; data and net as in double_descent)"
    )

    def named(self, name: str) -> Experiment:
        """The experiment called ``name``."""
        return getattr(self, name)


class Config(_Section):
    """All of config.yaml."""

    scale: ScaleName = Field(description="which scale the figures are drawn at")
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="where to train; auto: a CUDA device if there is one"
    )
    random_seed: NonNegative = Field(description="root of all seeds of initialisation and batch order")
    save_every: PositiveFloat = Field(
        description="seconds between two saves of a running training: what a kill can lose"
    )
    progress_every: PositiveFloat = Field(description="seconds between two lines of progress")
    experiments: Experiments
    studies: Studies

    def setup(self, experiment: str) -> Setup:
        """The set-up of ``experiment``, or of one of its :meth:`variants`, at the configured scale."""
        name, _, millionths = experiment.partition(_STRENGTH)
        setup = self.experiments.named(name).at(self.scale)
        return setup.at_strength(int(millionths)) if millionths else setup

    def variants(self, experiment: str) -> list[str]:
        """What is trained: the experiment itself, or one variant for each strength, by strength."""
        strengths = sorted(self.setup(experiment).strengths)
        return [f"{experiment}{_STRENGTH}{round(s * _MILLION)}" for s in strengths] or [experiment]

    def training_job(self, experiment: str) -> str:
        """:class:`TrainingJob` of ``experiment`` as JSON, a parameter of its rule."""
        setup = self.setup(experiment)
        return TrainingJob(
            model=setup.model,
            seeds=setup.seeds,
            random_seed=self.random_seed,
            training=setup.training,
        ).model_dump_json()

    def bounds_job(self, experiment: str) -> str:
        """:class:`BoundsJob` of ``experiment`` as JSON, a parameter of its rule."""
        setup = self.setup(experiment)
        return BoundsJob(model=setup.model, bounds=setup.bounds).model_dump_json()

    def study(self, name: str) -> BaseModel:
        """The settings of the study ``name`` at the configured scale."""
        return getattr(getattr(self.studies, name), self.scale)

    def study_job(self, name: str) -> str:
        """The settings of the study ``name`` as JSON, a parameter of its rule."""
        return self.study(name).model_dump_json()

    def departures(self, name: str) -> list[dict[str, Any]]:
        """Settings of an experiment or study that differ from the paper: {setting, paper, here}."""
        group = self.studies if name in Studies.model_fields else self.experiments
        both: Experiment | Study[Any] = getattr(group, name)
        paper = dict(_leaves(both.paper.model_dump(mode="json")))
        here = dict(_leaves(getattr(both, self.scale).model_dump(mode="json")))
        return [
            {"setting": key, "paper": paper.get(key), "here": here.get(key)}
            for key in sorted(paper | here)
            if paper.get(key) != here.get(key)
        ]


def load_config(raw: Mapping[str, Any]) -> Config:
    """Check a parsed config.yaml.

    Raises
    ------
    ConfigError
        With every mistake at once, each as ``config.yaml: path: what is wrong; how to mend it``.
    """
    try:
        return Config.model_validate(_with_inherited(raw))
    except ValidationError as error:
        details = _own_mistakes(error.errors(), raw)
        raise ConfigError([_explain(d) for d in details]) from None


def _with_inherited(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with the paper's settings filled in wherever another scale is silent."""
    full = copy.deepcopy(dict(raw))
    groups = [full.get("experiments"), full.get("studies")]
    for experiment in [one for group in groups if isinstance(group, dict) for one in group.values()]:
        if not isinstance(experiment, dict) or not isinstance(experiment.get(PAPER), dict):
            continue
        for scale in set(get_args(ScaleName)) - {PAPER}:
            own = experiment.get(scale)
            if own is None or isinstance(own, dict):
                experiment[scale] = _overlay(experiment[PAPER], own or {})
    return full


def _overlay(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge. A mapping whose ``name`` differs is another kind of thing and replaces the base."""
    merged = dict(base)
    for key, value in own.items():
        below = base.get(key)
        merged[key] = _overlay(below, value) if _same_kind(below, value) else value
    return merged


def _same_kind(below: Any, value: Any) -> TypeGuard[dict[str, Any]]:
    if not (isinstance(below, dict) and isinstance(value, dict)):
        return False
    return value.get("name", below.get("name")) == below.get("name")


def _own_mistakes(details: list[ErrorDetails], raw: Mapping[str, Any]) -> Iterator[ErrorDetails]:
    """``details`` without those that only follow from another one.

    Those are mistakes of the paper's set-up that another scale inherits, keys missing from a
    section whose ``name`` is not known, and lists that are short of their mistaken items.
    """
    in_paper = {d["loc"][3:] for d in details if d["loc"][2:3] == (PAPER,)}
    misnamed = {
        d["loc"][:-1] for d in details if d["loc"][-1] == "name" and d["type"] == "literal_error"
    }
    for detail in details:
        location = detail["loc"]
        inherited = location[2:3] != (PAPER,) and location[3:] in in_paper
        unnamed = detail["type"] == "missing" and location[:-1] in misnamed
        short = detail["type"] == "too_short" and any(d["loc"][:-1] == location for d in details)
        if not (unnamed or short or (inherited and not _is_written(location, raw))):
            yield detail


def _is_written(location: tuple[int | str, ...], raw: Any) -> bool:
    """Whether the place of an error stands in the configuration as it was handed in."""
    node = raw
    for key in location:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            if key not in _SCHEDULE_TAGS:
                return False
    return True


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield path, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _explain(detail: ErrorDetails) -> str:
    path = ".".join(str(key) for key in detail["loc"] if key not in _SCHEDULE_TAGS)
    return f"config.yaml: {path or '(top level)'}: {_what_and_fix(detail)}"


_SCHEDULE_TAGS = ("constant", "warmup_step", "exponential_step")


def _what_and_fix(detail: ErrorDetails) -> str:
    given = detail.get("input")
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            key = str(detail["loc"][-1])
            valid = valid_keys(detail["loc"][:-1])
            near = _nearest(key, valid)
            return f"unknown key{near}; valid here: {', '.join(valid)}; rename or remove it"
        case "missing":
            return "is missing; add it (docs/config.md lists every key)"
        case "literal_error":
            valid = [part.strip(" '") for part in _split_expected(context["expected"])]
            return f"{given!r} is not known{_nearest(str(given), valid)}; use {' or '.join(valid)}"
        case "union_tag_invalid":
            valid = [part.strip(" '") for part in context["expected_tags"].split(",")]
            name = context["tag"]
            return f"name {name!r} is not known{_nearest(name, valid)}; use {' or '.join(valid)}"
        case "union_tag_not_found":
            return f"needs a name; use {' or '.join(_SCHEDULE_TAGS)}"
        case "value_error":
            return str(context["error"])
        case "int_type" | "int_from_float":
            return f"{given!r} is not a whole number; write an integer without quotes or point"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            return f"{given!r} is out of range; {_sentence(detail['msg'])}"
    return f"{given!r}: {_sentence(detail['msg'])}"


def _split_expected(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(",")


def _sentence(message: str) -> str:
    return message.removeprefix("Input ").removeprefix("Value error, ")


def _nearest(name: str, valid: list[str]) -> str:
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; nearest valid name: {near[0]}" if near else ""


def valid_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys allowed at a place in the configuration, given as the path of pydantic's error."""
    section: type[BaseModel] = Config
    for key in location:
        if key in _SCHEDULE_TAGS:
            section = _schedule_section(str(key))
        elif key in section.model_fields:
            section = _section_type(section.model_fields[str(key)].annotation) or section
    return list(section.model_fields)


def _section_type(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, also where null may stand instead."""
    candidates = get_args(annotation) or (annotation,)
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return models[0] if len(models) == 1 else None


def _schedule_section(name: str) -> type[BaseModel]:
    sections: tuple[type[BaseModel], ...] = get_args(get_args(Schedule)[0])
    return next(s for s in sections if get_args(s.model_fields["name"].annotation) == (name,))
