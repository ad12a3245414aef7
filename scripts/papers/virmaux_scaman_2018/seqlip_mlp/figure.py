"""Draw lower and upper bounds of fully connected nets of several depths, and the paper's."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.figures.looks import corner_note
from pipeline.figures.methods import draw_groups, legend_entries
from pipeline.figures.room import Context, Facts, Tables, only

PAPER: dict[int, dict[str, float]] = {
    4: {
        "frobenius": 648.2,
        "autolip": 33.04,
        "seqlip_exact": 21.47,
        "seqlip_greedy": 21.47,
        "data": 4.36,
        "search": 4.55,
        "grid": 6.56,
    },
    5: {
        "frobenius": 4283.1,
        "autolip": 134.4,
        "seqlip_exact": 72.87,
        "seqlip_greedy": 72.87,
        "data": 6.77,
        "search": 5.8,
        "grid": 7.1,
    },
    7: {
        "frobenius": 22341,
        "autolip": 294.6,
        "seqlip_exact": 130.2,
        "seqlip_greedy": 130.2,
        "data": 5.4,
        "search": 5.27,
        "grid": 6.51,
    },
    10: {
        "frobenius": 7343800,
        "autolip": 19248.2,
        "seqlip_exact": 2463.44,
        "seqlip_greedy": 2463.36,
        "data": 10.04,
        "search": 5.77,
        "grid": 17.1,
    },
}
"""The paper's table, by number of layers. Its nets were not released, so other nets are bounded."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each depth, the paper's values as rings."""
    table = only(tables)
    figure, axes = plt.subplots(
        figsize=(6.0, 1.2 + 1.0 * table["depth"].nunique()), layout="constrained"
    )
    named = table.assign(net=[_name(depth) for depth in table["depth"]])
    draw_groups(axes, named, "value", {_name(depth): values for depth, values in PAPER.items()})
    axes.set_xlabel("bound of the Lipschitz constant (units of output per unit of input)")
    figure.legend(*legend_entries(table, "paper, other nets"), loc="outside upper center", ncols=3)
    runs, epochs = table["training"].nunique(), context["settings"]["epochs"]
    trainings = f"{runs} trainings" if runs > 1 else "one training"
    corner_note(figure, f"{context['scale']} scale, {trainings} per depth, {epochs} epochs")
    return figure


def _name(depth: int) -> str:
    return f"{depth} layers"


def measure(tables: Tables, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over SeqLip, and the paper's table."""
    table = only(tables)
    means = table.groupby(["depth", "method"])["value"].mean()
    depths = sorted(table["depth"].unique())
    return {
        "values": {str(depth): means[depth].to_dict() for depth in depths},
        "autolip_over_greedy_seqlip": {
            str(depth): float(means[depth, "autolip"] / means[depth, "seqlip_greedy"])
            for depth in depths
        },
        "loss": {
            str(depth): float(table.loc[table["depth"] == depth, "loss"].mean()) for depth in depths
        },
        "paper": {str(depth): PAPER[depth] for depth in depths if depth in PAPER},
    }
