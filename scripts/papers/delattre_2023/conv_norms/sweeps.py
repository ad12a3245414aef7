"""A quantity of every method along three sweeps: what is drawn in a grid, by what methods guarantee."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from pipeline.figures.looks import NORM_LOOKS, Look, corner_note
from pipeline.figures.numbers import PLAIN
from pipeline.figures.room import Context, Facts

LOOKS = {
    "certified": NORM_LOOKS["certified"],
    "norm2toep": NORM_LOOKS["norm2toep"],
    "araujo": NORM_LOOKS["araujo"],
    "trivial": Look("#444444", ">", "-", "trivial (sums)"),
    "gram": NORM_LOOKS["gram"]._replace(label="Gram iteration\n(circular)"),
    "sedghi": Look("#0072B2", "P", "--", "Sedghi (circular)"),
    "senderovich": Look("#000000", "o", "--", "Senderovich\n(circular)"),
    "singla_feizi": NORM_LOOKS["singla_feizi"],
    "grishina": Look("#8C510A", "h", "--", "Grishina"),
    "lanczos": Look("#000000", "d", ":", "Lanczos"),
    "farnia_ryu": NORM_LOOKS["farnia_ryu"],
    "reshaped_power": Look("#CC79A7", "x", ":", "reshaped (Miyato)"),
}
"""The first of a group is drawn on top of the others, and stands first in its legend."""

SWEEPS = {
    "kernel_size": "kernel length $k$",
    "channels": "channels (in = out)",
    "input_size": "input length $n$",
}

_SHIFTS = {"gram": 0.94, "sedghi": 1.06, "senderovich": 1.06}
"""Factors on the abscissa that keep nearly equal values apart."""


class _Group(NamedTuple):
    title: str
    line: str
    filled: bool


GROUPS = {
    "bound": _Group("upper bounds\n(zero padding)", "-", True),
    "none": _Group("for circular\npadding, or none", "--", False),
    "lower": _Group("lower bounds", ":", False),
}

Values = Mapping[str, Mapping[str, Mapping[str, list[float]]]]
"""By sweep, method and place, one value for each kernel."""


def values_along_sweeps(table: pd.DataFrame, context: Context, column: str, scale: float) -> Facts:
    """``scale`` times a column by sweep, method and place, in the order of the kernels."""
    found: Facts = {}
    for key in SWEEPS:
        part = table[table["case"] == "sweep"]
        for other in SWEEPS:
            if other != key:
                part = part[part[other] == context["settings"][other]]
        if key != "channels":
            part = part[part[key].isin(context["settings"][f"sweep_{key}s"])]
        found[key] = {
            method: {str(place): (scale * one[column]).tolist() for place, one in rows.groupby(key)}
            for method, rows in part.groupby("method")
        }
    return found


def groups_of(table: pd.DataFrame) -> dict[str, str]:
    """What every method guarantees, as a key of :data:`GROUPS`."""
    first = table.drop_duplicates("method").set_index("method")
    return {str(name): _group(row) for name, row in first.iterrows()}


def _group(row: "pd.Series[Any]") -> str:
    if row["bounds_zero_padding"]:
        return "bound"
    return "lower" if row["kind"] == "lower" else "none"


def draw_grid(
    values: Values, groups: Mapping[str, str], label: str, finish: Callable[[Axes, str], None]
) -> Figure:
    """A row for each group and a column for each sweep; ``finish`` gets the axes and the group."""
    figure, grid = plt.subplots(
        len(GROUPS), len(SWEEPS), figsize=(7.2, 5.6), layout="constrained", sharex="col", sharey="row"
    )
    for row, (group, kind) in enumerate(GROUPS.items()):
        names = [name for name in LOOKS if groups.get(name) == group]
        for column, (key, what) in enumerate(SWEEPS.items()):
            axes = grid[row, column]
            for name in reversed(names):
                _draw_method(axes, values[key].get(name, {}), name, group)
            _places(axes, [int(place) for own in values[key].values() for place in own])
            axes.set_title("abcdefghi"[3 * row + column])
            if row == len(GROUPS) - 1:
                axes.set_xlabel(what)
            finish(axes, group)
        handles = [Line2D([], [], **_style(name, group), label=LOOKS[name].label) for name in names]
        grid[row, -1].legend(
            handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.05), title=kind.title,
            title_fontproperties={"weight": "bold", "size": 7}, borderaxespad=0, alignment="left",
        )  # fmt: skip
    grid[1, 0].set_ylabel(label)
    return figure


def _draw_method(axes: Axes, values: Mapping[str, list[float]], name: str, group: str) -> None:
    """The mean over kernels as a line, and each kernel as a faint mark."""
    style, shift = _style(name, group), _SHIFTS.get(name, 1.0)
    places = [int(place) * shift for place in values]
    for at, own in zip(places, values.values(), strict=True):
        axes.plot([at] * len(own), own, **style | {"linestyle": "none", "alpha": 0.35, "markersize": 2})
    axes.plot(places, [sum(own) / len(own) for own in values.values()], **style)


def _style(name: str, group: str) -> dict[str, Any]:
    look, kind = LOOKS[name], GROUPS[group]
    large = name == "senderovich"  # to be seen around Sedghi's equal values
    return {
        "color": look.color,
        "marker": look.marker,
        "linestyle": kind.line,
        "markerfacecolor": look.color if kind.filled else ("none" if large else "white"),
        "markersize": 6.5 if large else 3.6,
        "markeredgewidth": 0.8,
        "linewidth": 1.1,
    }


def _places(axes: Axes, places: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(places))))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())


def note_of_sweeps(figure: Figure, context: Context, device: str) -> None:
    """Scale, what is not swept, and where it ran."""
    settings = context["settings"]
    corner_note(
        figure,
        f"{context['scale']} scale; {settings['channels']} channels, k = {settings['kernel_size']}, "
        f"n = {settings['input_size']} where not swept; "
        f"Gaussian kernels per point: {settings['draws']}; {device}",
    )


def device_of(table: pd.DataFrame) -> str:
    """Where the table was made, in words."""
    return "one CPU thread" if table["device"].iloc[0] == "cpu" else "GPU"
