"""What figures over width share: the panels of bounds, losses and errors, and their numbers."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.claims.findings import UntestedError, measured, readable
from pipeline.figures.flanks import fall_on_flanks, fitting_beyond_the_peak
from pipeline.figures.looks import (
    LOOKS,
    OPAQUE,
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    mark_diverged,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts
from pipeline.statistics.curves import fall_after_peak, hump, peak_location, spearman
from pipeline.statistics.intervals import Interval

BOUNDS = ("c_upper", "c_lower", "c_avg")

JUDGED = {"c_lower": "C_lower", "c_upper": "C_upper", "c_avg": "C_avg"}
"""The same in the order in which claims judge them, as they are called there."""

LOSSES = {"double_descent": "cross-entropy", "double_descent_mse": "squared error"}
"""What each sweep over widths trains with."""

FLANK = 4
"""Flanks of a peak end at this factor below and above the threshold."""

LEAST_FALL = 0.05
"""A peak falls by more than this share of it on both sides."""

_LOSSES = {"cross_entropy": "cross-entropy (nats)", "mean_squared_error": "squared error"}
_OUTPUTS = {"cross_entropy": "logits", "mean_squared_error": "outputs"}
_PARAMETERS = {"cross_entropy": "points", "mean_squared_error": r"points $\times$ outputs"}
_MARKERS = "osD^vP<X>hd*"


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that belong to the training points, with the upper bound itself."""
    data = table[table["points"] == "train"].copy()
    data["c_upper"] = 10 ** data["log10_c_upper"]
    return data


def at_stop(data: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    """The last checkpoint of each run in a table over epochs, and whether it is at the epoch cap."""
    last = data.loc[data.groupby(["width", "seed"])["epoch"].idxmax()]
    capped = last["epoch"] >= settings["training"]["max_epochs"]
    return last.assign(stop_reason=np.where(capped, "epoch_cap", "gradient_norm"))


def draw_double_descent(data: pd.DataFrame, context: Context) -> Figure:
    """Bounds, losses and errors at the stop, from :func:`prepared` rows of one experiment."""
    figure, panels = plt.subplot_mosaic(
        [["bounds", "loss"], ["bounds", "error"]],
        figsize=(6.9, 3.4),
        layout="constrained",
        height_ratios=[1.25, 1],
    )
    settings = context["settings"]
    draw_bounds(panels["bounds"], data)
    draw_losses(panels["loss"], data)
    draw_errors(panels["error"], data)
    for axes in panels.values():
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, settings["threshold_width"])
    mark_diverged(panels["bounds"], data, "width")
    panels["bounds"].set(title="a", xlabel="width", ylabel=bound_label(settings))
    panels["loss"].set(title="b", ylabel=loss_label(settings))
    panels["loss"].tick_params(labelbottom=False)
    panels["error"].set(title="c", xlabel="width", ylabel="error (%)")
    panels["bounds"].legend(
        loc="upper left",
        bbox_to_anchor=(0.01, 0.99),
        **OPAQUE,
    )
    bottom, top = panels["bounds"].get_ylim()
    panels["bounds"].set_ylim(top=top * max(2.5, (top / bottom) ** 0.28))  # room for the legend
    panels["loss"].legend(loc="lower left")
    name_threshold(panels["bounds"], settings)
    corner_note(figure, note(data, context))
    return figure


def double_descent_facts(data: pd.DataFrame, threshold: float) -> Facts:
    """The curves' peaks, where they stand, and how the bounds rank the widths beside the test loss.

    ``threshold`` is the width at which the net has as many parameters as numbers to fit.
    """
    curves = {name: curve_facts(data, name) for name in (*BOUNDS, "test_loss")}
    return {name: facts for name, facts in curves.items() if facts} | {
        "rank_correlation_with_test_loss": {
            name: rank_correlation(data, name, "test_loss") for name in BOUNDS
        },
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
        "smaller_fall_from_the_peak": smaller_falls(data, BOUNDS),
        "fall_on_both_flanks": {
            name: measured(fall_on_flanks, data, name, threshold, FLANK) for name in BOUNDS
        },
        "share_that_fits_beyond_the_peak": measured(_share_that_fits, data, "test_loss"),
        "peak_over_threshold": {
            name: measured(_over_threshold, data, name, threshold) for name in BOUNDS
        },
        "peak_over_that_of_the_test_loss": {
            name: measured(_over_other_peak, data, name, "test_loss") for name in BOUNDS
        },
    }


def _share_that_fits(data: pd.DataFrame, name: str) -> float:
    """Of the runs at widths beyond the peak of a curve, those that stop or have no training error."""
    finite = data[np.isfinite(data[name])]
    if finite.empty:
        raise UntestedError(f"{readable(name)} has no finite values")
    done, runs = fitting_beyond_the_peak(finite, name)
    return done / runs if runs else math.nan


def smaller_falls(data: pd.DataFrame, names: Iterable[str], x: str = "width") -> Facts:
    """By how much each mean curve falls from its peak to either end, of the two the smaller fall."""
    return {name: measured(hump, data, x, name) for name in names}


def _inner_peak(data: pd.DataFrame, name: str) -> Interval:
    """The width at which a mean curve peaks.

    Raises :class:`UntestedError` where it peaks at an end.
    """
    peak = peak_location(data[np.isfinite(data[name])], "width", name)
    if not peak.interior:
        raise UntestedError(f"{readable(name)} has no peak inside of the widths")
    return peak.place


def _over_threshold(data: pd.DataFrame, name: str, threshold: float) -> Interval:
    return _inner_peak(data, name).mapped(lambda width: width / threshold)


def _over_other_peak(data: pd.DataFrame, name: str, other: str) -> Interval:
    return _inner_peak(data, name).over(_inner_peak(data, other))


def curve_facts(data: pd.DataFrame, name: str, x: str = "width") -> Facts:
    """Where the geometric mean over seeds of a column peaks, and how far it falls to the last ``x``.

    With 95 % intervals. Nothing for a column without finite values.
    """
    finite = data[np.isfinite(data[name])]
    if finite.empty:
        return {}
    peak = peak_location(finite, x, name)
    fall = fall_after_peak(finite, x, name)
    last = finite[finite[x] == finite[x].max()][name]
    return {
        f"peak_{x}": int(peak.position),
        f"peak_{x}_refined": peak.place.estimate,
        f"peak_{x}_interval": ends(peak.place.low, peak.place.high),
        "peak": peak.value,
        "peak_is_interior": peak.interior,
        "share_of_drawn_curves_with_interior_peak": peak.share_interior,
        "at_the_widest" if x == "width" else "at_the_last": float(np.exp(np.log(last).mean())),
        "fall_in_per_cent": 100 * fall.estimate,
        "fall_in_per_cent_interval": ends(100 * fall.low, 100 * fall.high),
    }


def rank_correlation(data: pd.DataFrame, first: str, second: str) -> Facts | None:
    """Spearman's correlation over widths of two columns, over seeds; none below three widths."""
    finite = data[np.isfinite(data[[first, second]]).all(axis=1)]
    if finite["width"].nunique() < 3:
        return None
    return interval_facts(spearman(finite, first, second))


def interval_facts(interval: Interval) -> Facts:
    """An estimate and its 95 % interval, as JSON."""
    return {"estimate": number(interval.estimate), "interval": ends(interval.low, interval.high)}


def ends(low: float, high: float) -> list[float] | None:
    """The ends of an interval, or None if there is none."""
    return None if math.isnan(low) or math.isnan(high) else [low, high]


def number(value: float) -> float | None:
    """``value``, or None where JSON has no number for it."""
    return float(value) if math.isfinite(value) else None


def draw_bounds(axes: Axes, data: pd.DataFrame) -> None:
    """The three bounds against width."""
    for name in BOUNDS:
        draw_seeds(axes, data, "width", name, LOOKS[name])
    plain_log_axis(axes)


def draw_losses(axes: Axes, data: pd.DataFrame) -> None:
    """Test and training loss against width."""
    for name in ("test", "train"):
        draw_seeds(axes, data, "width", f"{name}_loss", LOOKS[name])
    plain_log_axis(axes)


def draw_errors(axes: Axes, data: pd.DataFrame) -> None:
    """Test and training error against width, in per cent."""
    for name in ("test", "train"):
        in_percent = data.assign(error=100 * data[f"{name}_error"])
        draw_seeds(axes, in_percent, "width", "error", LOOKS[name])
    axes.set_ylim(bottom=-3, auto=True)  # panels may share the axis


def bound_label(settings: dict[str, Any], what: str = "Lipschitz bound") -> str:
    """Label of an axis of bounds, with the unit."""
    return f"{what} ({_OUTPUTS.get(settings['training']['loss'], 'outputs')} per unit of input)"


def loss_label(settings: dict[str, Any]) -> str:
    """Label of an axis of losses, with the unit."""
    loss: str = settings["training"]["loss"]
    return _LOSSES.get(loss, loss.replace("_", " "))


def name_threshold(axes: Axes, settings: dict[str, Any]) -> None:
    """Say beside the threshold's line what it is, on the side with more room."""
    width = settings["threshold_width"]
    low, high = axes.get_xlim()
    left = width > math.sqrt(low * high)
    axes.annotate(
        f"parameters = {_PARAMETERS.get(settings['training']['loss'], 'points')}",
        (width, 0.02),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=6.5,
        color="#444444",
    )


def note(data: pd.DataFrame, context: Context) -> str:
    """Scale, seeds, what hollow marks are if there are any, and whether any net fits its points."""
    reasons = set(data.get("stop_reason", ()))
    hollow = "; hollow: stopped at the epoch cap" if "epoch_cap" in reasons else ""
    fits = data.empty or bool((data["train_error"] == 0).any())
    unfit = "" if fits else "; no net fits all of its training points"
    return f"{context['scale']} scale, {data['seed'].nunique()} seeds, band: ±1 std{hollow}{unfit}"


def shades(labels: Sequence[str]) -> list[Look]:
    """Looks for ordered curves, from dark to light, with a marker each."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.87, max(len(labels), 2)))
    return [
        Look(mpl.colors.to_hex(colour), marker, "-", label)
        for colour, marker, label in zip(colours, _MARKERS * 3, labels, strict=False)
    ]
