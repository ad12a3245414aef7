"""Draw variance over seeds with its bounds, and with the bias beside the test loss, against width."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from pipeline.figures.looks import Look, corner_note, draw_threshold, plain_log_axis, width_axis
from pipeline.figures.room import Context, Facts, Tables, only

VARIANCE = Look("#000000", "D", "-", "variance")
BOUNDS = {
    "upper_bound_mean": Look("#D55E00", "^", "-", r"certified bound, from $C_\mathrm{upper}$"),
    "bound_zero": Look("#0072B2", "o", "-", r"from $C_\mathrm{lower}$ and the origin"),
    "bound_mean": Look("#56B4E9", "x", "--", r"from $C_\mathrm{lower}$ and the mean point"),
    "bound_paper": Look("#CC79A7", "+", ":", r"from $C_\mathrm{lower}$, as printed"),
}
PARTS = {
    "expected_loss": Look("#000000", "D", "-", "test loss"),
    "bias_squared": Look("#009E73", "s", "--", "squared bias"),
    "variance": Look("#D55E00", "o", "-", "variance"),
}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The variance under its bounds, and the two parts of the test loss."""
    table = only(tables)
    data = table.sort_values("width")
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.9, 3.7), layout="constrained")
    for name, look in BOUNDS.items():
        _draw(left, data, name, look)
    _draw(left, data, "variance", VARIANCE)
    for name, look in PARTS.items():
        _draw(right, data, name, look)
    for axes, color in ((left, VARIANCE.color), (right, PARTS["variance"].color)):
        ends = data["variance_low"], data["variance_high"]
        axes.fill_between(data["width"], *ends, color=color, alpha=0.25, linewidth=0)
        width_axis(axes, sorted(data["width"]))
        draw_threshold(axes, context["settings"]["double_descent_mse"]["threshold_width"])
        axes.set_xlabel("width")
    left.set_yscale("log")
    plain_log_axis(right)
    left.set(title="a", ylabel="squared error, summed over classes")
    right.set(title="b")
    for axes in (left, right):
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06))
    hollow = "; hollow: epoch cap" if data["capped"].any() else ""
    corner_note(
        figure,
        f"{context['scale']} scale, {data['seeds'].max()} seeds, "
        f"band: 95 % bootstrap interval over test points{hollow}",
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Where everything peaks, and how far and how parallel to the variance its bounds run.

    There is one variance per width, over all seeds, so that peaks have no interval over seeds; the
    intervals are over test points.
    """
    table = only(tables)
    data = table.sort_values("width").set_index("width")
    names = [*BOUNDS, "variance", "bias_squared", "expected_loss"]
    peak = data["variance"].idxmax()
    others = data.drop(peak)
    return {
        "peaks": {name: int(data[name].idxmax()) for name in names},
        "variance_at_peak": [float(data.loc[peak, f"variance{end}"]) for end in ("_low", "", "_high")],
        "widths_that_may_have_the_peak": [
            int(peak),
            *map(int, others.index[others["variance_high"] >= data.loc[peak, "variance_low"]]),
        ],
        "bound_over_variance": {
            name: [float(end) for end in (data[name] / data["variance"]).agg(["min", "max"])]
            for name in BOUNDS
        },
        "rank_correlation_with_variance": {
            name: float(spearmanr(data[name], data["variance"]).statistic) for name in BOUNDS
        }
        if len(data) > 2
        else {},
        "mean_instead_of_zero": [
            float(end) for end in (data["bound_mean"] / data["bound_zero"]).agg(["min", "max"])
        ],
        "range_of_squared_bias": [float(end) for end in data["bias_squared"].agg(["min", "max"])],
        "range_of_variance": [float(end) for end in data["variance"].agg(["min", "max"])],
    }


def _draw(axes: Axes, data: pd.DataFrame, name: str, look: Look) -> None:
    axes.plot(
        data["width"], data[name], look.line, color=look.color, marker=look.marker, label=look.label
    )
    capped = data[data["capped"] > 0]
    axes.plot(
        capped["width"],
        capped[name],
        linestyle="none",
        marker=look.marker,
        color=look.color,
        markerfacecolor="white",
        markeredgewidth=0.8,
    )
