"""The width double descent of vision transformers, against the number of parameters."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.looks import (
    LOOKS,
    OPAQUE,
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    mark_diverged,
    plain_log_axis,
)
from pipeline.figures.numbers import PLAIN
from pipeline.figures.peaks import FALL_WHERE_IT_FITS, falls_where_it_fits, judged_peaks
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import (
    bound_label,
    double_descent_facts,
    loss_label,
    name_threshold,
    note,
    prepared,
)
from pipeline.statistics.intervals import Interval, ratio_interval

LOWER = ("c_lower", "c_avg")

BETWEEN = Look("#56B4E9", "D", "", r"$C_{S^{**}}$  (largest, between the images)")

_BETWEEN_MARKS: dict[str, Any] = {
    "markersize": 3.4,
    "markeredgecolor": "#222222",
    "markeredgewidth": 0.4,
    "zorder": 4,
}


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, and the norms between the images over those at them."""
    data, extended = prepared(tables["vit_cifar10"]), tables["extended_set_vit"]
    threshold = context["settings"]["vit_cifar10"]["threshold_width"]
    upper = data.groupby("width")["log10_c_upper"].median().dropna()
    between = extended[extended["points"] == "convex"]
    return double_descent_facts(data, threshold) | {
        FALL_WHERE_IT_FITS: falls_where_it_fits(data, LOWER),
        "parameters": _parameters(data),
        "parameters_at_the_threshold": _parameters_at(data, threshold),
        "log10_of_our_upper_bound": {str(width): float(value) for width, value in upper.items()},
        "points_of_the_extended_set": sorted({int(n) for n in between["count"]}),
        "extended_over_lower": {
            str(width): measured(_extended_over_lower, rows) for width, rows in extended.groupby("width")
        },
    }


def _parameters(data: pd.DataFrame) -> dict[str, int]:
    return {str(width): int(rows["parameters"].iloc[0]) for width, rows in data.groupby("width")}


def _parameters_at(data: pd.DataFrame, width: float) -> float:
    """By the polynomial of degree 2 in the width that the number of parameters is."""
    counts = data.groupby("width")["parameters"].first()
    return float(np.polyval(np.polyfit(counts.index, counts, min(2, len(counts) - 1)), width))


def _extended_over_lower(rows: pd.DataFrame) -> Interval:
    """Largest norm between the training images over that at them, of the same nets."""
    at = rows.pivot_table(index="seed", columns="points", values="maximum", dropna=False)
    if not {"convex", "train"} <= set(at) or at[["convex", "train"]].dropna().empty:
        raise UntestedError("the extended set was not measured")
    at = at.dropna()
    return ratio_interval(at["convex"], at["train"], paired=True)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Lower bounds on the left, losses and errors on the right."""
    data, settings = prepared(tables["vit_cifar10"]), context["settings"]["vit_cifar10"]
    figure, panels = plt.subplot_mosaic(
        [["bounds", "loss"], ["bounds", "error"]],
        figsize=(6.9, 3.6),
        layout="constrained",
        height_ratios=[1.25, 1],
    )
    for name in LOWER:
        draw_seeds(panels["bounds"], data, "parameters", name, LOOKS[name])
    _draw_between(panels["bounds"], tables["extended_set_vit"], facts)
    in_percent = data.assign(**{f"{n}_percent": 100 * data[f"{n}_error"] for n in ("test", "train")})
    for name in ("test", "train"):
        draw_seeds(panels["loss"], data, "parameters", f"{name}_loss", LOOKS[name])
        draw_seeds(panels["error"], in_percent, "parameters", f"{name}_percent", LOOKS[name])
    plain_log_axis(panels["bounds"])
    plain_log_axis(panels["loss"])
    mark_diverged(panels["bounds"], data, "parameters")
    for axes in panels.values():
        _parameter_axis(axes, facts["parameters"], facts["parameters_at_the_threshold"])
        draw_threshold(axes, facts["parameters_at_the_threshold"])
    _name_axes(panels, facts, settings)
    corner_note(figure, note(data, {**context, "settings": settings}))
    return figure


def _draw_between(axes: Axes, extended: pd.DataFrame, facts: Facts) -> None:
    rows = extended[extended["points"] == "convex"]
    means = rows.groupby("width")["maximum"].mean()
    counts = [facts["parameters"][str(width)] for width in means.index]
    axes.plot(
        counts, means, color=BETWEEN.color, linestyle="none", marker=BETWEEN.marker,
        label=BETWEEN.label, **_BETWEEN_MARKS,
    )  # fmt: skip


def _name_axes(panels: dict[str, Axes], facts: Facts, settings: dict[str, Any]) -> None:
    bounds, loss, error = (panels[name] for name in ("bounds", "loss", "error"))
    bounds.set(title="a", xlabel="parameters", ylabel=bound_label(settings))
    loss.set(title="b", ylabel=loss_label(settings))
    error.set(title="c", xlabel="parameters", ylabel="error (%)", ylim=(-3, 1.06 * error.get_ylim()[1]))
    loss.tick_params(labelbottom=False)
    low, high = bounds.get_ylim()
    bounds.set_ylim(low, high * (high / low) ** 0.4)  # room for the legend
    bounds.legend(loc="upper left", **OPAQUE)
    loss.legend(loc="best")
    name_threshold(bounds, settings | {"threshold_width": facts["parameters_at_the_threshold"]})
    for axes in (bounds, loss):
        _widths_above(axes, facts["parameters"])


def _parameter_axis(axes: Axes, parameters: dict[str, int], threshold: float) -> None:
    """Logarithmic, with plain numbers, fewer of them where it is long."""
    counts = [*parameters.values(), threshold]
    low, high = 0.9 * min(counts), 1.1 * max(counts)
    steps = (1,) if high > 200 * low else (1, 2, 5)
    ticks = [step * 10**power for power in range(12) for step in steps]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=6.5)


def _widths_above(axes: Axes, parameters: dict[str, int]) -> None:
    """The widths along the upper edge, as many of them as there is room for."""
    above = axes.secondary_xaxis("top")
    shown: dict[str, int] = {}
    apart = (max(parameters.values()) / min(parameters.values())) ** 0.05
    for width, count in parameters.items():
        if not shown or count > apart * max(shown.values()):
            shown[width] = count
    above.set_xticks(list(shown.values()), list(shown), fontsize=6)
    above.xaxis.set_minor_locator(NullLocator())
    above.tick_params(length=2, pad=1)
    above.set_xlabel("width", fontsize=6.5, labelpad=2)


@claim(
    "C4 ViT, CIFAR-10",
    "C_lower is faithful: the largest Jacobian norm between the training images is close to it",
    reported="C_lower on S** close to C_lower (read off a figure)",
    unit="C_S** / C_lower",
    refuted="At some width the largest norm between the images is more than twice that at them, or "
    "less than half of it.",
    untested="The larger set was not measured, or for one seed only.",
    since="2026-11-28",
)
def between_the_images(facts: Facts) -> Finding:
    """Largest Jacobian norm over convex combinations of pairs of training images over that at all
    training images, by width, of nets at their stop; ratio of the means over seeds. A part holds if its
    interval lies in [1/2, 2]. There is no upper bound in the paper to compare the gap with."""
    ratios = facts["extended_over_lower"]
    return combine({f"width {width}": judge_fact(ratio, 0.5, 2) for width, ratio in ratios.items()})


@claim(
    "C10 ViT, CIFAR-10",
    "C_lower and C_avg have a double descent in width, with the test loss's peak at the threshold",
    reported="expected peak near width 5",
    unit="smaller relative fall from the peak of C_lower",
    refuted="A bound falls by less than 5 % to half or to twice the narrowest width that fits, or its "
    "peak stands elsewhere than that of the test loss, or than where there are as many parameters as "
    "points.",
    untested="A peak is at an end, no width fits the labels, no width is near the ends of the flanks, "
    "or fewer than half of the runs on the wide flank reach the stop or a training error of zero.",
    since="2026-11-28",
    of_a_change=True,
)
def double_descent(facts: Facts) -> Finding:
    """By bound, in the mean over seeds at the stop. Height: the curve falls from its peak by more than
    5 % to the widths nearest to half and to twice the narrowest one that fits (a training error of at
    most 1 % on average; the paper has no width at a quarter of the one that counts parameters). Place,
    where there is a height: the interval of the peak over the width with as many parameters as points,
    and over the peak of the test loss, lies in [1/2, 2]."""
    return combine(judged_peaks(facts, fall=FALL_WHERE_IT_FITS, bounds=LOWER))
