"""The width double descent of nets whose layers' norms are capped in training.

Bounds are those of the net without the temperature that multiplies its outputs in the loss. With it
each bound is that many times as large.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import (
    Finding,
    UntestedError,
    combine,
    interval_of,
    judge_fact,
    measured,
    readable,
)
from pipeline.figures.flanks import WHERE_UNTESTED, fall_on_flanks
from pipeline.figures.looks import corner_note, draw_threshold, mark_diverged, width_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import (
    BOUNDS,
    LEAST_FALL,
    bound_label,
    curve_facts,
    draw_bounds,
    draw_errors,
    draw_losses,
    interval_facts,
    loss_label,
    note,
    number,
    prepared,
    rank_correlation,
    smaller_falls,
)
from pipeline.statistics.intervals import Interval, ratio_interval

Training = dict[str, Any]

_CAPS = (10, 1)
_FLATTENED = ("c_lower", "test_loss")
"""Without C_upper, which a cap on the product of the norms holds at the cap, whatever is true."""

_FLANK = 4
"""Flanks end this factor below and above the threshold."""


def trainings(context: Context) -> dict[str, Training]:
    """Settings of training by variant, in the order of the configuration."""
    return {name: one["training"] for name, one in context["settings"]["variants"].items()}


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks by cap, how far each stands above the widest net, and the bounds' share of the cap."""
    data = prepared(only(tables))
    threshold = context["settings"]["threshold_width"]
    by_cap = {name: data[data["variant"] == name] for name in (f"cap~{cap}" for cap in (0, *_CAPS))}
    falls = {
        cap: {name: measured(fall_on_flanks, rows, name, threshold, _FLANK) for name in _FLATTENED}
        for cap, rows in by_cap.items()
    }
    return {
        name: _facts_of(data[data["variant"] == name], training)
        for name, training in trainings(context).items()
    } | {
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
        "fall_as_trained": {cap: smaller_falls(rows, _FLATTENED) for cap, rows in by_cap.items()},
        "fall_on_both_flanks": falls,
        "change_of_the_fall": {
            f"cap~{cap}": {
                name: measured(_change, name, falls["cap~0"][name], falls[f"cap~{cap}"][name])
                for name in _FLATTENED
            }
            for cap in _CAPS
        },
    }


def _change(name: str, free: Facts, capped: Facts) -> Interval:
    """The fall from a peak with a cap minus that without, with both intervals at their worst."""
    falls = [interval_of(fall) for fall in (capped, free)]
    if not free["low"] > LEAST_FALL:
        raise UntestedError(f"without a cap {readable(name)} has no clear peak")
    return falls[0].minus(falls[1])


def _facts_of(data: pd.DataFrame, training: Training) -> Facts:
    curves = {name: curve_facts(data, name) for name in (*BOUNDS, "test_loss", "test_error")}
    return {
        "cap_on_the_product_of_norms": _cap(training),
        "temperature": training["temperature"],
        "largest_c_upper_with_the_temperature": number(data["c_upper"].max() * training["temperature"]),
        "rank_correlation_with_test_loss": {
            name: rank_correlation(data, name, "test_loss") for name in BOUNDS
        },
    } | {
        name: peak | {"peak_over_the_widest": _height(data, name, peak["peak_width"])}
        for name, peak in curves.items()
        if peak
    }


def _height(data: pd.DataFrame, name: str, peak_width: int) -> Facts:
    """Mean at the peak over that of the widest nets."""
    finite = data[np.isfinite(data[name])]
    at = {width: rows[name].to_numpy() for width, rows in finite.groupby("width")}
    return interval_facts(ratio_interval(at[peak_width], at[max(at)]))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column for each cap: bounds, losses and errors from above; from :func:`prepared` rows."""
    data = prepared(only(tables))
    settings = context["settings"]
    variants = trainings(context)
    figure, grid = plt.subplots(
        3,
        len(variants),
        figsize=(6.9, 5.2),
        layout="constrained",
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=[1.6, 1, 0.8],
    )
    for column, (name, training) in enumerate(variants.items()):
        _draw_column(grid[:, column], data[data["variant"] == name], training)
        grid[0, column].set_title(f"{'abcdef'[column]}   {_named(training)}")
        grid[-1, column].set_xlabel("width")
    for axes in grid.flat:
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, settings["threshold_width"])
    grid[0, 0].set_ylabel(bound_label(settings, "bound"))
    grid[1, 0].set_ylabel(loss_label(settings))
    grid[2, 0].set_ylabel("error (%)")
    _legends(grid)
    corner_note(figure, note(data, context))
    return figure


def _draw_column(panels: Any, data: pd.DataFrame, training: Training) -> None:
    draw_bounds(panels[0], data)
    draw_losses(panels[1], data)
    draw_errors(panels[2], data)
    mark_diverged(panels[0], data, "width")
    if cap := _cap(training):
        panels[0].axhline(cap, color="#CC79A7", linewidth=2.5, alpha=0.5, zorder=1, label="cap")


def _named(training: Training) -> str:
    cap = _cap(training)
    return f"cap {cap:g}, temperature {training['temperature']:g}" if cap else "no cap"


def _cap(training: Training) -> float | None:
    """Cap on the product of the layers' norms."""
    stated = training["spectral_cap"]
    return stated["cap"] if stated else None


def _legends(grid: Any) -> None:
    """The bounds' and the losses' looks, outside of the panels."""
    figure: Figure = grid[0, 0].figure
    handles, labels = grid[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=6.5)
    grid[1, 0].legend(loc="lower left")


@claim(
    "C18",
    "A cap on the Lipschitz constant weakens the double descent of bounds and loss",
    unit="change of the height of the peak",
    refuted="Under a cap the peak over widths is as high as without, among nets that are trained.",
    untested=f"Without a cap there is no peak of 5 %, {WHERE_UNTESTED}: a peak that is gone together "
    "with the fit says nothing.",
    since="2026-11-28",
    changes={
        "2026-11-28": "C_upper is left out, which sits on the cap by construction; flanks end at a "
        "quarter and four times the threshold and have to be trained. The heights were known."
    },
    of_a_change=True,
)
def cap_flattens(facts: Facts) -> Finding:
    """Height of the peak in width under a spectral cap, minus that without (height: smaller of the
    relative falls to the widths nearest to a quarter and to four times the threshold), for C_lower and
    the test loss. A part holds if the difference lies below 0, with both intervals at their worst.
    C_upper is not judged: with a cap on the product of the norms it sits on the cap."""
    changes = facts["change_of_the_fall"]
    return combine(
        {
            f"{readable(name)}, cap {cap}": judge_fact(changes[f"cap~{cap}"][name], most=0)
            for cap in _CAPS
            for name in _FLATTENED
        }
    )
