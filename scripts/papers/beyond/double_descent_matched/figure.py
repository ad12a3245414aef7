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
from pipeline.claims.findings import Finding, combine, judge_fact
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
    LEAST_FALL,
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
            "at_the_stop": _curves(at_stop(data, settings)),
            "at_equal_training_loss": [
                _at_target(data, width, loss)
                for width, loss in targets(data, settings["threshold_width"]).items()
            ],
        }
        for name, data, settings in _columns(tables, context)
    }


def _at_target(data: pd.DataFrame, width: int, loss: float) -> Facts:
    found = matched(data, loss)
    missing = sorted(set(data["width"]) - set(found["width"]))
    return {
        "training_loss": loss,
        "reached_from_width": width,
        "widths_left_out": [int(one) for one in missing],
        "mean_epoch": {str(w): float(e) for w, e in found.groupby("width")["epoch"].mean().items()},
        "largest_ratio_of_losses_interpolated_between": float(found["step"].max()),
    } | _curves(found)


def _curves(data: pd.DataFrame) -> Facts:
    peaks = {name: curve_facts(data, name) for name in (*BOUNDS, "test_loss")}
    return peaks | {
        "rank_correlation_with_test_loss": {
            name: rank_correlation(data, name, "test_loss") for name in BOUNDS
        },
        "smaller_fall_from_the_peak": smaller_falls(data, BOUNDS),
    }


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
    "The double descent of the bounds remains where all widths have the same training loss",
    reported="not in the paper",
    unit="smaller relative fall from the peak of C_lower, cross-entropy",
)
def double_descent_at_matched_loss(facts: Facts) -> Finding:
    """Each bound where a run first comes down to the same training loss, interpolated between kept
    checkpoints in the logs of both: the least loss that every run reaches. A part holds if the curve
    over widths falls from its peak by more than 5 % to either end (interval of the smaller fall above
    0.05)."""
    parts = {
        f"{word}, {loss}": judge_fact(_fall_of_all_widths(facts[name], bound), least=LEAST_FALL)
        for name, loss in LOSSES.items()
        for bound, word in JUDGED.items()
    }
    return combine(parts)


def _fall_of_all_widths(facts: Facts, bound: str) -> Facts:
    """At the least loss that every run reaches."""
    for one in facts["at_equal_training_loss"]:
        if not one["widths_left_out"]:
            return one["smaller_fall_from_the_peak"][bound]
    return {"untested": "no run without missing numbers"}
