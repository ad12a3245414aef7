"""Nets at attacked points: bounds and losses relative to those without attack, measured and drawn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.claims.findings import UntestedError, measured, nearest
from pipeline.figures.looks import OPAQUE, Look
from pipeline.figures.room import Facts
from pipeline.statistics.curves import peak_location
from pipeline.statistics.intervals import Interval
from pipeline.statistics.perturbed import beside_clean, mean_ratio_to_clean_lower, ratios_to_clean


def without_check(table: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The rows without those of the attack that checks the others, by the settings of the study."""
    return table[table["steps"].isin([0, settings["steps"]])]


def attack_facts(
    table: pd.DataFrame, settings: Mapping[str, Any], paper: Mapping[str, Sequence[float]]
) -> Facts:
    """Bounds and losses relative to those without attack, and whether the attack has converged.

    ``settings`` are those of the study, ``paper`` the ranges that it prints.
    """
    data = without_check(table, settings)
    return {
        "relative_to_no_attack": {
            part: ratios_to_clean(own, ("c_lower", "c_avg", "loss"))
            for part, own in data.groupby("points")
        },
        "secant_over_clean": {
            part: ratios_to_clean(own, ["c_secant"], of_clean="c_lower")["c_secant"]
            for part, own in data.groupby("points")
        },
        "paper": dict(paper),
        "peak_of_c_lower": {
            f"{radius:g}": peak_location(own, "width", "c_lower").fact()
            for radius, own in data[data["points"] == "train"].groupby("radius")
        },
        "over_c_lower_at_radius_near_0.5": attack_at_half(table, settings),
        "check": _check(table, settings),
    }


def _check(table: pd.DataFrame, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What many more steps would have changed, on the net that was attacked with both."""
    keys = ["width", "seed", "points", "radius"]
    more = settings["check_steps"]
    both = table[table["steps"] == more].merge(
        without_check(table, settings), on=keys, suffixes=("_more", "")
    )
    if both.empty or not np.isfinite(both["loss"]).all():
        return {}
    return {
        "steps": more,
        "loss_over_that_of_more_steps": float((both["loss"] / both["loss_more"]).min()),
        "c_lower_over_that_of_more_steps": [
            float(f(both["c_lower"] / both["c_lower_more"])) for f in (np.min, np.max)
        ],
    }


def attack_at_half(table: pd.DataFrame, settings: Mapping[str, Any]) -> Facts:
    """What an attack of a radius near 0.5 does to C_lower, and the secants to where points went."""
    return {name: measured(_mean_ratio, table, settings, name) for name in ("c_lower", "c_secant")}


def _mean_ratio(table: pd.DataFrame, settings: Mapping[str, Any], column: str) -> Interval:
    rows = without_check(table[table["points"] == "train"], settings)
    if rows.empty:
        raise UntestedError("the table has no rows of training points")
    radius = nearest(rows[rows["radius"] > 0], "radius", 0.5)["radius"].iloc[0]
    return mean_ratio_to_clean_lower(rows, radius, column)


def draw_ratios(
    axes: Axes,
    curves: Iterable[tuple[Look, pd.DataFrame]],
    paper: Mapping[str, Sequence[float]],
) -> None:
    """Norms (solid) and secants (dotted) relative to the norms at the points, and the paper's ranges.

    Each curve has rows of one radius, and those of radius 0. Lines are means over seeds of the ratios of
    single nets.
    """
    for look, rows in curves:
        data = beside_clean(rows)
        for line, column in (("-", "c_lower"), (":", "c_secant")):
            means = (data[column] / data["c_lower_clean"]).groupby(data["width"]).mean()
            axes.plot(means.index, means, line, color=look.color, marker=look.marker)
    for ends in paper.values():
        axes.axhspan(*ends, color="#888888", alpha=0.25, linewidth=0, zorder=0)
    axes.legend(
        handles=[
            Line2D([], [], color="#444444", label="largest Jacobian norm"),
            Line2D([], [], color="#444444", linestyle=":", label="steepest secant"),
            Patch(color="#888888", alpha=0.25, linewidth=0, label="ranges of the paper"),
        ],
        loc="lower left",
        **OPAQUE,
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.4 * (high - low), high)
