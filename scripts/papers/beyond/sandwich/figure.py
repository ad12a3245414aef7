"""Draw every bound of trained nets against width, and the band in which the truth must lie."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

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
from pipeline.statistics.intervals import fall_after_peak, peak_location, ratio_interval

METHODS = ("autolip", "eclipse", "liplt", "seqlip", "lipsdp_descent", "exact", "search", "data", "mean")
_BAND = "#56B4E9"


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """One row per net: the methods, the best bounds (``least_upper``, ``largest_lower``), and why it
    stopped. The exact constant is both, where there is one."""
    keys = ["width", "seed", "stop_reason"]
    wide = table.pivot_table(index=keys, columns="method", values="value")
    for name, kind, best in (("least_upper", "upper", "min"), ("largest_lower", "lower", "max")):
        known = table[table["kind"].isin([kind, "exact"])]
        wide[name] = known.groupby(keys)["value"].agg(best)
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
    gaps = {
        "paper_upper_over_lower": ("autolip", "data"),
        "least_upper_over_largest_lower": ("least_upper", "largest_lower"),
        "search_over_data": ("search", "data"),
        "least_upper_over_autolip": ("least_upper", "autolip"),
    }
    methods = [method for method in METHODS if method in data]
    return {
        "gaps": {
            str(width): {name: _ratio(own, *pair) for name, pair in gaps.items()}
            for width, own in data.groupby("width")
        },
        "over_exact": {
            str(width): {method: _ratio(own, method, "exact") for method in methods}
            for width, own in (data.dropna(subset="exact").groupby("width") if "exact" in data else ())
        },
        "peaks": {
            method: asdict(peak_location(data, "width", method))
            | {"fall_to_the_widest": asdict(fall_after_peak(data, "width", method))}
            for method in (*methods, "least_upper", "largest_lower")
            if method != "exact"
        },
        "uncertified_upper_bounds": sorted(
            table.loc[(table["kind"] == "upper") & ~table["certified"], "method"].unique()
        ),
        "seconds": table.groupby("method")["seconds"].mean().to_dict(),
    }


def _ratio(data: pd.DataFrame, above: str, below: str) -> dict[str, float] | None:
    if data[[above, below]].dropna().empty:
        return None
    return asdict(ratio_interval(data[above], data[below], paired=True))


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
