"""Draw lower and upper bounds of convolutional nets of several depths, and the paper's on MNIST."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.figures.looks import corner_note
from pipeline.figures.methods import draw_groups, legend_entries
from pipeline.figures.room import Context, Facts, Tables, only

PAPER: dict[int, dict[str, float]] = {
    4: {"autolip": 174, "seqlip_greedy": 86, "data": 12.64, "search": 25.5},
    5: {"autolip": 790.1, "seqlip_greedy": 335, "data": 16.79, "search": 22.2},
    7: {"autolip": 12141, "seqlip_greedy": 3629, "data": 31.22, "search": 43.6},
    10: {"autolip": 4.5e6, "seqlip_greedy": 8.2e5, "data": 38.26, "search": 107.8},
}
"""The paper's table, by number of layers: nets over two axes, trained on MNIST."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each depth, the paper's values as rings."""
    table = only(tables)
    figure, axes = plt.subplots(
        figsize=(6.0, 1.0 + 0.85 * table["depth"].nunique()), layout="constrained"
    )
    named = table.assign(net=[_name(depth) for depth in table["depth"]])
    draw_groups(axes, named, "value", {_name(depth): values for depth, values in PAPER.items()})
    axes.set_xlabel("bound of the Lipschitz constant (logits per unit of input)")
    figure.legend(*legend_entries(table, "paper, on MNIST"), loc="outside upper center", ncols=3)
    runs, worst = table["training"].nunique(), 100 * table["test_error"].max()
    trainings = f"{runs} trainings" if runs > 1 else "one training"
    text = f"{context['scale']} scale, {trainings} per depth on MNIST-1D, test error up to {worst:.0f} %"
    corner_note(figure, text)
    return figure


def _name(depth: int) -> str:
    return f"{depth} layers"


def measure(tables: Tables, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over greedy SeqLip, and the paper's table."""
    table = only(tables)
    means = table.groupby(["depth", "method"])["value"].mean()
    depths = sorted(table["depth"].unique())
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
        "paper": {
            str(depth): PAPER[depth]
            | {"autolip_over_greedy_seqlip": PAPER[depth]["autolip"] / PAPER[depth]["seqlip_greedy"]}
            for depth in depths
            if depth in PAPER
        },
    }
