"""Draw the table of claims about bounds with the verdict on each."""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.looks import corner_note
from pipeline.figures.room import Context, Facts, Tables, only

MARKS = {
    "holds": ("#009E73", "o"),
    "holds in part": ("#E69F00", "s"),
    "undecided": ("#56B4E9", "d"),
    "does not hold": ("#D55E00", "X"),
    "not tested": ("#7A7A7A", "_"),
}
"""Colour and marker of each verdict."""

COLUMNS = {
    "claim": 0.0,
    "statement": 0.045,
    "kind": 0.575,
    "violations": 0.657,
    "estimate": 0.733,
    "verdict": 0.878,
}
"""Left edges, as shares of the width."""

HEADS = {
    "claim": "",
    "statement": "statement",
    "kind": "kind",
    "violations": "violated",
    "estimate": "share or estimate\n[95 % interval]",
    "verdict": "verdict",
}

VERDICT = [
    "claim",
    "source",
    "statement",
    "rule",
    "kind",
    "since",
    "changes",
    "figure",
    "instances",
    "violations",
    "estimate",
    "low",
    "high",
    "verdict",
    "unit",
]
"""Columns that the table of all claims reads."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A row per claim, the claims of a source together."""
    lines = _lines(facts["verdicts"])
    figure, axes = plt.subplots(figsize=(6.9, 0.5 + 0.142 * len(lines)))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.99)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(lines) + 0.3, -2.6)
    for name, title in HEADS.items():
        axes.text(COLUMNS[name], -1.0, title, va="bottom", fontsize=7, fontweight="bold")
    axes.axhline(-0.7, color="black", linewidth=0.8)
    for y, (kind, content) in enumerate(lines):
        if kind == "source":
            axes.text(0, y, content, va="center", fontsize=7, fontstyle="italic", color="#333333")
            axes.axhline(y + 0.55, color="#bbbbbb", linewidth=0.5)
        elif kind == "claim":
            _draw_claim(axes, y, content)
        elif kind == "text":
            axes.text(COLUMNS["statement"], y, content, va="center", fontsize=6.5)
    axes.axhline(len(lines) - 0.4, color="black", linewidth=0.8)
    corner_note(figure, f"{context['scale']} scale, rules in the table of the study")
    return figure


def _lines(verdicts: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """What stands in each line: a source, the first line of a claim, more of its text, or a gap."""
    lines: list[tuple[str, Any]] = []
    for source in dict.fromkeys(row["source"] for row in verdicts):
        if lines:
            lines.append(("gap", None))
        lines.append(("source", source))
        for row in verdicts:
            if row["source"] == source:
                first, *others = textwrap.wrap(row["statement"], 72)
                lines.append(("claim", row | {"first": first}))
                lines += [("text", other) for other in others]
    return lines


def _draw_claim(axes: Axes, y: int, row: dict[str, Any]) -> None:
    style: dict[str, Any] = {"va": "center", "fontsize": 6.5}
    axes.text(COLUMNS["claim"], y, row["claim"], fontweight="bold", **style)
    axes.text(COLUMNS["statement"], y, row["first"], **style)
    axes.text(COLUMNS["kind"], y, row["kind"], **style)
    if row["instances"]:
        axes.text(COLUMNS["violations"], y, f"{row['violations']}/{row['instances']}", **style)
        interval = f"[{_short(row['low'])}, {_short(row['high'])}]"
        axes.text(COLUMNS["estimate"], y, f"{_short(row['estimate'])} {interval}", **style)
    color, marker = MARKS[row["verdict"]]
    axes.plot(COLUMNS["verdict"] + 0.008, y, marker=marker, color=color, markersize=4, clip_on=False)
    axes.text(COLUMNS["verdict"] + 0.025, y, row["verdict"], **style)


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3f}".rstrip("0").rstrip(".")


def measure(tables: Tables, context: Context) -> Facts:
    """The verdict on each claim with what is behind it, and how many of each kind got each verdict."""
    table = only(tables)
    return {
        "verdicts": table.fillna({"changes": ""})[VERDICT].to_dict("records"),
        "claims_by_verdict": table["verdict"].value_counts().sort_index().to_dict(),
        "claims_by_kind_and_verdict": {
            str(kind): rows["verdict"].value_counts().sort_index().to_dict()
            for kind, rows in table.groupby("kind")
        },
    }
