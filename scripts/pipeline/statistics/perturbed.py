"""Nets at points that were moved by some radius, beside the same nets at the points as they are.

Tables have one row per net (``width``, ``seed``), point set (``points``) and ``radius``; radius 0 stands
for the points as they are.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval


def beside_clean(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of radii above 0, with the columns NAME_clean of radius 0."""
    clean = table[table["radius"] == 0]
    moved = table[table["radius"] > 0]
    return moved.merge(clean, on=["points", "width", "seed"], suffixes=("", "_clean"))


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


def mean_ratio_to_clean_lower(rows: pd.DataFrame, radius: float, column: str) -> Interval:
    """``column`` at a radius over C_lower at the points as they are, for one point set.

    Ratios are of single nets; their mean is taken over widths by seed, and the interval is over seeds.
    Raises ValueError without rows to divide by, or none to divide.
    """
    clean = rows[rows["radius"] == 0].set_index(["width", "seed"])["c_lower"]
    if clean.empty or (rows["radius"] == 0).all():
        raise ValueError("radius 0 or all others are missing")
    moved = rows[rows["radius"] == radius].set_index(["width", "seed"])[column]
    return mean_interval((moved / clean).groupby("seed").mean())


def _by_width(data: pd.DataFrame, above: str, below: str) -> dict[str, Any]:
    ratios: dict[str, Any] = {
        str(width): ratio_interval(own[above], own[below], paired=True).fact()
        for width, own in data.groupby("width")
    }
    estimates = [ratio["estimate"] for ratio in ratios.values()]
    return ratios | {"range": [min(estimates), max(estimates)]}
