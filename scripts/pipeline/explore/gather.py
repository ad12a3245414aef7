"""What the page shows of one figure: its drawing, its runs, its facts and the claims judged by it."""

import dataclasses
import importlib
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from pipeline.claims.report import beside_paper, figures_of
from pipeline.explore.drawn import notes, panels
from pipeline.explore.labels import plain
from pipeline.explore.page import Shown
from pipeline.explore.runs import as_page_table
from pipeline.figures.tables import read_tables
from pipeline.jobs.command import CommandError

_DOTS = 140
"""Per inch of the picture."""


def gather(about: Mapping[str, Any], claims: pd.DataFrame) -> Shown:
    """Draw one figure once more, and read off what it shows.

    ``about`` has ``module``, ``context``, ``table`` and ``facts`` (paths), ``name``, ``scale`` and
    ``source``; ``claims`` are those of its scale. Raises :class:`CommandError` where the figure cannot
    be drawn from its files.
    """
    context = json.loads(about["context"])
    tables = read_tables(map(Path, about["tables"]))
    facts = json.loads(Path(about["facts"]).read_bytes())
    try:
        figure = importlib.import_module(about["module"]).draw(tables, facts, context)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CommandError(
            f"{about['name']} at {about['scale']} scale cannot be drawn from {about['facts']} "
            f"({type(error).__name__}: {error}); make it again with: make figures/{about['name']}.pdf "
            f"SCALE={about['scale']}, or delete that file to leave the figure out"
        ) from error
    picture = as_picture(figure)
    data = {
        "paper": re.sub("^none[;:] ", "In no paper: ", context["paper"]),
        "caption": plain(context["caption"]),
        "notes": notes(figure),
        "panels": [dataclasses.asdict(panel) for panel in panels(figure)],
        "tables": {name: as_page_table(table) for name, table in tables.items()},
        "files": {"facts": about["facts"], "tables": about["tables"]},
        "rows": {name: len(table) for name, table in tables.items()},
        "facts": _finite(facts),
        "departures": _finite(context["departures"]),
        "claims": _judged(claims, about["name"]),
    }
    plt.close(figure)
    title = plain(context["caption"]).split(". ")[0].rstrip(".")
    return Shown(about["name"], about["scale"], about["source"], title, data, picture)


def as_picture(figure: Figure) -> bytes:
    """The figure as WebP, in about a third of the bytes of a PNG."""
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS, metadata={"Software": None})
    with Image.open(buffer) as picture:
        picture.convert("RGB").save(small, format="WEBP", quality=72, method=6)
    return small.getvalue()


def _judged(claims: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    own = [name in figures_of(entry) for entry in claims["figure"]] if len(claims) else []
    return [
        {key: str(row[key]) for key in ("claim", "source", "statement", "verdict", "rule", "reason")}
        | {"number": beside_paper(row)}
        for _, row in claims[own].iterrows()
    ]


def _finite(value: Any) -> Any:
    """JSON without NaN and infinities, which become texts."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
