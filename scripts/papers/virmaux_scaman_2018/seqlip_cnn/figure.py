"""Draw lower and upper bounds of convolutional nets of several depths, and the paper's on MNIST."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.figures.looks import corner_note
from pipeline.figures.methods import draw_groups, legend_entries
from pipeline.figures.room import Context, Facts, Tables, only


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each depth, the paper's values as rings."""
    table = only(tables)
    figure, axes = plt.subplots(
        figsize=(6.0, 1.0 + 0.85 * table["depth"].nunique()), layout="constrained"
    )
    named = table.assign(net=[_name(depth) for depth in table["depth"]])
    draw_groups(axes, named, "value", {_name(depth): found for depth, found in facts["paper"].items()})
    axes.set_xlabel("bound of the Lipschitz constant (logits per unit of input)")
    figure.legend(*legend_entries(table, "paper, on MNIST"), loc="outside upper center", ncols=3)
    runs, worst = table["training"].nunique(), 100 * facts["largest_test_error"]
    trainings = f"{runs} trainings" if runs > 1 else "one training"
    text = f"{context['scale']} scale, {trainings} per depth on MNIST-1D, test error up to {worst:.0f} %"
    corner_note(figure, text)
    return figure


def _name(depth: int | str) -> str:
    return f"{depth} layers"


def measure(tables: Tables, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over greedy SeqLip, and the paper's table."""
    table = only(tables)
    means = table.groupby(["depth", "method"])["value"].mean()
    depths, paper = sorted(table["depth"].unique()), context["printed"]
    return {
        "data": "MNIST-1D, convolutions over one axis; the paper: MNIST, two axes",
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
