"""Draw how far from the zero-padded norm every method is."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from papers.delattre_2023.conv_norms.sweeps import (
    device_of,
    draw_grid,
    groups_of,
    note_of_sweeps,
    values_along_sweeps,
)
from pipeline.figures.numbers import signed
from pipeline.figures.room import Context, Facts, Tables, only

LINEAR = 1e-2
"""Gaps below this many per cent are drawn on a linear scale."""

_LIMITS = {"bound": (-2 * LINEAR, 2000), "none": (-10, 500), "lower": (-200, 2 * LINEAR)}
"""Least and largest gap that is shown, in per cent, by group."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Gaps along the three sweeps, in a row for what a method guarantees."""
    figure = draw_grid(
        facts["gap_in_per_cent"], facts["groups"], "gap to the zero-padded norm (%)", _gap_axis
    )
    note_of_sweeps(figure, context, facts["device"])
    return figure


def _gap_axis(axes: Axes, group: str) -> None:
    """Logarithmic on either side of zero, and linear in the shaded strip around it."""
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    axes.axhspan(-LINEAR, LINEAR, color="#f2f2f2", zorder=0)
    low, high = _LIMITS[group]
    axes.set_ylim(low, high)
    ticks = [-100, -10, -1, -0.1, 0, 0.1, 1, 10, 100, 1000]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, "exact")))
    axes.yaxis.set_minor_locator(NullLocator())


def measure(tables: Tables, context: Context) -> Facts:
    """Gaps along the sweeps, the named cases beside the published values, and who is below the norm."""
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
        "device": device_of(table),
        "groups": groups_of(table),
        "gap_in_per_cent": values_along_sweeps(table, context, "gap", 100),
        "cases": cases,
        "share_below_the_zero_padded_norm": below.groupby(table["method"]).mean().to_dict(),
        "smallest_gap": gaps.min().to_dict(),
        "largest_gap": gaps.max().to_dict(),
        "largest_residual_of_the_reference": float(table["residual"].max()),
    }
