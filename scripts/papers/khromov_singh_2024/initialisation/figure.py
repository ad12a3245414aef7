"""The bounds of nets that are not trained yet against width, and those of trained ones."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact
from pipeline.figures.looks import (
    LOOKS,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import (
    BOUNDS,
    JUDGED,
    LEAST_FALL,
    at_stop,
    bound_label,
    curve_facts,
    name_threshold,
    number,
    prepared,
    rank_correlation,
    smaller_falls,
)

_INPUTS, _OUTPUTS = 40, 10
"""Of the nets on MNIST-1D."""


def upper_by_theory(width: ArrayLike) -> NDArray[np.float64]:
    """C_upper of one hidden layer at initialisation, for large nets.

    Weights are U(-1/sqrt(fan_in), 1/sqrt(fan_in)), of variance 1/(3 fan_in), and the norm of an
    m x n matrix of independent entries of variance v tends to ``sqrt(v) (sqrt(m) + sqrt(n))``
    (Yin, Bai & Krishnaiah 1988).
    """
    root = np.sqrt(np.asarray(width, float))
    inner = (root + _INPUTS**0.5) / (3 * _INPUTS) ** 0.5
    outer = (root + _OUTPUTS**0.5) / (3**0.5 * root)
    return np.asarray(inner * outer)


def average_by_theory() -> float:
    """What bounds C_avg at initialisation in the limit of large width, from a tenth above.

    Half of the hidden units and half of the outputs pass on a point. Over them the Jacobian tends to
    a Gaussian matrix whose entries have half the product of the layers' variances times the width,
    and the mean norm of such an m x n matrix is at most ``sqrt(m) + sqrt(n)`` times their deviation
    (Gordon 1985).
    """
    deviation = (0.5 / (3 * _INPUTS) / 3) ** 0.5
    return float(deviation * ((_OUTPUTS / 2) ** 0.5 + _INPUTS**0.5))


def at_start(data: pd.DataFrame) -> pd.DataFrame:
    """The rows of nets as they were drawn."""
    return data[data["epoch"] == 0].assign(stop_reason="not trained")


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks before and after training, and how far initialisation is from theory."""
    table = only(tables)
    data = prepared(table)
    start, stop = at_start(data), at_stop(data, context["settings"])
    upper = start.groupby("width")["c_upper"].mean()
    average = start.groupby("width")["c_avg"].mean()
    return {
        "at_initialisation": {name: curve_facts(start, name) for name in BOUNDS},
        "trained": {name: curve_facts(stop, name) for name in (*BOUNDS, "test_loss")},
        "rank_correlation_with_width_at_initialisation": {
            name: rank_correlation(start.assign(size=start["width"]), name, "size") for name in BOUNDS
        },
        "c_upper_over_theory": {
            str(width): number(value / upper_by_theory(width)) for width, value in upper.items()
        },
        "c_avg_over_its_limit_for_large_width": {
            str(width): number(value / average_by_theory()) for width, value in average.items()
        },
        "smaller_fall_from_the_peak_at_initialisation": smaller_falls(start, BOUNDS),
    }


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Nets at initialisation alone (a) and below the trained ones (b)."""
    table = only(tables)
    data, settings = prepared(table), context["settings"]
    figure, (alone, both) = plt.subplots(1, 2, figsize=(6.9, 3.1), layout="constrained")
    for name in BOUNDS:
        draw_seeds(alone, at_start(data), "width", name, LOOKS[name])
        draw_seeds(both, at_start(data), "width", name, LOOKS[name])
        _draw_faint(both, at_stop(data, settings), name)
    _draw_theory(alone, data)
    for axes in (alone, both):
        plain_log_axis(axes)
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, settings["threshold_width"])
        axes.set_xlabel("width")
    alone.set(title="a", ylabel=bound_label(settings, "bound"))
    both.set_title("b")
    alone.set_ylim(bottom=alone.get_ylim()[0] / 1.25)
    handles, labels = alone.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    name_threshold(alone, settings)
    _name_parts(both, data["width"].max(), facts)
    seeds = data["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds, band: ±1 std")
    return figure


def _draw_theory(axes: Axes, data: pd.DataFrame) -> None:
    widths = np.geomspace(data["width"].min(), data["width"].max(), 100)
    look: dict[str, Any] = {"color": "#222222", "linewidth": 0.9, "zorder": 4}
    axes.plot(
        widths,
        upper_by_theory(widths),
        linestyle="--",
        label=r"$C_\mathrm{upper}$, random matrices",
        **look,
    )
    axes.plot(
        widths[[0, -1]],
        [average_by_theory()] * 2,
        linestyle=":",
        label=r"$C_\mathrm{avg}$, width $\to\infty$",
        **look,
    )


def _draw_faint(axes: Axes, data: pd.DataFrame, name: str) -> None:
    mean = data[np.isfinite(data[name])].groupby("width")[name].mean()
    look = LOOKS[name]
    axes.plot(
        mean.index, mean, color=look.color, marker=look.marker, linewidth=0.8, markersize=2.5, alpha=0.45
    )


def _name_parts(axes: Axes, widest: int, facts: Facts) -> None:
    """Which curves are of trained nets and which are not."""
    for part, word in (("at_initialisation", "at initialisation"), ("trained", "trained")):
        curve = facts[part]["c_avg"]
        if curve:
            axes.annotate(
                word,
                (widest, curve["at_the_widest"]),
                xytext=(0, -11),
                textcoords="offset points",
                ha="right",
                fontsize=7,
            )
    axes.set_ylim(bottom=axes.get_ylim()[0] / 1.6)


@claim(
    "C24",
    "At initialisation there is no double descent in width",
    unit="smaller relative fall from the peak of C_lower",
    refuted="Before training a bound falls by more than 5 % to both ends of the widths.",
    untested="There are fewer than three widths, or one seed.",
    since="2026-11-25",
)
def none_at_initialisation(facts: Facts) -> Finding:
    """By bound, at initialisation: the smaller of the relative falls from the peak in width to either
    end. A part holds if its interval lies below 0.05."""
    falls = facts["smaller_fall_from_the_peak_at_initialisation"]
    return combine({word: judge_fact(falls[name], most=LEAST_FALL) for name, word in JUDGED.items()})
