"""Draw how long every method for the norm of a convolution takes."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.delattre_2023.conv_norms.sweeps import (
    device_of,
    draw_grid,
    groups_of,
    note_of_sweeps,
    values_along_sweeps,
)
from pipeline.figures.numbers import log_numbers
from pipeline.figures.room import Context, Facts, Tables, only


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Times along the three sweeps, in a row for what a method guarantees, on one scale."""
    values = facts["best_time_in_ms"]
    methods = [own for sweep in values.values() for own in sweep.values()]
    every = [time for own in methods for times in own.values() for time in times]

    def finish(axes: Axes, group: str) -> None:
        low, high = min(every) / 1.6, max(every) * 1.6
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        log_numbers(axes.yaxis, low, high)

    figure = draw_grid(values, facts["groups"], "best time (ms)", finish)
    note_of_sweeps(figure, context, facts["device"])
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Times along the sweeps, and those of all kernels of the table by method."""
    table = only(tables)
    times = (1e3 * table["best_s"]).groupby(table["method"])
    return {
        "device": device_of(table),
        "groups": groups_of(table),
        "best_time_in_ms": values_along_sweeps(table, context, "best_s", 1e3),
        "median_over_kernels_in_ms": times.median().to_dict(),
    }
