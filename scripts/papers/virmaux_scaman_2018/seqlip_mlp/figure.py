"""Draw lower and upper bounds of fully connected nets of several depths, and the paper's."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.figures.looks import corner_note
from pipeline.figures.methods import draw_groups, legend_entries
from pipeline.figures.room import Context, Facts, Tables, only


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each depth, the paper's values as rings."""
    table = only(tables)
    figure, axes = plt.subplots(
        figsize=(6.0, 1.2 + 1.0 * table["depth"].nunique()), layout="constrained"
    )
    named = table.assign(net=[_name(depth) for depth in table["depth"]])
    draw_groups(axes, named, "value", {_name(depth): found for depth, found in facts["paper"].items()})
    axes.set_xlabel("bound of the Lipschitz constant (units of output per unit of input)")
    figure.legend(*legend_entries(table, "paper, other nets"), loc="outside upper center", ncols=3)
    runs, epochs = table["training"].nunique(), context["settings"]["epochs"]
    trainings = f"{runs} trainings" if runs > 1 else "one training"
    corner_note(figure, f"{context['scale']} scale, {trainings} per depth, {epochs} epochs")
    return figure


def _name(depth: int | str) -> str:
    return f"{depth} layers"


def measure(tables: Tables, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over SeqLip, and the paper's table."""
    table = only(tables)
    means = table.groupby(["depth", "method"])["value"].mean()
    depths, paper = sorted(table["depth"].unique()), context["printed"]
    return {
        "values": {str(depth): means[depth].to_dict() for depth in depths},
        "autolip_over_greedy_seqlip": {
            str(depth): float(means[depth, "autolip"] / means[depth, "seqlip_greedy"])
            for depth in depths
        },
        "loss": {
            str(depth): float(table.loc[table["depth"] == depth, "loss"].mean()) for depth in depths
        },
        "paper": {depth: paper[depth] for depth in map(str, depths) if depth in paper},
    }
