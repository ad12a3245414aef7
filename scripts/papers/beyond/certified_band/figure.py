"""The certified band of the Lipschitz constant against width, with clean and with random labels."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_between, judge_fact, measured
from pipeline.figures.looks import corner_note, draw_threshold, plain_log_axis, width_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import LEAST_FALL, shades
from pipeline.statistics.curves import hump
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

FITS = 0.01
"""Mean training error of nets that fit their labels, at most; as in the room label_noise."""

KEYS = ["noise", "width", "seed"]
"""What names a net."""

COLORS = tuple(look.color for look in shades(("least", "most")))
"""Of the least and of the largest label noise, as in the figure label_noise."""

HATCHES = ("", "////")


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """A row per net with the ends of its band, and the method of the upper one."""
    certified = table[(table["kind"] == "upper") & table["certified"].astype(bool)]
    best = certified.loc[certified.groupby(KEYS)["value"].idxmin()].set_index(KEYS)
    nets = table.groupby(KEYS)[["stop_reason", "train_error"]].first()
    lower = table[table["kind"] == "lower"].groupby(KEYS)["value"].max()
    return nets.assign(lower=lower, upper=best["value"], method=best["method"]).reset_index()


def measure(tables: Tables, context: Context) -> Facts:
    """The ends by noise and width, what they say about peaks in width, and about noise at each width."""
    data = prepared(only(tables)).dropna(subset=["lower", "upper"])
    noises = sorted(data["noise"].unique())
    return {
        "bands": {
            str(noise): {str(width): _band(own) for width, own in rows.groupby("width")}
            for noise, rows in data.groupby("noise")
        },
        "smaller_fall_from_the_peak": {
            str(noise): {
                "at_least": measured(peak_of_band, rows, "lower", "upper"),
                "at_most": measured(peak_of_band, rows, "upper", "lower"),
            }
            for noise, rows in data.groupby("noise")
        },
        "with_most_noise_over_with_least": {
            str(width): {
                "at_least": measured(_noise_ratio, rows, noises, "lower", "upper"),
                "at_most": measured(_noise_ratio, rows, noises, "upper", "lower"),
            }
            for width, rows in data.groupby("width")
        },
        "uncertified_upper_bounds": sorted(
            only(tables).query("kind == 'upper' and not certified")["method"].unique()
        ),
    }


def _band(rows: pd.DataFrame) -> Facts:
    return {
        "lower": _geometric(rows["lower"]),
        "upper": _geometric(rows["upper"]),
        "upper_over_lower": measured(_ratio, rows),
        "methods": sorted(rows["method"].unique()),
        "train_error": float(rows["train_error"].mean()),
        "at_the_cap": int((rows["stop_reason"] == "epoch_cap").sum()),
    }


def _geometric(values: "pd.Series[float]") -> Facts:
    """Mean of the logarithms, with its t interval, as the mean and its ends."""
    found = mean_interval(np.log(values))
    ends = (found.estimate, found.low, found.high)
    names = ("estimate", "low", "high")
    return {name: _number(np.exp(end)) for name, end in zip(names, ends, strict=True)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ratio(rows: pd.DataFrame) -> Interval:
    return ratio_interval(rows["upper"], rows["lower"], paired=True)


def peak_of_band(rows: pd.DataFrame, inside: str, outside: str) -> Interval:
    """The smaller fall from one end of the band, at its peak inside of the widths, to the other end of
    it at the narrowest and at the widest nets.

    From the lower to the upper end it is the least that the constant itself falls by, from the upper to
    the lower one the most. Raises :class:`UntestedError` where fewer than half of the nets wider than
    the peak reach the stop or a training error of zero.
    """
    ends = rows["width"].isin([rows["width"].min(), rows["width"].max()])
    if ends.all():
        raise UntestedError("fewer than three widths")
    height = np.where(ends, rows[outside], rows[inside])
    means = np.log(rows.loc[~ends].set_index("width")[inside]).groupby(level=0).mean()
    wide = rows[rows["width"] > means.idxmax()]
    done = int(((wide["stop_reason"] == "gradient_norm") | (wide["train_error"] == 0)).sum())
    if done < len(wide) / 2:
        raise UntestedError(
            f"{done} of {len(wide)} nets wider than the peak reach the stop or a training error of zero"
        )
    return hump(rows.assign(height=height), "width", "height")


def _noise_ratio(rows: pd.DataFrame, noises: list[int], above: str, below: str) -> Interval:
    """One end of the band with the most noise over the other end with the least."""
    if len(noises) < 2:
        raise UntestedError("there is one level of label noise only")
    least, most = (rows[rows["noise"] == noise] for noise in (noises[0], noises[-1]))
    for noise, own in ((noises[0], least), (noises[-1], most)):
        if own.empty or not own["train_error"].mean() <= FITS:
            raise UntestedError(f"nets do not fit labels with {noise} % noise")
    return ratio_interval(most[above], least[below])


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The bands, and how wide they are."""
    figure, (left, right) = plt.subplots(
        *(1, 2), figsize=(6.9, 3.2), layout="constrained", width_ratios=(1.5, 1)
    )
    bands = facts["bands"]
    for place, (noise, band) in enumerate(bands.items()):
        _draw_band(left, band, COLORS[place], HATCHES[place])
        widths = [int(width) for width in band]
        ratios = [own["upper_over_lower"]["estimate"] for own in band.values()]
        right.plot(widths, ratios, color=COLORS[place], marker="os"[place], label=f"{noise} % noise")
    for axes in (left, right):
        width_axis(axes, sorted({int(width) for band in bands.values() for width in band}))
        draw_threshold(axes, context["settings"]["label_noise"]["threshold_width"])
        axes.set_xlabel("width")
    plain_log_axis(left)
    left.set(title="a", ylabel="Lipschitz constant (logits per unit of input)")
    right.set(title="b", ylabel="upper over lower end of the band")
    right.set_ylim(bottom=1)
    _legend(left, list(bands))
    right.legend(loc="lower right")
    seeds = only(tables)["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds; noise: share of the labels swapped")
    return figure


def _draw_band(axes: Axes, band: dict[str, Any], color: str, hatch: str) -> None:
    widths = [int(width) for width in band]
    lower, upper = ([own[end]["estimate"] for own in band.values()] for end in ("lower", "upper"))
    axes.fill_between(widths, lower, upper, facecolor=color, alpha=0.22, linewidth=0)
    if hatch:
        axes.fill_between(
            widths, lower, upper, facecolor="none", edgecolor=color, alpha=0.35, hatch=hatch, linewidth=0
        )
    for end, marker in (("lower", "^"), ("upper", "v")):
        axes.plot(widths, [own[end]["estimate"] for own in band.values()], color=color, linewidth=0.9)
        for width, own in zip(widths, band.values(), strict=True):
            one = own[end]
            loose = end == "upper" and "lipsdp_descent" not in own["methods"]
            if one["low"] is not None:
                axes.plot([width, width], [one["low"], one["high"]], color=color, linewidth=0.8)
            axes.plot(
                *(width, one["estimate"]), color=color, marker=marker, markersize=4.5,
                markerfacecolor="white" if loose else color, zorder=3,
            )  # fmt: skip


def _legend(axes: Axes, noises: list[str]) -> None:
    handles: list[Any] = [
        Patch(
            facecolor=(color, 0.22),
            edgecolor=color,
            hatch=hatch,
            linewidth=0.5,
            label=f"{noise} % noise",
        )
        for color, hatch, noise in zip(COLORS, HATCHES, noises, strict=False)
    ]
    for marker, label in (("v", "least certified upper bound"), ("^", "lower bound by search")):
        handles.append(Line2D([], [], color="#444444", marker=marker, linestyle="none", label=label))
    axes.legend(handles=handles, loc="best")


_SINCE = "2026-11-28"


@claim(
    "N10",
    "The Lipschitz constant itself has a double descent in width, with clean and with random labels",
    reported="not in the paper, which bounds the constant from below and by the product of norms",
    unit="least fall of the constant from its peak, the smaller of the two",
    refuted="Even from the upper end of its band at the peak to the lower ends at the narrowest and "
    "the widest nets, the constant does not fall by 5 %.",
    untested="fewer than half of the nets wider than the peak reach the stop or a training error of "
    "zero",
    since=_SINCE,
    of_a_change=True,
)
def constant_has_a_peak(facts: Facts) -> Finding:
    """By label noise, the smaller relative fall from the lower end of the certified band at its peak to
    the upper ends at the narrowest and at the widest nets, which is the least that the constant falls
    by. A noise holds if its interval lies above 5 %, does not hold if the most that the constant can
    fall by lies below, and is undecided else: the band leaves it open."""
    falls = facts["smaller_fall_from_the_peak"]
    return combine({f"{noise} % noise": _judged(one, LEAST_FALL) for noise, one in falls.items()})


@claim(
    "N11",
    "Where nets fit random labels, their Lipschitz constant itself is larger than with clean ones",
    reported="not in the paper",
    unit="least ratio of the constant with the most label noise to that with the least",
    refuted="At a width that fits both, the upper end of the band with noise is below the lower end "
    "without.",
    untested="at a width the nets do not fit both kinds of labels to a training error of 1 %",
    since=_SINCE,
    of_a_change=True,
)
def noise_raises_the_constant(facts: Facts) -> Finding:
    """By width, for the widths whose nets have a mean training error of at most 1 % with both kinds of
    labels: the lower end of the band with the most noise over the upper end with the least, ratio of the
    means over seeds. A width holds if its interval lies above 1, does not hold if the upper end with
    noise over the lower one without lies below 1, and is undecided else: the bands overlap."""
    ratios = facts["with_most_noise_over_with_least"]
    tested = {width: one for width, one in ratios.items() if "untested" not in one["at_least"]}
    return combine({f"width {width}": _judged(one, 1) for width, one in (tested or ratios).items()})


def _judged(band: Facts, least: float) -> Finding:
    """A finding on the constant from those on the two ends between which it lies."""
    return judge_between(*(judge_fact(band[side], least=least) for side in ("at_least", "at_most")))
