"""Draw SeqLip and AutoLip against the number of layers in the ideal scenario."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.figures import BOUND_LOOKS, corner_note
from pipeline.plot_command import Context, plot_command

PAPER_ITEM = "Virmaux & Scaman, NeurIPS 2018, figure of SeqLip in the ideal scenario"

COLORS = ("#0072B2", "#009E73", "#D55E00", "#7A7A7A")
MARKERS = ("o", "s", "^", "D")


def draw(table: pd.DataFrame, context: Context) -> Figure:
    """SeqLip (searched) with its range over draws, the certified bound, and the two limits."""
    figure, axes = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    layers = sorted(table["layers"].unique())
    axes.plot(layers, [1.0] * len(layers), "k--", label=BOUND_LOOKS["autolip"].label)
    ratios = sorted(table["ratio"].unique(), reverse=True)
    for ratio, color, marker in zip(ratios, COLORS, MARKERS, strict=False):
        part = table[table["ratio"] == ratio]
        searched = part[part["method"] == "seqlip"].groupby("layers")["value"]
        axes.fill_between(layers, searched.min(), searched.max(), color=color, alpha=0.2, linewidth=0)
        label = rf"SeqLip, ratio $\sigma_2/\sigma_1$ = {ratio:g}"
        axes.plot(layers, searched.mean(), marker=marker, color=color, label=label)
        proved = part[part["method"] == "seqlip_certified"].groupby("layers")["value"].mean()
        axes.plot(layers, proved, color=color, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.plot([], [], color="#555555", linewidth=0.8, linestyle=(0, (4, 2)), label="certified bounds")
    limit = [math.pi ** (1 - count) for count in layers]
    axes.plot(layers, limit, color="#444444", linestyle=(0, (1, 1.5)), label=r"limit $\pi^{-(K-1)}$")
    axes.set_yscale("log")
    axes.set_xticks(layers)
    axes.set_xlabel("number of linear layers $K$")
    axes.set_ylabel("bound, relative to AutoLip")
    axes.legend(loc="lower left")
    draws, width = table["draw"].nunique(), context["settings"]["width"]
    corner_note(figure, f"{context['scale']} scale, {draws} draws of width {width}")
    return figure


def facts(table: pd.DataFrame, context: Context) -> dict[str, Any]:
    """Mean over draws at the last depth, by ratio and method."""
    last = table[table["layers"] == table["layers"].max()]
    means = last.groupby(["ratio", "method"])["value"].mean()
    return {
        "layers": int(table["layers"].max()),
        "limit": math.pi ** (1 - int(table["layers"].max())),
        "values": {f"{ratio:g} {method}": value for (ratio, method), value in means.items()},
    }


if __name__ == "__main__":
    plot_command(draw, facts, figure="seqlip_ideal", paper_item=PAPER_ITEM, description=__doc__)
