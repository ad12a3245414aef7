"""The width double descent of fully connected nets on images, trained with the squared error."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine
from pipeline.figures.flanks import WHERE_UNTESTED
from pipeline.figures.looks import OPAQUE, corner_note, draw_threshold, mark_diverged, width_axis
from pipeline.figures.peaks import STATEMENT, judged_peaks
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import (
    bound_label,
    double_descent_facts,
    draw_bounds,
    draw_losses,
    loss_label,
    name_threshold,
    note,
    prepared,
)

DATA = {"fcn_cifar10": "CIFAR-10", "fcn_mnist": "MNIST"}

_REFUTED = (
    "A bound falls by less than 5 % to a quarter of the threshold or to four times it, or its peak "
    "stands elsewhere than that of the test loss."
)
_UNTESTED = f"A peak is at an end, {WHERE_UNTESTED}."
_NOT_SIMULATED = "Dead nets have a bound of 0, around which simulated ones are negative."


def measure(tables: Tables, context: Context) -> Facts:
    """By data set, peaks and falls of the curves, and how many nets are constant, by width."""
    return {name: _facts(tables[name], context["settings"][name]["threshold_width"]) for name in DATA}


def _facts(table: pd.DataFrame, threshold: float) -> Facts:
    data = prepared(table)
    constant = data[_is_constant(data)].groupby("width").size()
    return double_descent_facts(_that_vary(data), threshold) | {
        "constant_nets": {str(width): int(count) for width, count in constant.items()}
    }


def _that_vary(data: pd.DataFrame) -> pd.DataFrame:
    """Without nets that are constant near all points, as all of their hidden neurons are dead."""
    return data[~_is_constant(data)]


def _is_constant(data: pd.DataFrame) -> "pd.Series[bool]":
    """Which nets have no bounds though they have not diverged."""
    return data["c_lower"].isna() & (data["stop_reason"] != "diverged")


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column per data set, bounds above and losses below."""
    figure, grid = plt.subplots(
        2, 2, figsize=(6.9, 4.6), layout="constrained", sharex="col", height_ratios=[1.25, 1]
    )
    notes = []
    for (name, title), letters, (above, below) in zip(DATA.items(), ("ac", "bd"), grid.T, strict=True):
        data, settings = _that_vary(prepared(tables[name])), context["settings"][name]
        draw_bounds(above, data)
        draw_losses(below, data)
        mark_diverged(above, data, "width")
        for letter, axes in zip(letters, (above, below), strict=True):
            width_axis(axes, sorted(data["width"].unique()))
            draw_threshold(axes, settings["threshold_width"])
            axes.set_title(f"{letter}  {title}")
        _name_axes(above, below, settings)
        notes.append(f"{title}: {note(data, {**context, 'settings': settings})}")
    low, high = grid[0, 0].get_ylim()
    grid[0, 0].set_ylim(low, high * (high / low) ** 0.45)  # room for the legend
    grid[0, 0].legend(loc="upper left", **OPAQUE)
    grid[1, 0].legend(loc="best")
    corner_note(figure, "\n".join(notes))
    return figure


def _name_axes(above: Axes, below: Axes, settings: dict[str, Any]) -> None:
    above.set_ylabel(bound_label(settings, "bound"))
    below.set(xlabel="width", ylabel=loss_label(settings))
    name_threshold(above, settings)


@claim(
    "C10 FCN, CIFAR-10",
    STATEMENT,
    reported="no number (Figure S17 a)",
    unit="smaller relative fall from the peak of C_lower",
    refuted=_REFUTED,
    untested=_UNTESTED,
    since="2026-11-28",
    of_a_change=True,
    not_simulated=_NOT_SIMULATED,
)
def on_cifar10(facts: Facts) -> Finding:
    """As C10, of nets with one hidden layer on CIFAR-10, trained with the squared error; without nets
    whose hidden neurons are all dead, which have no bound but 0."""
    return combine(judged_peaks(facts["fcn_cifar10"]))


@claim(
    "C10 FCN, MNIST",
    STATEMENT,
    reported="no number (Figure S17 b)",
    unit="smaller relative fall from the peak of C_lower",
    refuted=_REFUTED,
    untested=_UNTESTED,
    since="2026-11-28",
    of_a_change=True,
    not_simulated=_NOT_SIMULATED,
)
def on_mnist(facts: Facts) -> Finding:
    """As C10, of nets with one hidden layer on MNIST, trained with the squared error; without nets
    whose hidden neurons are all dead, which have no bound but 0."""
    return combine(judged_peaks(facts["fcn_mnist"]))
