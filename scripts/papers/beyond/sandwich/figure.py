"""Draw every bound of trained nets against width, and the band in which the truth must lie."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_between, judge_fact, measured
from pipeline.figures.looks import (
    BOUND_LOOKS,
    LOOKS,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.curves import fall_after_peak, peak_location
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

METHODS = ("autolip", "eclipse", "liplt", "seqlip", "lipsdp_descent", "exact", "search", "data", "mean")
GAPS = {
    "paper_upper_over_lower": ("autolip", "data"),
    "least_upper_over_largest_lower": ("least_upper", "largest_lower"),
    "search_over_data": ("search", "data"),
    "least_upper_over_data": ("least_upper", "data"),
    "least_upper_over_autolip": ("least_upper", "autolip"),
}
"""Ratios of bounds that are facts: above, below."""

_BAND = "#56B4E9"


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """One row per net: the methods, the best bounds (``least_upper``, which is certified, and
    ``largest_lower``), and why it stopped. The exact constant is both, where there is one."""
    keys = ["width", "seed", "stop_reason"]
    wide = table.pivot_table(index=keys, columns="method", values="value")
    exact, lower = (table["kind"] == kind for kind in ("exact", "lower"))
    certified = (table["kind"] == "upper") & table["certified"].astype(bool)
    wide["least_upper"] = table[exact | certified].groupby(keys)["value"].min()
    wide["largest_lower"] = table[exact | lower].groupby(keys)["value"].max()
    return wide.reset_index()


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The bounds, and each of them over the largest lower bound."""
    table = only(tables)
    data = prepared(table)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.9, 3.5), layout="constrained")
    methods = [method for method in METHODS if method in data]
    means = data.groupby("width")[["least_upper", "largest_lower"]].mean()
    left.fill_between(
        means.index, means["largest_lower"], means["least_upper"], color=_BAND, alpha=0.35, linewidth=0
    )
    relative = data.copy()
    for name in (*methods, "least_upper"):
        relative[name] = data[name] / data["largest_lower"]
    top = relative.groupby("width")["least_upper"].mean()
    right.fill_between(top.index, 1, top, color=_BAND, alpha=0.35, linewidth=0)
    for method in methods:
        draw_seeds(left, data, "width", method, _look(method))
        draw_seeds(right, relative, "width", method, _look(method))
    for axes in (left, right):
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, context["settings"]["double_descent"]["threshold_width"])
        plain_log_axis(axes)
        axes.set_xlabel("width")
    left.set(title="a", ylabel="bound (logits per unit of input)")
    right.set(title="b", ylabel="bound over the largest lower bound")
    _legend(figure, methods)
    hollow = "; hollow: epoch cap" if "epoch_cap" in set(data["stop_reason"]) else ""
    corner_note(
        figure, f"{context['scale']} scale, {data['seed'].nunique()} seeds, bands: ±1 std{hollow}"
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Gaps between the bounds by width, the exact constant where there is one, and the peaks."""
    table = only(tables)
    data = prepared(table)
    methods = [method for method in METHODS if method in data]
    return {
        "gaps": gaps(data),
        "truth_from_c_lower_0_to_c_upper_1": truth(data),
        "over_exact": {
            str(width): {method: measured(_ratio, own, method, "exact") for method in methods}
            for width, own in (data.dropna(subset="exact").groupby("width") if "exact" in data else ())
        },
        "peaks": {
            method: peak_location(data, "width", method).fact()
            | {"fall_to_the_widest": asdict(fall_after_peak(data, "width", method))}
            for method in (*methods, "least_upper", "largest_lower")
            if method != "exact"
        },
        "uncertified_upper_bounds": sorted(
            table.loc[(table["kind"] == "upper") & ~table["certified"], "method"].unique()
        ),
        "seconds": table.groupby("method")["seconds"].mean().to_dict(),
    }


def gaps(data: pd.DataFrame) -> Facts:
    """Ratios of bounds by width, from the ``prepared`` rows."""
    return {
        str(width): {name: measured(_ratio, own, *pair) for name, pair in GAPS.items()}
        for width, own in data.groupby("width")
    }


def _ratio(data: pd.DataFrame, above: str, below: str) -> Interval:
    return ratio_interval(data[above], data[below], paired=True)


def truth(data: pd.DataFrame) -> Facts:
    """Where the Lipschitz constant lies between C_lower (0) and C_upper (1), in logarithms, by width."""
    sides = {"at_least": "largest_lower", "at_most": "least_upper"}
    return {
        str(width): {side: measured(_share_of_gap, own, bound) for side, bound in sides.items()}
        for width, own in data.groupby("width")
    }


def _share_of_gap(data: pd.DataFrame, bound: str) -> Interval:
    lower, upper, within = (np.log(data[name]) for name in ("data", "autolip", bound))
    return mean_interval((within - lower) / (upper - lower))


def _look(method: str) -> Any:
    if method == "mean":
        return LOOKS["c_avg"]._replace(label="mean Jacobian norm")
    return BOUND_LOOKS[method]


def _legend(figure: Figure, methods: list[str]) -> None:
    looks = [_look(method) for method in methods]
    handles: list[Any] = [
        Line2D([], [], color=o.color, marker=o.marker, linestyle=o.line, label=o.label) for o in looks
    ]
    handles.append(Patch(color=_BAND, alpha=0.35, linewidth=0, label="where the truth lies"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)


@claim(
    "N2",
    "A search over all inputs finds at most twice C_lower",
    reported="not in the paper",
    unit="search / C_lower",
    refuted="At some width the search finds a Jacobian norm that is more than twice C_lower.",
    untested="a width has nets of one seed only",
    since="2026-11-28",
)
def search_finds_little_more(facts: Facts) -> Finding:
    """The largest Jacobian norm that a search over all inputs finds, over C_lower on the training
    points, ratio of the means over seeds, by width. A part holds if its interval lies below 2. A weak
    search would find little: the figure has what no search can pass, the best certified bound."""
    return combine(
        {
            f"width {width}": judge_fact(found["search_over_data"], most=2)
            for width, found in facts["gaps"].items()
        }
    )


@claim(
    "N3",
    "The Lipschitz constant itself is nearer to C_lower than to C_upper",
    reported="not in the paper",
    unit="best certified bound between C_lower (0) and C_upper (1)",
    refuted="At some width the largest Jacobian norm that was found is nearer to C_upper than to "
    "C_lower.",
    untested="a width has nets of one seed only",
    since="2026-11-28",
)
def truth_is_near_lower(facts: Facts) -> Finding:
    """Where the Lipschitz constant lies between C_lower (0) and C_upper (1), in logarithms, mean over
    seeds by width: at least where the search came, at most at the best certified upper bound (both at
    the constant itself where it is known). A width holds if the interval of the latter lies below 1/2,
    does not hold if that of the former lies above, and is undecided else: the bounds leave it open."""
    found = facts["truth_from_c_lower_0_to_c_upper_1"]
    return combine({f"width {width}": _near_lower(sides) for width, sides in found.items()})


def _near_lower(sides: Facts) -> Finding:
    return judge_between(*(judge_fact(sides[side], most=0.5) for side in ("at_most", "at_least")))
