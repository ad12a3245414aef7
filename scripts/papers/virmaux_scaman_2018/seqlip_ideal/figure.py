"""Draw SeqLip and AutoLip against the number of layers in the ideal scenario."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.looks import BOUND_LOOKS, corner_note, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables, only

COLORS = ("#0072B2", "#009E73", "#D55E00", "#7A7A7A")
MARKERS = ("o", "s", "^", "D")
THIN = {"linewidth": 0.8, "linestyle": (0, (4, 2))}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """SeqLip (searched) with its range over draws, the certified bound, and the two limits."""
    table = only(tables)
    figure, axes = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    layers = sorted(table["layers"].unique())
    axes.plot(layers, [1.0] * len(layers), "k--", label=BOUND_LOOKS["autolip"].label)
    ratios = sorted(table["ratio"].unique(), reverse=True)
    for ratio, color, marker in zip(ratios, COLORS, MARKERS, strict=False):
        part = table[table["ratio"] == ratio]
        searched = _searched(part).groupby("layers")["value"]
        axes.fill_between(layers, searched.min(), searched.max(), color=color, alpha=0.2, linewidth=0)
        label = rf"SeqLip, $\sigma_2/\sigma_1$ = {ratio:g}"
        axes.plot(layers, searched.mean(), marker=marker, color=color, label=label)
        proved = part[part["method"] == "seqlip"].groupby("layers")["value"].mean()
        axes.plot(layers, proved, color=color, **THIN)
    axes.plot([], [], color="#555555", label="certified bounds", **THIN)
    limit = [math.pi ** (1 - count) for count in layers]
    axes.plot(layers, limit, color="#444444", linestyle=(0, (1, 1.5)), label=r"limit $\pi^{-(K-1)}$")
    _draw_paper(axes, ratios, layers, facts["paper_at_10_layers"])
    plain_log_axis(axes)
    axes.set_xticks(layers)
    axes.set_xlabel("number of linear layers $K$")
    axes.set_ylabel("bound, relative to AutoLip")
    axes.legend(loc="lower left")
    draws, width = table["draw"].nunique(), context["settings"]["width"]
    spread = f"{draws} draws, bands: their range" if draws > 1 else "one draw"
    corner_note(figure, f"{context['scale']} scale, width {width}, {spread}")
    return figure


def _searched(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the search, of the better one where there are two."""
    both = table[table["method"].isin(("seqlip_alternating", "seqlip_greedy"))]
    return both.groupby(["ratio", "draw", "layers"], as_index=False)["value"].max()


def _draw_paper(axes: Axes, ratios: list[float], layers: list[int], paper: Mapping[str, float]) -> None:
    """The paper's values by ratio, where the figure ends at ten layers as the paper's does."""
    if layers[-1] != 10:
        return
    colors = {f"{ratio:g}": color for ratio, color in zip(ratios, COLORS, strict=False)}
    known = [ratio for ratio in colors if ratio in paper]
    for ratio in known:
        axes.plot(10.25, paper[ratio], marker="<", color=colors[ratio], markerfacecolor="white")
    if known:
        label = "paper, one draw, at 10 layers"
        axes.plot([], [], "<", color="#555555", markerfacecolor="white", label=label)


def measure(tables: Tables, context: Context) -> Facts:
    """Mean over draws at the last depth, by ratio and method, and the paper's values there."""
    table = only(tables)
    last = table[table["layers"] == table["layers"].max()]
    means = last.groupby(["ratio", "method"])["value"].mean()
    return {
        "layers": int(table["layers"].max()),
        "limit": math.pi ** (1 - int(table["layers"].max())),
        "values": {f"{ratio:g} {method}": value for (ratio, method), value in means.items()},
        "paper_at_10_layers": context["printed"],
    }
