"""Draw how far from the zero-padded norm every method is, and how long it takes."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from pipeline.figures.looks import NORM_LOOKS, Look, corner_note
from pipeline.figures.room import Context, Facts, Tables, only

LOOKS = {
    "certified": NORM_LOOKS["certified"],
    "gram": NORM_LOOKS["gram"],
    "norm2toep": NORM_LOOKS["norm2toep"],
    "lanczos": Look("#000000", "d", ":", "Lanczos"),
    "farnia_ryu": NORM_LOOKS["farnia_ryu"],
    "reshaped_power": Look("#56B4E9", "x", ":", "reshaped (Miyato)"),
    "sedghi": Look("#009E73", "P", "--", "Sedghi"),
    "senderovich": Look("#009E73", "o", "--", "Senderovich"),
    "singla_feizi": NORM_LOOKS["singla_feizi"],
    "araujo": NORM_LOOKS["araujo"],
    "grishina": Look("#8C510A", "h", "--", "Grishina"),
    "trivial": Look("#444444", ">", "-", "trivial (sums)"),
}
"""The first is drawn on top of the others, and stands first in its legend."""

SWEEPS = {
    "kernel_size": "kernel length $k$",
    "channels": "channels (in = out)",
    "input_size": "input length $n$",
}
LETTERS = "abcdef"
LINEAR = 1e-2
"""Gaps below this many per cent are drawn on a linear scale."""

SHIFTS = {"gram": 0.94, "sedghi": 1.06, "senderovich": 1.06}
"""Factors on the abscissa that keep nearly equal gaps apart."""


class _Group(NamedTuple):
    title: str
    line: str
    filled: bool


GROUPS = {
    "bound": _Group("upper bounds (zero padding)", "-", True),
    "none": _Group("bounds for circular padding only, or none", "--", False),
    "lower": _Group("lower bounds", ":", False),
}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Gap and time along the three sweeps; the line style says what a method guarantees."""
    table = only(tables)
    table = table.assign(group=table.apply(_group, axis=1))
    figure = plt.figure(figsize=(7.2, 5.5), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1.4, 1, 0.36))
    first: dict[int, Axes] = {}
    for column, (key, label) in enumerate(SWEEPS.items()):
        part = _sweep(table, context, key)
        for row in (0, 1):
            axes = figure.add_subplot(grid[row, column], sharey=first.get(row))
            first.setdefault(row, axes)
            _draw_sweep(axes, part, key, "gap" if row == 0 else "best_s")
            axes.set_title(f"({LETTERS[3 * row + column]})")
            axes.set_xlabel(label)
            axes.tick_params(labelleft=column == 0)
            (_gap_axis if row == 0 else _time_axis)(axes)
    first[0].set_ylabel("gap to the zero-padded norm (%)")
    first[1].set_ylabel("best time (ms)")
    _legends(figure.add_subplot(grid[2, :]), table)
    settings = context["settings"]
    corner_note(
        figure,
        f"{context['scale']} scale; {settings['channels']} channels, k = {settings['kernel_size']}, "
        f"n = {settings['input_size']} where not swept; "
        f"Gaussian kernels per point: {settings['draws']}; {facts['device']}",
    )
    return figure


def _group(row: pd.Series) -> str:
    if row["bounds_zero_padding"]:
        return "bound"
    return "lower" if row["kind"] == "lower" else "none"


def _sweep(table: pd.DataFrame, context: Context, key: str) -> pd.DataFrame:
    part = table[table["case"] == "sweep"]
    for other in SWEEPS:
        if other != key:
            part = part[part[other] == context["settings"][other]]
    return part[part[key].isin(context["settings"][f"sweep_{key}s"] if key != "channels" else part[key])]


def _draw_sweep(axes: Axes, part: pd.DataFrame, key: str, quantity: str) -> None:
    scale = 100 if quantity == "gap" else 1e3
    for method in reversed(LOOKS):  # the first on top
        own = part[part["method"] == method]
        if own.empty:
            continue
        style = _style(method, own["group"].iloc[0])
        faint = style | {"linestyle": "none", "alpha": 0.35, "markersize": 2}
        shift = SHIFTS.get(method, 1.0) if quantity == "gap" else 1.0
        axes.plot(own[key] * shift, scale * own[quantity], **faint)
        mean = scale * own.groupby(key)[quantity].mean()
        axes.plot(mean.index * shift, mean, **style)
    axes.set_xscale("log", base=2)
    values = sorted(part[key].unique())
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def _style(method: str, group: str) -> dict[str, Any]:
    look, kind = LOOKS[method], GROUPS[group]
    large = method == "senderovich"  # to be seen around Sedghi's equal values
    return {
        "color": look.color,
        "marker": look.marker,
        "linestyle": kind.line,
        "markerfacecolor": look.color if kind.filled else ("none" if large else "white"),
        "markersize": 6 if large else 3.6,
        "markeredgewidth": 0.8,
        "linewidth": 1.1,
    }


def _gap_axis(axes: Axes) -> None:
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    axes.axhspan(-LINEAR, LINEAR, color="#f2f2f2", zorder=0)
    axes.set_ylim(-200, 2000)
    ticks = [-100, -10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10, 100, 1000]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "exact"))
    axes.yaxis.set_minor_locator(NullLocator())


def _time_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legends(axes: Axes, table: pd.DataFrame) -> None:
    axes.axis("off")
    for group, x in {"bound": 0.0, "none": 0.35, "lower": 0.76}.items():
        named = table.loc[table["group"] == group, "method"].unique()
        handles = [
            Line2D([], [], **_style(name, group), label=_label(name)) for name in LOOKS if name in named
        ]
        if handles:
            legend = axes.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(x, 1.15),
                title=GROUPS[group].title,
                title_fontproperties={"weight": "bold", "size": 7},
                ncols=1 if group == "lower" else 2,
                columnspacing=1.0,
                borderaxespad=0,
                alignment="left",
            )
            axes.add_artist(legend)


def _label(name: str) -> str:
    label = LOOKS[name].label
    return f"{label} (circular)" if name in ("gram", "sedghi", "senderovich") else label


def _device(table: pd.DataFrame) -> str:
    return "one CPU thread" if table["device"].iloc[0] == "cpu" else "GPU"


def measure(tables: Tables, context: Context) -> Facts:
    """The named cases beside the published values, and how often each method is below the norm."""
    table = only(tables)
    cases: dict[str, Any] = {}
    for case, part in table[table["case"] != "sweep"].groupby("case"):
        by_method = part.set_index("method")
        values = by_method["value"]
        cases[str(case)] = {
            "zero_padded": float(part["zero_padded"].iloc[0]),
            "circular": float(part["circular"].iloc[0]),
            "values": values.to_dict(),
            "minus_sedghi": (values - values["sedghi"]).to_dict(),
            "minus_farnia_ryu": (values - values["farnia_ryu"]).to_dict(),
            "best_ms": (1e3 * by_method["best_s"]).to_dict(),
            "published": context["printed"].get(str(case)),
        }
    below = table["value"] < table["zero_padded"] * (1 - 1e-6)
    gaps = table.groupby("method")["gap"]
    return {
        "device": _device(table),
        "cases": cases,
        "share_below_the_zero_padded_norm": below.groupby(table["method"]).mean().to_dict(),
        "smallest_gap": gaps.min().to_dict(),
        "largest_gap": gaps.max().to_dict(),
        "largest_residual_of_the_reference": float(table["residual"].max()),
    }
