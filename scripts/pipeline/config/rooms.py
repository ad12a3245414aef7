"""Rooms: everything about a figure, a table for readers, or a study lies in one folder.

``scripts/papers/PAPER/NAME/`` holds ``figure.yaml``, ``table.yaml`` or ``study.yaml``, which says what
the room is, and beside it ``figure.py`` or ``table.py``, and ``study.py`` where it measures something
itself. Set-ups of trainings that several figures share lie in ``scripts/papers/PAPER/setups/``. Rooms
are found, not listed; the name of the folder is the name of the figure, table or study.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from nets.parts import read_settings
from nets.settings import Section
from pipeline.config.errors import ConfigError, Mistakes
from pipeline.config.layers import Node, Origin, node, plain
from pipeline.config.yaml_files import read_mapping

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

SCRIPTS = Path(__file__).resolve().parents[2]
PAPERS = SCRIPTS / "papers"

SETUPS = "setups"
KINDS = ("figure", "table", "study")


class Departure(Section):
    """Something that is not as in the paper at any scale, and is no setting."""

    paper: Any
    here: Any


class About(Section):
    """What a room is."""

    paper: str = Field(description="the paper and its item that is made again, or 'none; ...'")
    tables: tuple[str, ...] | None = Field(
        None,
        description="tidy tables that it is made from: NAME of a study or training (at the stop), or "
        "NAME_epochs (at every kept checkpoint); null: the one of the room's own name",
    )
    caption: str = Field("", description="caption of the figure, or the text above the table")
    shows: str = Field("", description="what the figure shows at laptop scale, for the gallery")
    departs: dict[str, Departure] = Field(
        {}, description="what is not as in the paper at any scale: NAME: {paper: ..., here: ...}"
    )
    printed: Any = Field(
        None, description="numbers that the paper prints, in the form that the code reads"
    )
    training: dict[str, Any] | None = Field(None, description="the room's own training, see below")
    study: dict[str, Any] | None = Field(None, description="the room's own measurements, see below")


class Paper(Section):
    """A paper, or another collection of rooms: ``scripts/papers/PAPER/paper.yaml``."""

    title: str = Field(description="its title")
    source: str = Field(description="how its claims are cited in the table of claims")


class TrainingAbout(Section):
    """What a training is, beside its set-up at each scale."""

    title: str = Field(description="what is trained, in a line")
    like: str | None = Field(
        None,
        description="name of another training that this one is like: each scale starts from the "
        "set-up there, and states what differs; null: none",
    )


class StudyAbout(Section):
    """What a study is, beside its settings at each scale."""

    title: str = Field(description="what is measured, in a line")
    runs: tuple[str, ...] = Field(
        (),
        description="trainings whose nets are measured, at the widths in the settings if there are any",
    )
    data: tuple[str, ...] = Field((), description="data sets that it reads besides those of its runs")
    untrained: bool = Field(
        False, description="it trains the nets of its runs itself, and does not wait for them"
    )
    serial: bool = Field(False, description="it computes one thing after the other, on one core")


@dataclass(frozen=True)
class Room:
    """A folder of ``scripts/papers``, and what its YAML file says."""

    folder: Path
    kind: str
    tree: Node
    about: About

    @property
    def name(self) -> str:
        """Of the folder, and of the figure, table or study."""
        return self.folder.name

    @property
    def paper(self) -> str:
        """Name of the folder that it lies in."""
        return self.folder.parent.name

    @property
    def package(self) -> str:
        """Its modules are in this package."""
        return f"papers.{self.paper}.{self.name}"

    @property
    def tables(self) -> tuple[str, ...]:
        """Tidy tables that it is made from, by name."""
        return (self.name,) if self.about.tables is None else self.about.tables

    @property
    def drawing(self) -> str:
        """Module that measures and draws, or writes the table for readers."""
        return f"{self.package}.{self.kind}"

    @property
    def study_file(self) -> Path:
        """The file that has the settings and the function of the study."""
        own = self.folder / "study.py"
        return own if own.exists() else self.folder / f"{self.kind}.py"

    @property
    def study(self) -> str:
        """Module of the study."""
        return f"{self.package}.{self.study_file.stem}"

    @cached_property
    def study_settings(self) -> type[Section]:
        """Settings of the study, read without importing what it needs.

        Raises :class:`ConfigError` where its file has none that can be read.
        """
        try:
            return read_settings(self.study_file)
        except SyntaxError as error:
            where = f"{shown(self.study_file)}, line {error.lineno}"
            raise ConfigError([f"{where}: is no Python: {error.msg}"]) from None
        except (OSError, NameError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                [
                    f"{shown(self.study_file)}: the settings of the study cannot be read: {error}; give "
                    "it a class Settings(Section) that needs only pydantic, typing and nets.settings"
                ]
            ) from None


def missing_functions(room: Room) -> Iterator[str]:
    """What the modules of a room lack, in words; they are read and not run."""
    needs = {
        "figure": ("measure(tables, context)", "draw(tables, facts, context)"),
        "table": ("measure(tables, context)", "rows(tables, facts, context)"),
        "study": (),
    }[room.kind]
    files = dict.fromkeys(needs, room.folder / f"{room.kind}.py")
    if room.about.study is not None:
        files["study(settings, arrays)"] = room.study_file
    for need, file in files.items():
        if not file.exists():
            yield f"{shown(file)}: is missing; it needs a function {need}"
            continue
        try:
            defined = _defined(file.read_bytes())
        except SyntaxError as error:
            yield f"{shown(file)}, line {error.lineno}: is no Python: {error.msg}"
            continue
        if need.partition("(")[0] not in defined:
            yield f"{shown(file)}: has no function {need}; docs/extending.md shows one"


@cache
def _defined(source: bytes) -> set[str]:
    """Names that a module defines or imports at its top level."""
    names: set[str] = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in statement.names}
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def shown(path: Path) -> str:
    """A path as it stands in messages, below the folder of the project where it lies there."""
    root = SCRIPTS.parent
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def read_yaml(path: Path) -> Node:
    """The file as a layer. Raises :class:`ConfigError` where it is no YAML mapping."""
    origin = Origin(shown(path), ())
    return node(read_mapping(path, origin.file), origin)


def find_rooms(papers: Path, mistakes: Mistakes) -> dict[str, Room]:
    """All rooms by name; what is wrong with their files is noted."""
    rooms: dict[str, Room] = {}
    for kind in KINDS:
        for path in sorted(papers.glob(f"*/*/{kind}.yaml")):
            tree = read_yaml(path)
            try:
                about = About.model_validate(plain(tree))
            except ValidationError as error:
                mistakes.add_all(error, tree, About)
                continue
            room = Room(path.parent, kind, tree, about)
            if not (path.parent.parent / "paper.yaml").exists():
                missing = shown(path.parent.parent / "paper.yaml")
                mistakes.add(f"{missing}: is missing; give it a title and a source")
            if room.name in rooms:
                other = shown(rooms[room.name].folder)
                mistakes.add(f"{shown(room.folder)}: {other} has the same name; rename one of them")
            rooms[room.name] = room
    return dict(sorted(rooms.items()))


def find_papers(papers: Path, mistakes: Mistakes) -> dict[str, Paper]:
    """All papers by the name of their folder."""
    found = {}
    for path in sorted(papers.glob("*/paper.yaml")):
        tree = read_yaml(path)
        try:
            found[path.parent.name] = Paper.model_validate(plain(tree))
        except ValidationError as error:
            mistakes.add_all(error, tree, Paper)
    return found


def find_trainings(papers: Path, rooms: dict[str, Room], mistakes: Mistakes) -> dict[str, Node]:
    """What is stated about every training, by name."""
    found = {path.stem: read_yaml(path) for path in sorted(papers.glob(f"*/{SETUPS}/*.yaml"))}
    for room in rooms.values():
        if room.about.training is not None:
            if room.name in found:
                mistakes.add(
                    f"{room.tree.children['training'].origin}: {found[room.name].origin.file} has a "
                    "training of the same name; rename one of them"
                )
            found[room.name] = room.tree.children["training"]
    return found
