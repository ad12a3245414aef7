"""Figures of nets at points that were moved by some radius."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.figures.looks import Look
from pipeline.statistics.intervals import ratio_interval

_MARKERS = "osD^vPX"


def radius_looks(radii: Sequence[float], label: str) -> dict[float, Look]:
    """Looks that get darker with the radius; ``label`` formats it."""
    shades = mpl.colormaps["viridis_r"]
    last = max(1, len(radii) - 1)
    return {
        radius: Look(
            mpl.colors.to_hex(shades(0.12 + 0.88 * place / last)),
            _MARKERS[place % len(_MARKERS)],
            "-",
            label.format(radius),
        )
        for place, radius in enumerate(radii)
    }


def radius_legend(figure: Figure, looks: dict[float, Look], title: str) -> None:
    """The radii, above all panels."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, label=look.label) for look in looks.values()
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(looks), title=title, title_fontsize=7
    )


def share_scale(first: Axes, second: Axes) -> None:
    """The same limits on both y axes."""
    limits = [*first.get_ylim(), *second.get_ylim()]
    for axes in (first, second):
        axes.set_ylim(min(limits), max(limits))


def ratios_to_clean(
    table: pd.DataFrame, columns: Sequence[str], of_clean: str | None = None
) -> dict[str, Any]:
    """By column, radius and width, the mean over seeds relative to that of radius 0.

    ``of_clean`` is the column to divide by where it is not the same one. ``range`` has the least
    and the largest of the ratios over the widths.
    """
    return {
        column: {
            f"{radius:g}": _by_width(own, column, f"{of_clean or column}_clean")
            for radius, own in beside_clean(table).groupby("radius")
        }
        for column in columns
    }


def beside_clean(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of radii above 0, with the columns NAME_clean of radius 0."""
    clean = table[table["radius"] == 0]
    moved = table[table["radius"] > 0]
    return moved.merge(clean, on=["points", "width", "seed"], suffixes=("", "_clean"))


def _by_width(data: pd.DataFrame, above: str, below: str) -> dict[str, Any]:
    ratios: dict[str, Any] = {
        str(width): asdict(ratio_interval(own[above], own[below], paired=True))
        for width, own in data.groupby("width")
    }
    estimates = [ratio["estimate"] for ratio in ratios.values()]
    return ratios | {"range": [min(estimates), max(estimates)]}
