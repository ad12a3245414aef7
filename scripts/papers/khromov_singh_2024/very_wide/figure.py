"""Whether the upper bound rises again far beyond the interpolation threshold."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, judge_fact, measured
from pipeline.figures.looks import LOOKS, corner_note, draw_threshold, mark_diverged, width_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import bound_label, draw_bounds, name_threshold, note, prepared
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

FAR = 16
"""Thresholds from which on a rise counts."""

FAR_ENOUGH = 200
"""Thresholds from which on it counts that there is none."""


def both(tables: Tables) -> pd.DataFrame:
    """The nets of both trainings; those that both have once."""
    rows = pd.concat([prepared(table) for table in tables.values()], ignore_index=True)
    return rows.drop_duplicates(["width", "seed"])


def measure(tables: Tables, context: Context) -> Facts:
    """C_upper by width beyond its peak, and that of the widest nets over its least before them."""
    data, threshold = both(tables), context["settings"]["double_descent"]["threshold_width"]
    beyond = _beyond_the_peak(data)
    means = beyond.groupby("width")["c_upper"]
    return {
        "c_upper_beyond_the_peak": {
            str(width): asdict(_geometric_mean(values)) for width, values in means
        },
        "widest_over_threshold": float(data["width"].max() / threshold) if len(data) else 0.0,
        "share_that_stopped_beyond_the_peak": measured(_share_that_stopped, beyond),
        "c_upper_of_the_widest_over_its_least_before": measured(_rise, beyond),
    }


def _beyond_the_peak(data: pd.DataFrame) -> pd.DataFrame:
    """Finite rows from the width on at which the geometric mean of C_upper is largest."""
    finite = data[np.isfinite(data["log10_c_upper"])]
    if finite.empty:
        return finite
    peak = finite.groupby("width")["log10_c_upper"].mean().idxmax()
    return finite[finite["width"] >= peak]


def _geometric_mean(values: "pd.Series[float]") -> Interval:
    return mean_interval(np.log(values)).mapped(np.exp)


def _share_that_stopped(beyond: pd.DataFrame) -> float:
    """Of the nets at the widths beyond the peak, those that met the target or fit all points."""
    if beyond.empty:
        raise UntestedError("C_upper has no finite values")
    done = (beyond["stop_reason"] == "gradient_norm") | (beyond["train_error"] == 0)
    return float(done.mean())


def _rise(beyond: pd.DataFrame) -> Interval:
    """Ratio of geometric means; the level is Bonferroni's for the search for the least one."""
    if beyond.empty:
        raise UntestedError("C_upper has no finite values")
    widest = beyond["width"].max()
    narrower = beyond[beyond["width"] < widest].groupby("width")["log10_c_upper"].mean()
    if narrower.empty:
        raise UntestedError("C_upper is largest at the widest net")
    least = beyond[beyond["width"] == narrower.idxmin()]
    above = beyond[beyond["width"] == widest]
    return ratio_interval(above["c_upper"], least["c_upper"], level=1 - 0.05 / len(narrower))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """All bounds on the left, C_upper beyond its peak on the right."""
    data, settings = both(tables), context["settings"]["double_descent"]
    figure, (bounds, upper) = plt.subplots(
        1, 2, figsize=(6.9, 2.9), layout="constrained", width_ratios=(1.25, 1)
    )
    draw_bounds(bounds, data)
    width_axis(bounds, sorted(data["width"].unique()))
    draw_threshold(bounds, settings["threshold_width"])
    name_threshold(bounds, settings)
    mark_diverged(bounds, data, "width")
    bounds.set(title="a", xlabel="width", ylabel=bound_label(settings))
    bounds.set_ylim(top=bounds.get_ylim()[1] * 4.5)
    bounds.legend(loc="upper left", frameon=True, framealpha=1, facecolor="white", edgecolor="none")
    _draw_relative(upper, facts["c_upper_beyond_the_peak"])
    upper.set(title="b", xlabel="width", ylabel=r"$C_\mathrm{upper}$ / its least value")
    fewest = data.loc[data["width"] == data["width"].max(), "seed"].nunique()
    corner_note(figure, f"{note(data, context)}; widest nets: {fewest} seeds")
    return figure


def _draw_relative(axes: Axes, means: Facts) -> None:
    """C_upper by width, with its intervals."""
    axes.axhline(1, color="#444444", linewidth=0.8, linestyle=(0, (1, 1.5)))
    if not means:
        return
    widths = [int(width) for width in means]
    ends = {width: [one[name] for name in ("estimate", "low", "high")] for width, one in means.items()}
    values = pd.DataFrame(ends, index=["estimate", "low", "high"]).T / min(
        one["estimate"] for one in means.values()
    )
    errors = [values["estimate"] - values["low"], values["high"] - values["estimate"]]
    look = LOOKS["c_upper"]
    style: dict[str, Any] = {"color": look.color, "marker": look.marker, "linestyle": look.line}
    axes.errorbar(widths, values["estimate"], yerr=np.nan_to_num(errors), capsize=2, **style)
    width_axis(axes, widths)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


@claim(
    "C11",
    "C_upper of fully connected nets rises again far beyond the threshold",
    unit="C_upper of the widest nets / its least at narrower ones beyond the peak",
    refuted="C_upper of nets with 200 thresholds or more is not above that of narrower ones",
    untested="The widest net has less than 16 thresholds; or C_upper has not risen, and the widest net "
    "has less than 200, for it may rise later (the paper's nets have up to 1,638); or fewer than half "
    "of the runs beyond the peak reached the stop or zero training error",
    since="2026-11-28",
)
def rises_again(facts: Facts) -> Finding:
    """C_upper of the widest nets over its least geometric mean at narrower ones beyond the peak, with
    the Welch interval of the logarithm, widened for the search (Bonferroni). Holds if the interval lies
    above 1, at 16 thresholds or more, and does not hold if it lies below, at 200 or more."""
    fact, far = facts["c_upper_of_the_widest_over_its_least_before"], facts["widest_over_threshold"]
    stopped = judge_fact(facts["share_that_stopped_beyond_the_peak"], least=0.5)
    if stopped.verdict == "does not hold":
        raise UntestedError(f"only a share of {stopped.number} of the runs reached the stop")
    finding = judge_fact(fact, least=1)
    if finding.verdict == "not tested":
        return finding
    if far < FAR:
        raise UntestedError(f"the widest net has {far:.3g} thresholds, less than {FAR}")
    if finding.verdict != "holds" and far < FAR_ENOUGH:
        raise UntestedError(
            f"C_upper has not risen up to {far:.3g} thresholds: {finding.number} times its least at "
            f"narrower nets; {FAR_ENOUGH} are needed to say that it does not"
        )
    return finding
