"""Generates docs/config.md, config.schema.json and departures.md from models, rooms and config.yaml.

python -m pipeline.pages.config_reference
"""

import json
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nets.settings import LARGEST, MANY
from pipeline.config.config import PAPER, SCALES, Config, TopLevel, names_of_setups
from pipeline.config.errors import models_in
from pipeline.config.loading import load_config
from pipeline.config.rooms import About, Paper, StudyAbout, TrainingAbout, shown
from pipeline.config.training import Setup
from pipeline.provenance.files import write_text

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"

_INTRODUCTION = """\
# Configuration reference

Generated from the settings' classes by `make docs`; do not edit.

`config.yaml` has what all figures share. What a figure trains and measures lies in its room,
`scripts/papers/PAPER/NAME/`; trainings that several figures share lie in `scripts/papers/PAPER/setups/`.
All settings are checked before any job starts, and all mistakes are told at once, with the file that
holds them.

A set-up is written out in full at the scale `paper`. The other scales inherit from it and state only
what differs; the differences also stand in the JSON file beside each figure and in
[departures.md](departures.md). A list is replaced as a whole, and so is a section whose `name` changes
(a schedule of another kind, say).

Texts and truth values are not taken for numbers, nor numbers for truth values: write `0.001` or
`1.0e-3`, for YAML takes `1e-3` for a text. Whole numbers, seeds among them, are below 2^32. A key that
a file states twice is a mistake, and so is an epoch beyond `max_epochs` in a list of the scale's own;
what lies beyond it in an inherited list is left out.

To change a set-up without editing it, name what differs under `overrides`, in `config.yaml`, in a file
of your own (`snakemake --configfile mine.yaml ...`) or on the command line, nested or with dots:

```
snakemake --config 'overrides={double_descent.laptop.widths: [16, 32], depth.laptop.seeds: 2}' -- figures
```
"""


_DEPARTURES = """\
# Departures from the papers

Generated from the rooms by `make docs`; do not edit. The reasons stand in the rooms' YAML files, and
the JSON file beside each figure holds the list for the scale it was drawn at.
"""


def load(scale: str) -> Config:
    """The configuration at a scale."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_bytes())
    return load_config(raw | {"scale": scale})


def reference() -> str:
    """The configuration reference in Markdown."""
    config = load(PAPER)
    parts = [_INTRODUCTION, _table("`config.yaml`", TopLevel)]
    parts.append(_table("Rooms: `figure.yaml`, `table.yaml`, `study.yaml`", About))
    parts.append(_table("Papers: `paper.yaml`", Paper))
    parts.append(_table("Trainings: `training` of a room, or a file in `setups/`", TrainingAbout))
    parts.append(_list_of_trainings(config))
    parts.extend(_sections(Setup, "TRAINING.SCALE"))
    parts.append(_table("Studies: `study` of a room", StudyAbout))
    for name in config.studies:
        parts.append(f"`{name}`: {config.about_studies[name].title}\n")
        parts.extend(_sections(config.rooms[name].study_settings, f"{name}.SCALE"))
    return "\n".join(parts)


def _list_of_trainings(config: Config) -> str:
    rows = ["| training | what is trained | stated in |", "|---|---|---|"]
    for name, about in config.about_trainings.items():
        room = config.rooms.get(name)
        own = room is not None and room.about.training is not None
        file = shown(room.folder / f"{room.kind}.yaml") if room and own else _shared(name)
        rows.append(f"| `{name}` | {about.title} | `{file}` |")
    return "\n".join([*rows, ""])


def _shared(name: str) -> str:
    (path,) = (ROOT / "scripts" / "papers").glob(f"*/setups/{name}.yaml")
    return shown(path)


def schema() -> str:
    """JSON schema of config.yaml for editors."""
    return json.dumps(TopLevel.model_json_schema(), indent=2) + "\n"


def departures() -> str:
    """Every setting that differs from the paper, in Markdown."""
    configs = {scale: load(scale) for scale in SCALES if scale != PAPER}
    parts = [_DEPARTURES]
    for name in names_of_setups(load(PAPER)):
        for scale, config in configs.items():
            parts.append(f"## {name}, scale {scale}\n")
            parts.append("| setting | paper | here |\n|---|---|---|")
            parts.extend(_departure(row) for row in config.departures(name))
            parts.append("")
    return "\n".join(parts)


def _departure(row: dict[str, Any]) -> str:
    paper, here = (str(row[key]).strip("[]") for key in ("paper", "here"))
    return f"| `{row['setting']}` | {paper or 'none'} | {here or 'none'} |"


def _sections(section: type[BaseModel], path: str) -> list[str]:
    parts = [_table(f"`{path}`", section)]
    for name, field in section.model_fields.items():
        for inner in models_in(field.annotation):
            parts.extend(_sections(inner, f"{path}.{name}"))
    return parts


def _table(heading: str, section: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_type(field)} | {field.description or 'see below'} |"
        for name, field in section.model_fields.items()
    ]
    words = (section.__doc__ or "").strip()
    head = ["| key | value | meaning |", "|---|---|---|"]
    return "\n".join([f"## {heading}\n", f"{words}\n", *head, *rows, ""])


def _type(field: FieldInfo) -> str:
    limits = [_limit(item) for item in field.metadata]
    return " ".join([_name(field.annotation), *filter(None, limits)])


def _name(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    if origin is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        limits = [_limit(i) for m in metadata for i in getattr(m, "metadata", [])]
        return " ".join([_name(inner), *filter(None, limits)])
    if origin is tuple:
        return f"list of: {_name(typing.get_args(annotation)[0])}"
    if origin in (typing.Union, UnionType):
        options = typing.get_args(annotation)
        if all(models_in(option) for option in options):
            return "section"
        return " or ".join("null" if o is NoneType else _name(o) for o in options)
    if models_in(annotation):
        return "section"
    if origin is dict or annotation is Any:
        return "section"
    return {int: "whole number", float: "number", bool: "true or false", str: "text"}[annotation]


def _limit(item: Any) -> str:
    for attribute, words in (("ge", "at least"), ("gt", "above"), ("le", "at most")):
        value = getattr(item, attribute, None)
        if value is not None and value not in (MANY, LARGEST):
            return f"{words} {value}"
    return ""


if __name__ == "__main__":
    write_text(DOCS / "config.md", reference())
    write_text(DOCS / "config.schema.json", schema())
    write_text(DOCS / "departures.md", departures())
