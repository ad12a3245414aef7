"""Draw bounds and losses at attacked points against width."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact, measured, nearest, select
from pipeline.figures.looks import (
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.perturbed import radius_legend, radius_looks, share_scale
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.curves import peak_location
from pipeline.statistics.intervals import Interval
from pipeline.statistics.perturbed import beside_clean, mean_ratio_to_clean_lower, ratios_to_clean


def prepared(table: pd.DataFrame, context: Context) -> pd.DataFrame:
    """The rows without those of the attack that checks the others."""
    return table[table["steps"].isin([0, context["settings"]["adversarial"]["steps"]])]


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds at attacked training points, also relative to those of the points, and losses."""
    table = only(tables)
    data = prepared(table, context)
    figure, grid = plt.subplots(2, 2, figsize=(6.9, 4.6), layout="constrained", sharex=True)
    bounds, ratios, train_loss, test_loss = grid.flat
    train, test = (data[data["points"] == part] for part in ("train", "test"))
    looks = radius_looks(sorted(data["radius"].unique()), "{:g}")
    for radius, look in looks.items():
        draw_seeds(bounds, train[train["radius"] == radius], "width", "c_lower", look)
        draw_seeds(train_loss, train[train["radius"] == radius], "width", "loss", look)
        draw_seeds(test_loss, test[test["radius"] == radius], "width", "loss", look)
    _draw_ratios(ratios, train, looks, facts["paper"])
    for axes in grid.flat:
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, context["settings"]["double_descent"]["threshold_width"])
    for axes in (bounds, train_loss, test_loss):
        plain_log_axis(axes)
    for axes in grid[1]:
        axes.set_xlabel("width")
    share_scale(train_loss, test_loss)
    bounds.set(title="a   training points", ylabel=r"$C_\mathrm{lower}$ (logits per unit of input)")
    ratios.set(title="b   training points", ylabel=r"relative to $C_\mathrm{lower}$ of radius 0")
    train_loss.set(title="c   training points", ylabel="cross-entropy (nats)")
    test_loss.set(title="d   test points")
    radius_legend(figure, looks, "radius of the attack (points: norms of about 6)")
    hollow = "; hollow: epoch cap" if "epoch_cap" in set(data["stop_reason"]) else ""
    seeds = data["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds, band: ±1 std{hollow}")
    return figure


def _draw_ratios(
    axes: Axes, train: pd.DataFrame, looks: dict[float, Look], paper: Mapping[str, Sequence[float]]
) -> None:
    """Norms (solid) and secants (dotted) relative to the norms at the points, and the paper's ranges.

    Lines are means over seeds of the ratios of single nets.
    """
    data = beside_clean(train)
    for line, column in (("-", "c_lower"), (":", "c_secant")):
        relative = data.assign(ratio=data[column] / data["c_lower_clean"])
        for radius, own in relative.groupby("radius"):
            look = looks[radius]
            means = own.groupby("width")["ratio"].mean()
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
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.4 * (high - low), high)


def measure(tables: Tables, context: Context) -> Facts:
    """Bounds and losses relative to those without attack, and whether the attack has converged."""
    table = only(tables)
    data = prepared(table, context)
    return {
        "relative_to_no_attack": {
            part: ratios_to_clean(own, ("c_lower", "c_avg", "loss"))
            for part, own in data.groupby("points")
        },
        "secant_over_clean": {
            part: ratios_to_clean(own, ["c_secant"], of_clean="c_lower")["c_secant"]
            for part, own in data.groupby("points")
        },
        "paper": context["printed"],
        "peak_of_c_lower": {
            f"{radius:g}": peak_location(own, "width", "c_lower").fact()
            for radius, own in data[data["points"] == "train"].groupby("radius")
        },
        "over_c_lower_at_radius_near_0.5": attack_at_half(tables, context),
        "check": _check(table, context),
    }


def _check(table: pd.DataFrame, context: Context) -> dict[str, Any]:
    """What many more steps would have changed, on the net that was attacked with both."""
    keys = ["width", "seed", "points", "radius"]
    more = context["settings"]["adversarial"]["check_steps"]
    both = table[table["steps"] == more].merge(prepared(table, context), on=keys, suffixes=("_more", ""))
    if both.empty or not np.isfinite(both["loss"]).all():
        return {}
    return {
        "steps": more,
        "loss_over_that_of_more_steps": float((both["loss"] / both["loss_more"]).min()),
        "c_lower_over_that_of_more_steps": [
            float(f(both["c_lower"] / both["c_lower_more"])) for f in (np.min, np.max)
        ],
    }


def attack_at_half(tables: Tables, context: Context) -> Facts:
    """What an attack of a radius near 0.5 does to C_lower, and the secants to where points went."""
    return {name: measured(_mean_ratio, tables, context, name) for name in ("c_lower", "c_secant")}


def _mean_ratio(tables: Tables, context: Context, column: str) -> Interval:
    rows = prepared(select(tables, "adversarial", points="train"), context)
    radius = nearest(rows[rows["radius"] > 0], "radius", 0.5)["radius"].iloc[0]
    return mean_ratio_to_clean_lower(rows, radius, column)


@claim(
    "C8",
    "Adversarially moved points hardly change C_lower",
    reported="ratios 0.94 to 1.05 (CIFAR-10, radius 0.5)",
    unit="ratio of C_lower",
    refuted="C_lower at the moved points differs by more than a tenth, or secants to them are steeper.",
    untested="No radius was attacked, or one seed.",
    since="2026-11-28",
)
def robust_to_attack(facts: Facts) -> Finding:
    """At adversarially moved training points, at the radius nearest to 0.5, mean over widths by seed.
    C_lower over that at the points themselves holds in [0.9, 1.1]; the steepest secant from the points
    to the moved ones over C_lower holds below 1."""
    ratios = facts["over_c_lower_at_radius_near_0.5"]
    return combine(
        {
            "C_lower moved / clean": judge_fact(ratios["c_lower"], 0.9, 1.1),
            "secant / C_lower": judge_fact(ratios["c_secant"], 0, 1),
        }
    )
