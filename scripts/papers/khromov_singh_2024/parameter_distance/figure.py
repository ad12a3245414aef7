"""How far weights travel in training against width, with the test loss below."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact, measured
from pipeline.figures.flanks import WHERE_UNTESTED, fall_on_flanks
from pipeline.figures.looks import (
    LOOKS,
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    mark_diverged,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import (
    LEAST_FALL,
    LOSSES,
    curve_facts,
    loss_label,
    name_threshold,
    note,
    prepared,
    rank_correlation,
    smaller_falls,
)

_DISTANCES = {
    "parameter_distance": Look("#0072B2", "o", "-", "along the kept checkpoints"),
    "distance_from_start": Look("#E69F00", "s", "--", "from initialisation to the stop"),
}


_FLANK = 4
"""Flanks end this factor below and above the threshold."""


def measure(tables: Tables, context: Context) -> Facts:
    """By loss, the peaks of both distances and of the test loss, and their rank correlation."""
    return {
        name: _facts_of(prepared(tables[name]), context["settings"][name]["threshold_width"])
        for name in LOSSES
    }


def _facts_of(data: pd.DataFrame, threshold: float) -> Facts:
    return {name: curve_facts(data, name) for name in (*_DISTANCES, "test_loss")} | {
        "rank_correlation_with_test_loss": {
            name: rank_correlation(data, name, "test_loss") for name in _DISTANCES
        },
        "fall_as_trained": smaller_falls(data, _DISTANCES),
        "fall_on_both_flanks": measured(fall_on_flanks, data, "parameter_distance", threshold, _FLANK),
    }


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column for each loss function: distances above, the test loss below."""
    figure, panels = plt.subplots(
        2, 2, figsize=(6.9, 3.9), layout="constrained", sharex="col", height_ratios=[2, 1]
    )
    for column, name in enumerate(LOSSES):
        data, settings = prepared(tables[name]), context["settings"][name]
        _draw_column(panels[:, column], data, facts[name], settings)
        panels[0, column].set_title(f"{'ab'[column]}   {LOSSES[name]}")
    panels[0, 0].set_ylabel("distance of weights (2-norm)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    together = pd.concat([prepared(tables[name]) for name in LOSSES])
    corner_note(figure, note(together, context))
    return figure


def _draw_column(panels: Any, data: pd.DataFrame, facts: Facts, settings: dict[str, Any]) -> None:
    for name, look in _DISTANCES.items():
        draw_seeds(panels[0], data, "width", name, look)
    draw_seeds(panels[1], data, "width", "test_loss", LOOKS["test"])
    _mark_peak(panels, facts["test_loss"])
    for axes in panels:
        plain_log_axis(axes)
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, settings["threshold_width"])
    mark_diverged(panels[0], data, "width")
    name_threshold(panels[0], settings)
    unit = " (nats)" if "nats" in loss_label(settings) else ""
    panels[1].set(xlabel="width", ylabel=f"test loss{unit}")


def _mark_peak(panels: Any, test_loss: Facts) -> None:
    """A band through both panels at the width of the largest test loss."""
    if not test_loss:
        return
    for axes in panels:
        axes.axvline(
            test_loss["peak_width"],
            color="#B0B0B0",
            linewidth=6,
            alpha=0.45,
            zorder=0,
            label="largest test loss",
        )


@claim(
    "C22",
    "The distance that the parameters went has a double descent in width",
    unit="smaller relative fall from the peak",
    refuted="Under one loss the distance does not fall to one side of the threshold.",
    untested=f"Where {WHERE_UNTESTED}.",
    since="2026-11-28",
    changes={
        "2026-11-28": "Flanks end at a quarter and four times the threshold, not at the ends of the "
        "grid, and have to be trained; the falls to the ends of the grid were known."
    },
    of_a_change=True,
)
def distance_has_a_peak(facts: Facts) -> Finding:
    """By loss, the distance that the parameters went falls from its peak by more than 5 % to the widths
    nearest to a quarter and to four times the threshold: a part holds if the interval of the smaller
    fall lies above 0.05."""
    falls = {loss: facts[name]["fall_on_both_flanks"] for name, loss in LOSSES.items()}
    return combine({loss: judge_fact(fall, least=LEAST_FALL) for loss, fall in falls.items()})
