"""Variance over seeds with its bounds, and with the bias beside the test loss, against width."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.looks import Look, corner_note, draw_threshold, plain_log_axis, width_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.curves import spearman
from pipeline.statistics.intervals import Interval

VARIANCE = Look("#CC79A7", "P", "-", "variance")
BOUNDS = ("upper_bound_mean", "bound_zero", "bound_mean", "bound_paper")
SHOWN = {
    "variance": VARIANCE,
    "bound_paper": Look("#0072B2", "o", "-", r"bound from $C_\mathrm{lower}$, as printed"),
    "upper_bound_mean": Look("#D55E00", "^", "--", r"certified bound, from $C_\mathrm{upper}$"),
}
"""Those that differ to the eye; the others from C_lower lie on the printed one."""

PARTS = {
    "expected_loss": Look("#000000", "D", "-", "test loss"),
    "bias_squared": Look("#E69F00", "s", "--", "squared bias"),
    "variance": VARIANCE,
}


def measure(tables: Tables, context: Context) -> Facts:
    """Where everything peaks, and how far and how parallel to the variance its bounds run.

    There is one variance per width, over all seeds, so that peaks have no interval over seeds; the
    intervals are over test points.
    """
    table = only(tables)
    data = table.sort_values("width").set_index("width")
    names = [*BOUNDS, "variance", "bias_squared", "expected_loss"]
    peaks = {name: int(data[name].idxmax()) for name in names if data[name].notna().any()}
    correlations = {name: measured(_correlation, data, name) for name in BOUNDS}
    return {
        "peaks": peaks,
        **_around_the_peak(data, peaks),
        "bound_over_variance_at_its_peak": {
            name: float(data.loc[peaks["variance"], name] / data.loc[peaks["variance"], "variance"])
            for name in (BOUNDS if "variance" in peaks else ())
        },
        "bound_over_variance": {name: _range(data[name] / data["variance"]) for name in BOUNDS},
        "rank_correlation_with_variance": {
            name: one["estimate"] for name, one in correlations.items() if "estimate" in one
        },
        "mean_instead_of_zero": _range(data["bound_mean"] / data["bound_zero"]),
        "range_of_squared_bias": _range(data["bias_squared"]),
        "range_of_variance": _range(data["variance"]),
        "share_of_the_fall_that_is_variance": measured(_share_of_the_fall, data),
        "paper_bound_beside_variance": {
            "rank_correlation": correlations["bound_paper"],
            "ratio_of_the_peaks": measured(_ratio_of_peaks, peaks, "bound_paper", "variance"),
        },
    }


def _around_the_peak(data: pd.DataFrame, peaks: dict[str, int]) -> Facts:
    """The variance at its peak with its interval, and the widths whose variance may be larger."""
    if "variance" not in peaks:
        return {}
    peak = peaks["variance"]
    others = data.drop(peak)
    return {
        "variance_at_peak": [float(data.loc[peak, f"variance{end}"]) for end in ("_low", "", "_high")],
        "widths_that_may_have_the_peak": [
            peak,
            *map(int, others.index[others["variance_high"] >= data.loc[peak, "variance_low"]]),
        ],
    }


def _range(values: "pd.Series[float]") -> list[float]:
    return [float(end) for end in values.agg(["min", "max"])]


def _correlation(data: pd.DataFrame, name: str) -> float:
    """Rank correlation of a bound with the variance over widths."""
    return spearman(data.reset_index().assign(seed=0), name, "variance").estimate


def _ratio_of_peaks(peaks: dict[str, int], above: str, below: str) -> float:
    for name in (above, below):
        if name not in peaks:
            raise UntestedError(f"{name} has no values")
    return peaks[above] / peaks[below]


def _share_of_the_fall(rows: pd.DataFrame) -> Interval:
    """How much of the fall of the expected loss from its peak to the widest net is variance."""
    if rows["expected_loss"].isna().all():
        raise UntestedError("the expected loss has no values")
    peak, last = rows["expected_loss"].idxmax(), rows.index[-1]
    if peak in (rows.index[0], last):
        raise UntestedError("the expected loss has no peak inside of the widths")
    top, end = rows.loc[peak], rows.loc[last]
    bias = top["bias_squared"] - end["bias_squared"]
    falls = (
        top["variance"] - end["variance"],
        top["variance_low"] - end["variance_high"],
        top["variance_high"] - end["variance_low"],
    )
    shares = [fall / (fall + bias) for fall in falls]
    return Interval(shares[0], min(shares), max(shares))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The variance under its bounds, and the two parts of the test loss."""
    table = only(tables)
    data = table.sort_values("width")
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.9, 3.4), layout="constrained")
    for name, look in SHOWN.items():
        largest = data[name].max()
        times = facts["bound_over_variance_at_its_peak"].get(name)
        label = look.label if times is None else f"{look.label} ({times:,.0f} times as large)"
        _draw(left, data.assign(**{name: data[name] / largest}), name, look._replace(label=label))
    for name, look in PARTS.items():
        _draw(right, data, name, look)
    for axes, unit in ((left, data["variance"].max()), (right, 1.0)):
        ends = data["variance_low"] / unit, data["variance_high"] / unit
        axes.fill_between(data["width"], *ends, color=VARIANCE.color, alpha=0.25, linewidth=0)
        width_axis(axes, sorted(data["width"]))
        draw_threshold(axes, context["settings"]["double_descent_mse"]["threshold_width"])
        axes.set_xlabel("width")
    plain_log_axis(right)
    left.set(title="a", ylabel="over its largest value", ylim=(0, None))
    right.set(title="b", ylabel="squared error, summed over classes")
    for axes in (left, right):
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06))
    hollow = "; hollow: epoch cap" if data["capped"].any() else ""
    corner_note(
        figure,
        f"{context['scale']} scale, {data['seeds'].max()} seeds, "
        f"band: 95 % bootstrap interval over test points{hollow}",
    )
    return figure


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


@claim(
    "C12",
    "The double descent of the test loss is carried by the variance over seeds, not by the bias",
    unit="share of the fall that is variance",
    also=("double_descent_mse",),
    refuted="At least half of the fall of the test loss beyond its peak is one of the squared bias.",
    untested="The peak is at an end, or fewer than half of the runs at wider nets reach the stop or a "
    "training error of zero.",
    since="2026-11-28",
    changes={
        "2026-11-28": "not tested where the nets beyond the peak do not fit their points. The share was "
        "known."
    },
)
def variance_driven(facts: Facts, squared_error: Facts) -> Finding:
    """Of the fall of the expected test loss from its peak to the widest net, the share that is
    variance. Holds if it lies above one half, with the ends of the variance's intervals taken at their
    worst. The peak must lie inside of the widths, and nets beyond it fit their training points: the
    double descent is one of nets that interpolate."""
    fits = squared_error["share_that_fits_beyond_the_peak"]
    if not fits.get("estimate", 0.0) >= 0.5:
        share = f"{100 * fits['estimate']:.0f} % of the runs" if "estimate" in fits else "no run"
        raise UntestedError(f"{share} beyond the peak of the test loss reach the stop or fit the points")
    return judge_fact(facts["share_of_the_fall_that_is_variance"], least=0.5)


@claim(
    "C13",
    "The bound from Lipschitz constants follows the variance over seeds",
    unit="rank correlation over widths",
    refuted="Over widths the bound ranks the variances otherwise, or peaks elsewhere.",
    untested="The bound or the variance has no values.",
    since="2026-11-25",
    not_simulated="There is one variance over all seeds at each width.",
)
def bound_follows_variance(facts: Facts) -> Finding:
    """The paper's bound of the variance against the variance by width. Two parts: the rank correlation
    is at least 0.5; the two peaks are at most a factor 2 apart. Numbers of one set of seeds, without
    intervals."""
    found = facts["paper_bound_beside_variance"]
    return combine(
        {
            "rank correlation": judge_fact(found["rank_correlation"], 0.5),
            "ratio of the peaks' widths": judge_fact(found["ratio_of_the_peaks"], 0.5, 2),
        }
    )
