"""Bounds of convolutional nets by their number of layers, measured and drawn."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.figures.looks import corner_note
from pipeline.figures.methods import draw_groups, legend_entries
from pipeline.figures.room import Context, Facts


def draw_depths(table: pd.DataFrame, facts: Facts, context: Context, data: str, unit: str) -> Figure:
    """A group of rows for each depth, the paper's values as rings.

    ``data`` is what the nets were trained on, ``unit`` that of the input.
    """
    figure, axes = plt.subplots(
        figsize=(6.0, 1.0 + 0.85 * table["depth"].nunique()), layout="constrained"
    )
    named = table.assign(net=[_name(depth) for depth in table["depth"]])
    draw_groups(axes, named, "value", {_name(depth): found for depth, found in facts["paper"].items()})
    axes.set_xlabel(f"bound of the Lipschitz constant (logits per unit of {unit})")
    figure.legend(*legend_entries(table, "paper, on MNIST"), loc="outside upper center", ncols=3)
    runs, worst = table["training"].nunique(), 100 * facts["largest_test_error"]
    trainings = f"{runs} trainings" if runs > 1 else "one training"
    text = f"{context['scale']} scale, {trainings} per depth on {data}, test error up to {worst:.0f} %"
    corner_note(figure, text)
    return figure


def _name(depth: int | str) -> str:
    return f"{depth} layers"


def depth_facts(table: pd.DataFrame, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over greedy SeqLip, and the paper's table."""
    means = table.groupby(["depth", "method"])["value"].mean()
    depths, paper = sorted(table["depth"].unique()), context["printed"]
    return {
        "values": {str(depth): means[depth].to_dict() for depth in depths},
        "autolip_over_greedy_seqlip": {
            str(depth): float(means[depth, "autolip"] / means[depth, "seqlip_greedy"])
            for depth in depths
        },
        "test_error": {
            str(d): float(table.loc[table["depth"] == d, "test_error"].mean()) for d in depths
        },
        "largest_test_error": float(table["test_error"].max()),
        "paper": {
            depth: paper[depth]
            | {"autolip_over_greedy_seqlip": paper[depth]["autolip"] / paper[depth]["seqlip_greedy"]}
            for depth in map(str, depths)
            if depth in paper
        },
    }
