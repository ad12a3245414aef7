"""The whole configuration: config.yaml, and the set-ups that lie beside their figures.

A set-up is written out at the scale of the paper; the other scales name only what differs, so the
list of departures from the paper is computed and never typed. ``overrides`` in config.yaml, in a file
of the user's or on the command line changes any of it. All is checked before any job starts, and
all mistakes are told at once. Nothing heavy is imported here: the Snakefile does this on every call.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError

from nets.settings import NonNegative, PositiveFloat, Section
from pipeline.config.errors import Mistakes, nearest
from pipeline.config.layers import Location, Node, Origin, expand, leaves, node, overlay, plain
from pipeline.config.rooms import (
    PAPERS,
    Paper,
    Room,
    StudyAbout,
    TrainingAbout,
    find_papers,
    find_rooms,
    find_trainings,
)
from pipeline.config.training import BoundsJob, PlainSetup, Setup, TrainingJob, identity

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

ScaleName = Literal["laptop", "paper", "smoke"]
PAPER = "paper"
SCALES: tuple[str, ...] = (PAPER, *(s for s in get_args(ScaleName) if s != PAPER))

Where = Callable[[Location], str]
"""From a place in the configuration to the file, or the command line, that states it."""


class TopLevel(Section):
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
    overrides: dict[str, Any] = Field(
        {}, description="what to change in set-ups: NAME.SCALE.KEY: value, dotted or nested"
    )


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


def load_config(
    raw: Mapping[str, Any], papers: Path = PAPERS, where: Where = lambda location: "config.yaml"
) -> Config:
    """Check a parsed config.yaml and all rooms.

    Raises
    ------
    ConfigError
        With every mistake at once, each as ``file: path: what is wrong; how to mend it``.
    """
    return _Loader(raw, papers, where).load()


@dataclass
class _Loader:
    raw: Mapping[str, Any]
    papers: Path
    where: Where
    mistakes: Mistakes = field(default_factory=Mistakes)

    def load(self) -> Config:
        top = self._top_level()
        papers = find_papers(self.papers, self.mistakes)
        rooms = find_rooms(self.papers, self.mistakes)
        stated = find_trainings(self.papers, rooms, self.mistakes)
        studies = {
            name: room.tree.children["study"]
            for name, room in rooms.items()
            if room.about.study is not None
        }
        overrides = self._overrides({*stated, *studies})
        about_trainings = self._about(stated, TrainingAbout)
        about_studies = self._about(studies, StudyAbout)
        trainings: dict[str, dict[str, Node]] = {}
        for name in self._order(stated, about_trainings):
            like = about_trainings[name].like
            below = trainings.get(like, {}) if like else {}
            trainings[name] = scales_of(stated[name], below, overrides.get(name))
        found_trainings = self._valid_trainings(trainings, about_trainings)
        found_studies = {
            name: {
                scale: self._valid(tree, rooms[name].study_settings)
                for scale, tree in scales_of(tree_of, {}, overrides.get(name)).items()
            }
            for name, tree_of in studies.items()
        }
        self._check_names(rooms, about_studies, stated)
        self.mistakes.raise_any()
        assert top is not None
        return Config(top, rooms, found_trainings, found_studies, about_trainings, about_studies, papers)

    def _top_level(self) -> TopLevel | None:
        tree = self._written(dict(self.raw), ())
        for old in ("experiments", "studies"):
            if old in tree.children:
                self.mistakes.add(
                    f"{tree.children[old].origin}: set-ups lie beside their figures now, in "
                    "scripts/papers; state what you change under `overrides`, as NAME.SCALE.KEY: value"
                )
        tree = tree.without("experiments", "studies")
        try:
            return TopLevel.model_validate(plain(tree))
        except ValidationError as error:
            self.mistakes.add_all(error, tree, TopLevel)
            return None

    def _written(self, value: Any, path: Location) -> Node:
        """A layer in which every place says by itself which file states it."""
        origin = Origin(self.where(path), path)
        if isinstance(value, Mapping):
            value = {str(key): self._written(part, (*path, str(key))) for key, part in value.items()}
        return Node(value, origin, origin)

    def _overrides(self, names: set[str]) -> dict[str, Node]:
        given = self.raw.get("overrides")
        tree = self._written(expand(given if isinstance(given, Mapping) else {}), ("overrides",))
        for name, part in tree.children.items():
            if name not in names:
                near = nearest(name, sorted(names))
                self.mistakes.add(
                    f"{part.origin}: there is no set-up {name!r}{near}; write NAME.SCALE.KEY: value, "
                    "where NAME is a training or a study (docs/config.md lists them)"
                )
            for scale, own in part.children.items():
                if scale not in SCALES:
                    self.mistakes.add(
                        f"{own.origin}: {scale!r} is no scale{nearest(scale, list(SCALES))}; "
                        f"write {name}.SCALE.{scale} with one of {', '.join(SCALES)}"
                    )
        return tree.children

    def _about(self, stated: Mapping[str, Node], model: type[Any]) -> dict[str, Any]:
        found = {}
        for name, tree in stated.items():
            head = tree.without(*SCALES)
            try:
                found[name] = model.model_validate(plain(head))
            except ValidationError as error:
                self.mistakes.add_all(error, head, model)
                title = plain(head.children.get("title")) or name
                found[name] = model.model_construct(title=title)
            if PAPER not in tree.children:
                self.mistakes.add(
                    f"{tree.first.below(PAPER)}: is missing; write out the set-up of the paper, and at "
                    "the other scales what differs"
                )
        return found

    def _order(self, stated: Mapping[str, Node], about: Mapping[str, TrainingAbout]) -> list[str]:
        """Names of trainings, each behind the one that it is like, otherwise by name."""
        depths: dict[str, int] = {}

        def depth(name: str, seen: tuple[str, ...] = ()) -> int:
            like = about[name].like
            if like is None:
                return 0
            if like not in stated or like in (*seen, name):
                problem = "is like itself" if like in stated else f"{like!r} is no training"
                others = [other for other in stated if other != name]
                self.mistakes.add(
                    f"{stated[name].first.below('like')}: {problem}; name one of: "
                    f"{', '.join(sorted(others))}{nearest(like, others)}"
                )
                return 0
            return 1 + depth(like, (*seen, name))

        for name in stated:
            depths[name] = depth(name)
        return sorted(stated, key=lambda name: (depths[name], name))

    def _valid_trainings(
        self, trainings: Mapping[str, dict[str, Node]], about: Mapping[str, TrainingAbout]
    ) -> dict[str, dict[str, Setup]]:
        """Set-ups in their order; of one that is like a mistaken one only its own mistakes are told."""
        found: dict[str, dict[str, Setup]] = {}
        for name, scales in trainings.items():
            like = about[name].like
            if like is not None and like not in found:
                found[name] = {}  # what it is like is a mistake, which is noted
                continue
            whole = like is None or len(found[like]) == len(SCALES)
            valid = {
                scale: self._valid(_with_whole_variants(tree), Setup, own_only=not whole)
                for scale, tree in scales.items()
            }
            found[name] = {scale: setup for scale, setup in valid.items() if setup is not None}
        return found

    def _valid(self, tree: Node, model: type[Any], *, own_only: bool = False) -> Any:
        try:
            return model.model_validate(plain(tree))
        except ValidationError as error:
            self.mistakes.add_all(error, tree, model, own_only=own_only)
            return None

    def _check_names(
        self, rooms: Mapping[str, Room], studies: Mapping[str, StudyAbout], trainings: Mapping[str, Node]
    ) -> None:
        for name, about in studies.items():
            for place, run in enumerate(about.runs):
                if run not in trainings:
                    origin = rooms[name].tree.children["study"].origin.below("runs", place)
                    self.mistakes.add(
                        f"{origin}: {run!r} is no training{nearest(run, list(trainings))}; "
                        f"known: {', '.join(sorted(trainings))}"
                    )
        tables = [*studies, *trainings, *(f"{name}_epochs" for name in trainings)]
        for room in rooms.values():
            for place, table in enumerate(room.tables):
                if room.kind != "study" and table not in tables:
                    self.mistakes.add(
                        f"{room.tree.origin.below('tables', place)}: {table!r} is no table"
                        f"{nearest(table, tables)}; there is one for every study and training, and "
                        "NAME_epochs for every training"
                    )


def scales_of(stated: Node, below: Mapping[str, Node], overrides: Node | None) -> dict[str, Node]:
    """The set-up at every scale.

    It is what the scale states, on top of what the paper's set-up states, on top of the set-up of the
    training that this one is like.
    """
    own = {
        scale: part
        for scale in SCALES
        if (part := stated.children.get(scale)) is not None and part.content is not None
    }
    if overrides is not None:
        for scale, part in overrides.children.items():
            under = own.get(scale)
            own[scale] = part if under is None else overlay(under, part)
    paper = own.get(PAPER) or node({}, stated.first.below(PAPER))
    found = {}
    for scale in SCALES:
        start = overlay(below[scale], paper) if scale in below else paper
        above = own.get(scale)
        found[scale] = start if scale == PAPER or above is None else overlay(start, above)
    return found


def _with_whole_variants(setup: Node) -> Node:
    """``setup`` with each variant written out; one that is null is left out."""
    variants = setup.children.get("variants")
    if variants is None or not isinstance(variants.content, dict):
        return setup
    base = setup.without("variants")
    whole = {
        name: overlay(base, own) if isinstance(own.content, dict) else own
        for name, own in variants.children.items()
        if own.content is not None
    }
    every = Node(whole, variants.origin, variants.first)
    return Node(base.children | {"variants": every}, setup.origin, setup.first)


def names_of_setups(config: Config) -> Iterator[str]:
    """All trainings, then all studies."""
    yield from config.trainings
    yield from config.studies
