"""Generates docs/config.md, config.schema.json and departures.md from models and config.yaml.

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

from pipeline.config.studies import Studies
from pipeline.config.training import PAPER, Config, Experiment, ScaleName, Setup, load_config
from pipeline.provenance.files import write_text

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_INTRODUCTION = """\
# Configuration reference

Generated from `scripts/pipeline/config.py` by `make docs`; do not edit.

All settings stand in `config.yaml`. They are checked before any job starts, and all mistakes are
reported at once. Change a value there, in a file of your own (`snakemake --configfile mine.yaml ...`)
or on the command line (`snakemake --config scale=paper ...`).

An experiment is written out in full at the scale `paper`. The other scales inherit from it and state
only what differs; the differences also stand in the JSON file beside each figure. A list is replaced
as a whole, and so is a section whose `name` changes (a schedule of another kind, say; this works in
`config.yaml` itself, not in a file on top, which Snakemake merges key by key).
"""


_DEPARTURES = """\
# Departures from the papers

Generated from `config.yaml` by `make docs`; do not edit. The reasons stand in `config.yaml`, and the
JSON file beside each figure holds the list for the scale it was drawn at.
"""


def reference() -> str:
    """The configuration reference in Markdown."""
    parts = [_INTRODUCTION, _table("Top level", Config)]
    parts.append(_table("`experiments.NAME`", Experiment))
    parts.extend(_sections(Setup, "experiments.NAME.SCALE"))
    parts.append(_table("`studies`", Studies))
    for name, field in Studies.model_fields.items():
        settings = _models_in(_models_in(field.annotation)[0].model_fields[PAPER].annotation)[0]
        parts.extend(_sections(settings, f"studies.{name}.SCALE"))
    return "\n".join(parts)


def schema() -> str:
    """JSON schema for editors, in which every scale may leave out what it inherits."""
    definition = Config.model_json_schema()
    for section in definition["$defs"].values():
        section.pop("required", None)
    return json.dumps(definition, indent=2) + "\n"


def departures() -> str:
    """Every setting of config.yaml that differs from the paper, in Markdown."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    parts = [_DEPARTURES]
    for experiment in [*raw["experiments"], *raw["studies"]]:
        for scale in typing.get_args(ScaleName):
            if scale != PAPER:
                config = load_config(raw | {"scale": scale})
                parts.append(f"## {experiment}, scale {scale}\n")
                parts.append("| setting | paper | here |\n|---|---|---|")
                parts.extend(_departure(row) for row in config.departures(experiment))
                parts.append("")
    return "\n".join(parts)


def _departure(row: dict[str, Any]) -> str:
    paper, here = (str(row[key]).strip("[]") for key in ("paper", "here"))
    return f"| `{row['setting']}` | {paper or 'none'} | {here or 'none'} |"


def _sections(section: type[BaseModel], path: str) -> list[str]:
    parts = [_table(f"`{path}`", section)]
    for name, field in section.model_fields.items():
        for inner in _models_in(field.annotation):
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
        if all(_models_in(option) for option in options):
            return "section"
        return " or ".join("null" if o is NoneType else _name(o) for o in options)
    if _models_in(annotation):
        return "section"
    return {int: "whole number", float: "number", bool: "true or false", str: "text"}[annotation]


def _limit(item: Any) -> str:
    for attribute, words in (("ge", "at least"), ("gt", "above"), ("le", "at most")):
        if (value := getattr(item, attribute, None)) is not None:
            return f"{words} {value}"
    return ""


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in typing.get_args(annotation) for m in _models_in(part)]


if __name__ == "__main__":
    write_text(DOCS / "config.md", reference())
    write_text(DOCS / "config.schema.json", schema())
    write_text(DOCS / "departures.md", departures())
