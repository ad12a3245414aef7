"""Claims of Khromov & Singh (ICLR 2024) about width: double descent, label noise, initialisation.

The docstring of each test is its rule.
"""

import numpy as np
import pandas as pd

from pipeline.claims.findings import (
    Finding,
    Tables,
    UntestedError,
    attempt,
    combine,
    hump,
    judge,
    judge_exact,
    readable,
    select,
)
from pipeline.claims_training import BOUNDS
from pipeline.statistics.curves import Peak, peak_location, spearman
from pipeline.statistics.intervals import Interval, ratio_interval

LOSSES = {"double_descent": "cross-entropy", "double_descent_mse": "squared error"}
"""What each sweep over widths trains with."""

_LEAST_FALL = 0.05
"""A peak falls by more than this share of it on both sides."""


def double_descent(tables: Tables) -> Finding:
    """By loss and bound, in the mean over seeds at the stop. Height: the curve falls from its peak by
    more than 5 % to either end (interval of the smaller fall above 0.05). Place: the interval of the
    peak over the width with as many parameters as points (times outputs, for the squared error), and
    over the peak of the test loss, lies in [1/2, 2]; not tested where a peak is at an end."""
    parts = {}
    for table, loss in LOSSES.items():
        for bound in BOUNDS:
            name = f"{readable(bound)}, {loss}"
            parts[f"height of {name}"] = attempt(_height, tables, table, bound)
            parts[f"place of {name}"] = attempt(_place, tables, table, bound)
            parts[f"{name}, beside the test loss"] = attempt(_beside_test_loss, tables, table, bound)
    return combine(parts)


def rises_again(tables: Tables) -> Finding:
    """C_upper at the widest nets over its smallest value beyond the peak, ratio of the means over
    seeds. Holds if the interval lies above 1. Not tested unless the widest net is 16 times wider than
    the threshold."""
    rows = select(tables, "double_descent", points="train")
    widest = rows["width"].max()
    if widest < 16 * threshold(rows):
        raise UntestedError(f"the widest net, {widest}, is less than 16 thresholds wide")
    beyond = rows[rows["width"] >= peak_location(rows, "width", "c_upper").position]
    least = beyond.groupby("width")["c_upper"].mean().idxmin()
    if least == widest:
        return judge_exact(1.0, least=1 + 1e-9)
    above, below = (rows.loc[rows["width"] == width, "c_upper"] for width in (widest, least))
    return judge(ratio_interval(above, below), least=1)


def variance_driven(tables: Tables) -> Finding:
    """Of the fall of the expected test loss from its peak to the widest net, the share that is
    variance. Holds if it lies above one half, with the ends of the variance's intervals taken at their
    worst. The peak must lie inside of the widths."""
    rows = select(tables, "bias_variance").set_index("width").sort_index()
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
    return judge(Interval(shares[0], min(shares), max(shares)), least=0.5)


def bound_follows_variance(tables: Tables) -> Finding:
    """The paper's bound of the variance against the variance by width. Two parts: the rank correlation
    is at least 0.5; the two peaks are at most a factor 2 apart. Numbers of one set of seeds, without
    intervals."""
    rows = select(tables, "bias_variance").assign(seed=0)
    peaks = [rows.loc[rows[name].idxmax(), "width"] for name in ("bound_paper", "variance")]
    correlation = spearman(rows, "bound_paper", "variance").estimate
    return combine(
        {
            "rank correlation": attempt(judge_exact, correlation, 0.5),
            "ratio of the peaks' widths": attempt(judge_exact, peaks[0] / peaks[1], 0.5, 2),
        }
    )


def double_descent_under_noise(tables: Tables) -> Finding:
    """At each share of swapped labels, C_lower falls from its peak in width by more than 5 % to either
    end: a part holds if the interval of the smaller fall lies above 0.05."""
    rows = select(tables, "label_noise", points="train")
    parts = {
        f"{noise} % noise": attempt(_hump, one, "width", "c_lower")
        for noise, one in rows.groupby("noise")
    }
    return combine(parts)


def rise_and_fall_in_noise(tables: Tables) -> Finding:
    """At each width, C_lower falls from its peak in the share of swapped labels by more than 5 % to
    either end: a part holds if the interval of the smaller fall lies above 0.05."""
    rows = select(tables, "label_noise", points="train")
    parts = {
        f"width {width}": attempt(_hump, one, "noise", "c_lower") for width, one in rows.groupby("width")
    }
    return combine(parts)


def noise_moves_threshold(tables: Tables) -> Finding:
    """Rank correlation of the share of swapped labels with the width at which C_lower peaks (mean over
    seeds of the log). Holds if its interval lies above 0; 0 where the peak stays at one width."""
    rows = select(tables, "label_noise", points="train").dropna(subset=["c_lower"])
    peaks = rows.loc[rows.groupby(["noise", "seed"])["c_lower"].idxmax()]
    peaks = peaks.assign(level=peaks["noise"], log_width=np.log(peaks["width"]))
    if peaks["noise"].nunique() > 2 and peaks["width"].nunique() == 1:
        return judge_exact(0.0, least=1e-9)
    found = spearman(peaks, "level", "log_width", x="noise")
    return judge(found, least=1e-9)


def wide_nets_are_smoother(tables: Tables) -> Finding:
    """C_lower of the widest nets over that of the narrowest ones that fit, of those trained on the
    largest share of swapped labels, ratio of the means over seeds (fitting: a training error of at most
    1 % on average; the threshold that counts parameters is that of clean labels). Holds if its interval
    lies below 1."""
    rows = select(tables, "label_noise", points="train")
    rows = rows[rows["noise"] == rows["noise"].max()]
    errors = rows.groupby("width")["train_error"].mean()
    fitting = errors.index[errors <= 0.01]
    if len(fitting) < 2:
        raise UntestedError("no two widths fit the labels")
    narrow, wide = (rows[rows["width"] == width] for width in (min(fitting), max(fitting)))
    return judge(ratio_interval(wide["c_lower"], narrow["c_lower"]), most=1)


def cap_flattens(tables: Tables) -> Finding:
    """Height of the peak in width under a spectral cap, minus that without (height: smaller of the
    relative falls to either end), for C_lower, C_upper and the test loss. A part holds if the
    difference lies below 0, with both intervals at their worst. Not tested where the height without a
    cap is not above 5 %."""
    rows = select(tables, "constrained", points="train")
    parts = {
        f"{readable(column)}, cap {cap}": attempt(_flatter, rows, f"cap~{cap}", column)
        for cap in (10, 1)
        for column in ("c_lower", "c_upper", "test_loss")
    }
    return combine(parts)


def distance_has_a_peak(tables: Tables) -> Finding:
    """By loss, the distance that the parameters went falls from its peak in width by more than 5 % to
    either end: a part holds if the interval of the smaller fall lies above 0.05."""
    parts = {
        loss: attempt(_height, tables, table, "parameter_distance") for table, loss in LOSSES.items()
    }
    return combine(parts)


def none_at_initialisation(tables: Tables) -> Finding:
    """By bound, at initialisation: the smaller of the relative falls from the peak in width to either
    end. A part holds if its interval lies below 0.05."""
    rows = select(tables, "double_descent_epochs", points="train", epoch=0)
    parts = {
        readable(bound): attempt(lambda b: judge(hump(rows, "width", b), most=_LEAST_FALL), bound)
        for bound in BOUNDS
    }
    return combine(parts)


def double_descent_at_matched_loss(tables: Tables) -> Finding:
    """Each bound where a run first comes down to the same training loss, interpolated between kept
    checkpoints in the logs of both: the least loss that every run reaches. A part holds if the curve
    over widths falls from its peak by more than 5 % to either end (interval of the smaller fall above
    0.05)."""
    parts = {
        f"{readable(bound)}, {loss}": attempt(_matched, tables, f"{table}_epochs", bound)
        for table, loss in LOSSES.items()
        for bound in BOUNDS
    }
    return combine(parts)


def threshold(rows: pd.DataFrame, outputs: int = 1) -> float:
    """The width with as many parameters as training points (times ``outputs``), one hidden layer."""
    first = rows.iloc[0]
    return float(first["number_of_points"] * outputs * first["width"] / first["parameters"])


def _height(tables: Tables, table: str, column: str) -> Finding:
    return _hump(select(tables, table, points="train"), "width", column)


def _hump(rows: pd.DataFrame, x: str, column: str) -> Finding:
    return judge(hump(rows, x, column), least=_LEAST_FALL)


def _place(tables: Tables, table: str, column: str) -> Finding:
    rows = select(tables, table, points="train")
    outputs = 10 if table == "double_descent_mse" else 1
    peak, expected = _inner_peak(rows, column), threshold(rows, outputs)
    return judge(Interval(peak.position / expected, peak.low / expected, peak.high / expected), 0.5, 2)


def _beside_test_loss(tables: Tables, table: str, column: str) -> Finding:
    rows = select(tables, table, points="train")
    own, loss = (_inner_peak(rows, name) for name in (column, "test_loss"))
    ratio = Interval(own.position / loss.position, own.low / loss.high, own.high / loss.low)
    return judge(ratio, 0.5, 2)


def _inner_peak(rows: pd.DataFrame, column: str) -> Peak:
    peak = peak_location(rows, "width", column)
    if not peak.interior:
        raise UntestedError(f"{readable(column)} has no peak inside of the widths")
    return peak


def _flatter(rows: pd.DataFrame, cap: str, column: str) -> Finding:
    free, capped = (hump(rows[rows["variant"] == name], "width", column) for name in ("cap~0", cap))
    if not free.low > _LEAST_FALL:
        raise UntestedError(f"without a cap {readable(column)} has no clear peak")
    worst = Interval(capped.estimate - free.estimate, capped.low - free.high, capped.high - free.low)
    return judge(worst, most=0)


def _matched(tables: Tables, table: str, column: str) -> Finding:
    rows = select(tables, table, points="train").dropna(subset=[column, "train_loss"])
    rows = rows[rows["epoch"] > 0]
    runs = list(rows.groupby(["width", "seed"]))
    level = max(one["train_loss"].min() for _, one in runs)
    found = [
        {"width": width, "seed": seed, column: _at_loss(one.sort_values("epoch"), column, level)}
        for (width, seed), one in runs
    ]
    return _hump(pd.DataFrame(found), "width", column)


def _at_loss(run: pd.DataFrame, column: str, level: float) -> float:
    """``column`` where the training loss first comes down to ``level``."""
    below = int(np.argmax(run["train_loss"].to_numpy() <= level))
    around = run.iloc[max(below - 1, 0) : below + 1].sort_values("train_loss")
    logs = np.log(around["train_loss"]), np.log(around[column])
    return float(np.exp(np.interp(np.log(level), *logs)))
