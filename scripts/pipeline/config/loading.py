"""Reading the configuration: layers are put together, checked, and every mistake is told at once.

``overrides`` change a set-up and none that is like it. Nothing heavy is imported here: the Snakefile
does this on every call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config.config import PAPER, SCALES, Config, TopLevel
from pipeline.config.errors import Mistakes, nearest, quoted
from pipeline.config.layers import Location, Node, Origin, expand, node, overlay, plain
from pipeline.config.rooms import (
    PAPERS,
    Room,
    StudyAbout,
    TrainingAbout,
    find_papers,
    find_rooms,
    find_trainings,
    missing_functions,
)
from pipeline.config.sense import study_problems, training_problems
from pipeline.config.training import Setup
from pipeline.config.yaml_files import UNREADABLE, check_size, is_endless

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

COMMAND_LINE = "--config"
"""The file of what stands on the command line, in messages."""

Where = Callable[[Location], str]
"""From a place in the configuration to the file, or the command line, that states it."""


def load_config(
    raw: Mapping[str, Any], papers: Path = PAPERS, where: Where = lambda location: "config.yaml"
) -> Config:
    """Check a parsed config.yaml and all rooms.

    Raises
    ------
    ConfigError
        With every mistake at once, each as ``file: path: what is wrong; how to mend it``.
    """
    check_size(raw, where(()))
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
            trainings[name] = scales_of(stated[name], below)
        changed = {name: overridden(scales, overrides.get(name)) for name, scales in trainings.items()}
        found_trainings = self._valid_trainings(changed, about_trainings)
        found_studies = {
            name: {
                scale: self._valid(tree, rooms[name].study_settings)
                for scale, tree in overridden(scales_of(tree_of, {}), overrides.get(name)).items()
            }
            for name, tree_of in studies.items()
        }
        self._check_names(rooms, about_studies, stated)
        if not self.mistakes.problems:
            self._check_sense(changed, found_trainings, stated, about_studies, studies, overrides)
        for room in rooms.values():
            for problem in missing_functions(room):
                self.mistakes.add(problem)
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
        elif origin.file == COMMAND_LINE:
            value = _typed(value)
        return Node(value, origin, origin)

    def _overrides(self, names: set[str]) -> dict[str, Node]:
        given = self.raw.get("overrides")
        tree = self._written(expand(given if isinstance(given, Mapping) else {}), ("overrides",))
        for name, part in tree.children.items():
            if name not in names:
                near = nearest(name, sorted(names))
                self.mistakes.add(
                    f"{part.origin}: there is no set-up {quoted(name)}{near}; write "
                    "NAME.SCALE.KEY: value, where NAME is a training or a study "
                    "(docs/config.md lists them)"
                )
            if not isinstance(part.content, dict):
                self.mistakes.add(
                    f"{part.origin}: {quoted(part.content)} is not a section; "
                    f"write {name}.SCALE.KEY: value"
                )
            for scale, own in part.children.items():
                if scale in (*TrainingAbout.model_fields, *StudyAbout.model_fields):
                    self.mistakes.add(
                        f"{own.origin}: only settings of a scale can be overridden; edit {scale} in the "
                        f"file of {name}, or write {name}.SCALE.KEY: value"
                    )
                elif scale not in SCALES:
                    self.mistakes.add(
                        f"{own.origin}: {quoted(scale)} is no scale{nearest(scale, list(SCALES))}; "
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
                self.mistakes.add_all(error, head, model, also_valid=SCALES)
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
                problem = "is like itself" if like in stated else f"{quoted(like)} is no training"
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

    def _check_sense(
        self,
        trees: Mapping[str, Mapping[str, Node]],
        setups: Mapping[str, Mapping[str, Setup]],
        stated: Mapping[str, Node],
        about: Mapping[str, StudyAbout],
        studies: Mapping[str, Node],
        overrides: Mapping[str, Node],
    ) -> None:
        """Mistakes between settings, which are told once each setting by itself is valid."""
        whole = {
            name: {scale: _with_whole_variants(tree) for scale, tree in scales.items()}
            for name, scales in trees.items()
        }
        for name, scales in setups.items():
            home = stated[name].origin
            for scale, setup in scales.items():
                for problem in training_problems(name, scale, whole[name][scale], setup, home):
                    self.mistakes.add(problem)
        for name, tree_of in studies.items():
            home = tree_of.origin
            for scale, tree in overridden(scales_of(tree_of, {}), overrides.get(name)).items():
                for problem in study_problems(name, scale, tree, about[name], whole, home):
                    self.mistakes.add(problem)

    def _check_names(
        self, rooms: Mapping[str, Room], studies: Mapping[str, StudyAbout], trainings: Mapping[str, Node]
    ) -> None:
        for name, about in studies.items():
            for place, run in enumerate(about.runs):
                if run not in trainings:
                    origin = rooms[name].tree.children["study"].origin.below("runs", place)
                    self.mistakes.add(
                        f"{origin}: {quoted(run)} is no training{nearest(run, list(trainings))}; "
                        f"known: {', '.join(sorted(trainings))}"
                    )
        tables = [*studies, *trainings, *(f"{name}_epochs" for name in trainings)]
        for room in rooms.values():
            for place, table in enumerate(room.tables):
                if room.kind != "study" and table not in tables:
                    self.mistakes.add(
                        f"{room.tree.origin.below('tables', place)}: {quoted(table)} is no table"
                        f"{nearest(table, tables)}; there is one for every study and training, and "
                        "NAME_epochs for every training"
                    )


def _typed(value: Any) -> Any:
    """Snakemake leaves numbers inside of a section on the command line as texts."""
    if isinstance(value, list):
        return [_typed(item) for item in value]
    try:
        meant = yaml.safe_load(value) if isinstance(value, str) else value
    except (yaml.YAMLError, *UNREADABLE):
        return value  # left as a text, which is explained where a section should be
    return value if isinstance(meant, Mapping) or is_endless(meant) else meant


def scales_of(stated: Node, below: Mapping[str, Node]) -> dict[str, Node]:
    """The set-up at every scale.

    It is what the scale states, on top of what the paper's set-up states, on top of the set-up of the
    training that this one is like.
    """
    own = {
        scale: part
        for scale in SCALES
        if (part := stated.children.get(scale)) is not None and part.content is not None
    }
    paper = own.get(PAPER) or node({}, stated.first.below(PAPER))
    found = {}
    for scale in SCALES:
        start = overlay(below[scale], paper) if scale in below else paper
        above = own.get(scale)
        found[scale] = start if scale == PAPER or above is None else overlay(start, above)
    return found


def overridden(scales: Mapping[str, Node], overrides: Node | None) -> dict[str, Node]:
    """Set-ups with what the user changes in them, which concerns no training that is like them."""
    above = {} if overrides is None else overrides.children
    return {
        scale: overlay(tree, above[scale]) if scale in above else tree for scale, tree in scales.items()
    }


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
