"""The typed configuration: what may stand in config.yaml, checked once before any job starts.

Each experiment is written out at the scale of the paper; the other scales name only what differs,
so the list of departures from the paper is computed and never typed. Nothing heavy is imported
here: the Snakefile reads this module on every call.
"""

import copy
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeGuard, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from pipeline.config.studies import Studies, Study

# The settings themselves are parameters of the rules, so a new key here rebuilds nothing.
AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

ScaleName = Literal["laptop", "paper", "smoke"]
PAPER = "paper"

Count = Annotated[int, Field(strict=True, ge=1)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]
VariantName = Annotated[str, StringConstraints(pattern=r"^[a-z_]+~\d+$")]
"""A name and a whole number, as in the paths of results."""


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
    relative_widths: tuple[Factor, ...] | None = Field(
        None,
        description="width of each hidden layer as a factor of the run's width, rounded; null: all 1",
    )

    @model_validator(mode="after")
    def _one_relative_width_per_hidden_layer(self) -> Self:
        factors = self.relative_widths
        if factors is not None and len(factors) != self.hidden_layers:
            raise ValueError(
                f"relative_widths has {len(factors)} factors for {self.hidden_layers} hidden layers; "
                "list one per hidden layer, input side first, or change hidden_layers"
            )
        return self

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


class JacobianPenalty(_Section):
    """A penalty on the lower Lipschitz bound of every batch (Khromov & Singh 2024, S3.16)."""

    strength: PositiveFloat = Field(
        description="the loss grows by this times the largest Jacobian norm over the batch"
    )


class SGD(_Section):
    """Plain stochastic gradient descent (the paper)."""

    name: Literal["sgd"] = Field(description="kind of optimiser")


class Adam(_Section):
    """Adam with bias correction (Kingma & Ba 2015)."""

    name: Literal["adam"] = Field(description="kind of optimiser")
    beta_1: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="decay of the mean of the gradient"
    )
    beta_2: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="decay of the mean of its square"
    )
    epsilon: PositiveFloat = Field(1e-8, description="added to the root of the mean square")


Optimizer = Annotated[SGD | Adam, Field(discriminator="name")]


class Training(_Section):
    """Gradient descent without momentum or weight decay, or Adam, and when it stops."""

    loss: Literal["cross_entropy", "mean_squared_error"] = Field(
        description="mean_squared_error is summed over classes and averaged over points"
    )
    learning_rate: PositiveFloat = Field(description="base learning rate")
    schedule: Schedule = Field(description="factor of the learning rate per update")
    optimizer: Optimizer = Field(
        SGD(name="sgd"), description="what is done with the gradient after clipping"
    )
    batch_size: Count = Field(description="points per update; more than there are means one batch")
    shuffle: bool = Field(description="new batch order each epoch (the paper's code: never)")
    order_seed: NonNegative = Field(0, description="which batch orders, where shuffle is true")
    clip_norm: PositiveFloat | None = Field(
        description="gradients are scaled down to this 2-norm; null: no clipping"
    )
    regularisation: Regularisation | None = Field(
        None, description="penalty on the layers' norms, added to the loss; null: none"
    )
    jacobian_penalty: JacobianPenalty | None = Field(
        None, description="penalty on the Jacobians at the points, added to the loss; null: none"
    )
    temperature: PositiveFloat = Field(
        1.0, description="the loss is that of this multiple of the logits; bounds are of the net without"
    )
    spectral_cap: PositiveFloat | None = Field(
        None,
        description="layers are rescaled after every update to keep the product of their spectral "
        "norms to this; null: no cap",
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

    @model_validator(mode="after")
    def _order_seed_needs_shuffling(self) -> Self:
        if self.order_seed and not self.shuffle:
            raise ValueError(
                f"order_seed {self.order_seed} does nothing without shuffling; set shuffle to true, "
                "or order_seed to 0"
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


class PlainSetup(_Section):
    """What one experiment trains at one scale."""

    dataset: Literal["mnist1d"] = Field(description="name in the registry of data sets")
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
    seeds: Count = Field(description="independent initialisations per width, trained side by side")
    training: Training
    bounds: Bounds
    threshold_width: Count = Field(
        description="width at which parameters equal training points (times classes, for the squared "
        "error), drawn as a vertical line"
    )

    @field_validator("widths", "noises")
    @classmethod
    def _distinct(cls, values: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        twice = sorted({v for v in values if values.count(v) > 1})
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


class TrainingJob(_Section):
    """All settings that a training run depends on, besides its width and its input files."""

    model: Model
    seeds: Count
    random_seed: NonNegative
    training: Training
    training_points: Count | None


class BoundsJob(_Section):
    """All settings that the bounds of a run depend on, besides its width and its input files."""

    model: Model
    bounds: Bounds
    training_points: Count | None


class Experiment(_Section):
    """An experiment at every scale."""

    like: str | None = Field(
        None,
        description="name of an experiment further up that this one is like: each scale starts from "
        "its set-up there, and states what differs; null: none",
    )
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
    double_descent_mse: Experiment = Field(
        description="the same with the squared error (Figure S13, set-up E-M1D-MSE)"
    )
    label_noise: Experiment = Field(
        description="width and label noise, with the data of double_descent (Figure 10; there CIFAR-10)"
    )
    evolution: Experiment = Field(
        description="one net over training (Figure 1, Tables S3 and S8, set-up E-EVO)"
    )
    evolution_wide: Experiment = Field(description="a wide net over training (Figure 1)")
    optimizer: Experiment = Field(
        description="plain gradient descent and Adam (Figures S29 and S30, set-up E-OPT)"
    )
    depth: Experiment = Field(
        description="one to five hidden layers (Figures S32 and S33, set-up E-DEPTH)"
    )
    sample_size: Experiment = Field(
        description="subsets of the training points (Figure S35, set-up E-NTR)"
    )
    seed_sources: Experiment = Field(
        description="initialisations crossed with batch orders (not in the paper)"
    )
    theory: Experiment = Field(
        description="the net of the bounds over the path of training (Figure S6, set-up E-THEO)"
    )
    constrained: Experiment = Field(description="layers with capped norms (Figure S19, set-up E-CONSTR)")
    regularisation: Experiment = Field(
        description="the largest Jacobian norm in the loss (Figure S27, set-up E-REG)"
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

    def setup(self, experiment: str) -> PlainSetup:
        """The set-up of ``experiment``, or of one of its :meth:`variants`, at the configured scale."""
        name, _, variant = experiment.partition("/")
        setup = self.experiments.named(name).at(self.scale)
        return setup.variants[variant] if variant else setup

    def variants(self, experiment: str) -> list[str]:
        """What is trained: the experiment itself, or ``EXPERIMENT/VARIANT`` for each of its variants."""
        names = self.experiments.named(experiment).at(self.scale).variants
        return [f"{experiment}/{name}" for name in names] or [experiment]

    def training_job(self, experiment: str) -> str:
        """:class:`TrainingJob` of ``experiment`` as JSON, a parameter of its rule."""
        setup = self.setup(experiment)
        return TrainingJob(
            model=setup.model,
            seeds=setup.seeds,
            random_seed=self.random_seed,
            training=setup.training,
            training_points=setup.training_points,
        ).model_dump_json()

    def bounds_job(self, experiment: str) -> str:
        """:class:`BoundsJob` of ``experiment`` as JSON, a parameter of its rule."""
        setup = self.setup(experiment)
        return BoundsJob(
            model=setup.model, bounds=setup.bounds, training_points=setup.training_points
        ).model_dump_json()

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
        paper = dict(_leaves(_stated(both.paper)))
        here = dict(_leaves(_stated(getattr(both, self.scale))))
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
    if problems := list(_unlike(raw)):
        raise ConfigError(problems)
    try:
        return Config.model_validate(_with_inherited(raw))
    except ValidationError as error:
        details = _own_mistakes(error.errors(), raw)
        raise ConfigError([_explain(d) for d in details]) from None


def _unlike(raw: Mapping[str, Any]) -> Iterator[str]:
    """Explanations of experiments that are like none further up."""
    group = raw.get("experiments")
    experiments: dict[str, Any] = group if isinstance(group, dict) else {}
    names = list(experiments)
    for place, (name, one) in enumerate(experiments.items()):
        like = one.get("like") if isinstance(one, dict) else None
        if like is not None and like not in names[:place]:
            yield (
                f"config.yaml: experiments.{name}.like: {like!r} is no experiment further up; name one "
                f"of: {', '.join(names[:place])}{_nearest(str(like), names[:place])}"
            )


def _with_inherited(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with settings filled in wherever a scale is silent.

    They are those of the paper, and below them those of the experiment that one is ``like``.
    """
    full = copy.deepcopy(dict(raw))
    for name in ("experiments", "studies"):
        group = full.get(name)
        if isinstance(group, dict):
            _inherit(group)
            for one in group.values():
                for scale in set(get_args(ScaleName)) & set(one if isinstance(one, dict) else ()):
                    one[scale] = _with_whole_variants(one[scale])
    return full


def _inherit(group: dict[str, Any]) -> None:
    """Fill in the scales of each experiment or study, in place, in their order."""
    for one in group.values():
        if not isinstance(one, dict) or not isinstance(one.get(PAPER), dict):
            continue
        base = group.get(str(one.get("like")))
        below = base if isinstance(base, dict) else {}
        stated = one[PAPER]
        for scale in (PAPER, *set(get_args(ScaleName)) - {PAPER}):
            own = one.get(scale)
            if own is None or isinstance(own, dict):
                start = below.get(scale, {})
                if not isinstance(start, dict):
                    one[scale] = start
                    continue
                inherited = _overlay(start, stated)
                one[scale] = inherited if scale == PAPER else _overlay(inherited, own or {})


def _with_whole_variants(setup: Any) -> Any:
    """``setup`` with each variant written out; one that is null is left out."""
    variants = setup.get("variants") if isinstance(setup, dict) else None
    if not isinstance(variants, dict):
        return setup
    base = {key: value for key, value in setup.items() if key != "variants"}
    whole = {
        name: _overlay(base, own) if isinstance(own, dict) else own
        for name, own in variants.items()
        if own is not None
    }
    return base | {"variants": whole}


def _stated(settings: BaseModel) -> dict[str, Any]:
    """``settings`` as JSON, each variant with nothing but what it replaces."""
    whole = settings.model_dump(mode="json")
    variants = whole.pop("variants", {})
    base = dict(_leaves(whole))
    return whole | {
        "variants": {
            name: {key: value for key, value in _leaves(variant) if base.get(key) != value}
            for name, variant in variants.items()
        }
    }


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

    Those are mistakes of the paper's set-up that another scale inherits, mistakes of a set-up that
    its variants inherit, keys missing from a section whose ``name`` is not known, and lists that are
    short of their mistaken items.
    """
    mistakes = {(d["loc"], d["type"]) for d in details}
    in_paper = {d["loc"][3:] for d in details if d["loc"][2:3] == (PAPER,)}
    misnamed = {
        d["loc"][:-1] for d in details if d["loc"][-1] == "name" and d["type"] == "literal_error"
    }
    for detail in details:
        location = detail["loc"]
        inherited = location[2:3] != (PAPER,) and location[3:] in in_paper
        unnamed = detail["type"] == "missing" and location[:-1] in misnamed
        short = detail["type"] == "too_short" and any(d["loc"][:-1] == location for d in details)
        copied = any((origin, detail["type"]) in mistakes for origin in _origins(location, raw))
        if not (unnamed or short or copied or (inherited and not _is_written(location, raw))):
            yield detail


def _origins(location: tuple[int | str, ...], raw: Mapping[str, Any]) -> Iterator[tuple[int | str, ...]]:
    """Where the setting at ``location`` may have come from, besides the paper's set-up."""
    if location[3:4] == ("variants",):
        yield (*location[:3], *location[5:])
    try:
        like = raw[str(location[0])][location[1]]["like"]
    except (KeyError, IndexError, TypeError):
        return
    for scale in get_args(ScaleName):
        yield (location[0], like, scale, *location[3:])


def _is_written(location: tuple[int | str, ...], raw: Any) -> bool:
    """Whether the place of an error stands in the configuration as it was handed in."""
    node = raw
    for key in location:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            if key not in _SECTION_OF_TAG:
                return False
    return True


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield path, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _explain(detail: ErrorDetails) -> str:
    path = ".".join(str(key) for key in detail["loc"] if key not in _SECTION_OF_TAG)
    return f"config.yaml: {path or '(top level)'}: {_what_and_fix(detail)}"


def _sections_by_name(union: Any) -> dict[str, type[BaseModel]]:
    sections: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {get_args(s.model_fields["name"].annotation)[0]: s for s in sections}


_NAMED_SECTIONS = {"schedule": _sections_by_name(Schedule), "optimizer": _sections_by_name(Optimizer)}
_SECTION_OF_TAG = {tag: section for kinds in _NAMED_SECTIONS.values() for tag, section in kinds.items()}


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
            return f"needs a name; use {' or '.join(_NAMED_SECTIONS[str(detail['loc'][-1])])}"
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
        if key in _SECTION_OF_TAG:
            section = _SECTION_OF_TAG[str(key)]
        elif key in section.model_fields:
            section = _section_type(section.model_fields[str(key)].annotation) or section
    return list(section.model_fields)


def _section_type(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, also where null may stand instead."""
    candidates = get_args(annotation) or (annotation,)
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return models[0] if len(models) == 1 else None
