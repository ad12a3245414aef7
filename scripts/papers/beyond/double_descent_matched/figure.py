"""Bounds and test loss against width with all nets at the same training loss.

At the stop, narrow nets have trained longer than wide ones and still have a larger training loss.
Here each curve shows the nets when their training loss first falls to a common target. Between the
kept checkpoints around that, each quantity is interpolated linearly in its logarithm over that of
the training loss: the losses of neighbouring checkpoints can differ by several times.
"""

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.looks import (
    LOOKS,
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import (
    BOUNDS,
    JUDGED,
    LOSSES,
    at_stop,
    bound_label,
    curve_facts,
    loss_label,
    prepared,
    rank_correlation,
    shades,
    smaller_falls,
)
from pipeline.statistics.curves import log_log_slope_over_seeds
from pipeline.statistics.intervals import Interval

_SHOWN = ("c_upper", "c_lower", "test_loss")
_MEASURED = [*BOUNDS, "test_loss", "epoch"]
_TARGETS = 5
"""At most so many curves are drawn for each loss."""
_STOP = Look("#7A7A7A", "s", ":", "at the stop")


def complete_runs(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs without any infinite or missing number."""
    data = prepared(table)
    finite = np.isfinite(data[[*BOUNDS, "train_loss", "test_loss"]]).all(axis=1)
    return data[finite.groupby([data["width"], data["seed"]]).transform("all")]


def targets(data: pd.DataFrame, threshold: float) -> dict[int, float]:
    """Training losses that nets are compared at, by the least width from which on all reach them.

    That of a width is the least loss that every net at least so wide reaches at some kept
    checkpoint. At most ``_TARGETS`` widths are taken, evenly from the narrowest to the widest up to
    the threshold, or the narrowest alone if all are above.
    """
    least = data.groupby(["width", "seed"])["train_loss"].min().groupby("width").max()
    reached = least[::-1].cummax()[::-1].drop_duplicates()
    widths = [width for width in reached.index if width <= threshold] or list(reached.index[:1])
    if not widths:
        return {}
    steps = np.linspace(0, len(widths) - 1, min(_TARGETS, len(widths)))
    return {int(widths[round(step)]): float(reached[widths[round(step)]]) for step in steps}


def matched(data: pd.DataFrame, target: float) -> pd.DataFrame:
    """Each run at the training loss ``target``, for the widths of which all seeds reach it."""
    runs = data.sort_values("epoch").groupby(["width", "seed"])
    rows = [{"width": w, "seed": s} | _crossing(run, target) for (w, s), run in runs]
    found = pd.DataFrame(rows).assign(stop_reason="matched")
    return found[found["epoch"].notna().groupby(found["width"]).transform("all")]


def _crossing(run: pd.DataFrame, target: float) -> dict[str, float]:
    """A run, in the order of epochs, at ``target``; NaN if it does not reach it."""
    below = np.flatnonzero(run["train_loss"] <= target)
    if len(below) == 0:
        return dict.fromkeys([*_MEASURED, "step"], np.nan)
    after = run.iloc[below[0]]
    if below[0] == 0:
        return after[_MEASURED].to_dict() | {"step": 1.0}
    before = run.iloc[below[0] - 1]
    step = float(before["train_loss"] / after["train_loss"])
    part = np.log(before["train_loss"] / target) / np.log(step)
    between = {name: float(before[name] ** (1 - part) * after[name] ** part) for name in _MEASURED[:-1]}
    # epochs start at 0, which has no logarithm
    epoch = float(before["epoch"] + part * (after["epoch"] - before["epoch"]))
    return between | {"epoch": epoch, "step": step}


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks at the stop and at each target, and the widths that a target leaves out."""
    return {
        name: {
            "at_the_stop": _curves(at_stop(data, settings), settings["threshold_width"]),
            "at_equal_training_loss": [
                _at_target(data, width, loss, settings["threshold_width"])
                for width, loss in targets(data, settings["threshold_width"]).items()
            ],
        }
        for name, data, settings in _columns(tables, context)
    }


def _at_target(data: pd.DataFrame, width: int, loss: float, threshold: float) -> Facts:
    found = matched(data, loss)
    missing = sorted(set(data["width"]) - set(found["width"]))
    return {
        "training_loss": loss,
        "reached_from_width": width,
        "widths_left_out": [int(one) for one in missing],
        "mean_epoch": {str(w): float(e) for w, e in found.groupby("width")["epoch"].mean().items()},
        "largest_ratio_of_losses_interpolated_between": float(found["step"].max()),
    } | _curves(found, threshold)


def _curves(data: pd.DataFrame, threshold: float) -> Facts:
    peaks = {name: curve_facts(data, name) for name in (*BOUNDS, "test_loss")}
    return peaks | {
        "rank_correlation_with_test_loss": {
            name: rank_correlation(data, name, "test_loss") for name in BOUNDS
        },
        "smaller_fall_from_the_peak": smaller_falls(data, BOUNDS),
        "slope_from_the_threshold_on": {
            name: measured(_slope, data[data["width"] >= threshold], name) for name in BOUNDS
        },
    }


def _slope(data: pd.DataFrame, name: str) -> Interval:
    """Of the log of a bound on the log of the width."""
    if data["width"].nunique() < 3:
        raise UntestedError("fewer than three widths from the threshold on reach this loss")
    slope = log_log_slope_over_seeds(data, "width", name)
    return Interval(slope.slope, slope.low, slope.high)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column for each loss function; C_upper, C_lower and test loss from above."""
    figure, panels = plt.subplots(3, 2, figsize=(6.9, 6.6), layout="constrained", sharex="col")
    for letter, axes in zip("abcdef", panels.flat, strict=True):
        axes.set_title(letter)
    for column, (name, data, settings) in enumerate(_columns(tables, context)):
        _draw_column(panels[:, column], data, facts[name]["at_equal_training_loss"], settings)
    note = "line: mean over seeds, band: ±1 std, interpolated between checkpoints; hollow: epoch cap"
    seeds = tables["double_descent_epochs"]["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds; {note}")
    return figure


def _columns(tables: Tables, context: Context) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    for name in LOSSES:
        yield name, complete_runs(tables[f"{name}_epochs"]), context["settings"][name]


def _draw_column(panels: Any, data: pd.DataFrame, equal: list[Facts], settings: dict[str, Any]) -> None:
    looks = shades(
        [f"{one['training_loss']:.2g}  (width ≥ {one['reached_from_width']})" for one in equal]
    )
    stop = at_stop(data, settings)
    for axes, name in zip(panels, _SHOWN, strict=True):
        draw_seeds(axes, stop, "width", name, _STOP)
        for one, look in zip(equal, looks, strict=True):
            draw_seeds(axes, matched(data, one["training_loss"]), "width", name, look)
        plain_log_axis(axes)
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, settings["threshold_width"])
        axes.set_ylabel(_label(name, settings))
    panels[-1].set_xlabel("width")
    _legend(panels[0], loss_label(settings))


def _label(name: str, settings: dict[str, Any]) -> str:
    if name == "test_loss":
        return f"test {loss_label(settings)}"
    return bound_label(settings, LOOKS[name].label.split("  ")[0])


def _legend(axes: Axes, loss: str) -> None:
    axes.legend(
        title=f"training {loss}",
        title_fontsize=7,
        alignment="left",
        loc="lower center",
        bbox_to_anchor=(0.5, 1.08),
        ncols=2,
    )


@claim(
    "N1",
    "Beyond the threshold the bounds fall with width also where all widths have the same training loss",
    reported="not in the paper",
    unit="slope of the log of the bound on the log of the width",
)
def falls_at_matched_loss(facts: Facts) -> Finding:
    """Each bound where a run first comes down to the same training loss, interpolated between kept
    checkpoints in the logs of both, at the least loss that three widths from the threshold on reach
    (narrower nets do not get there, so that no curve at a small loss can have a left flank). Slope of
    the log of the bound on the log of the width over these: a part holds if its interval lies below
    0. Rule of 2026-11-28, written when the slopes were known."""
    parts = {
        f"{word}, {loss}": judge_fact(_slope_at_the_least_loss(facts[name], bound), most=0)
        for name, loss in LOSSES.items()
        for bound, word in JUDGED.items()
    }
    return combine(parts)


def _slope_at_the_least_loss(facts: Facts, bound: str) -> Facts:
    by_loss = sorted(facts["at_equal_training_loss"], key=lambda one: one["training_loss"])
    slopes = [one["slope_from_the_threshold_on"][bound] for one in by_loss]
    tested = [slope for slope in slopes if "untested" not in slope]
    return (tested or slopes or [{"untested": "no run without missing numbers"}])[0]
