"""What is read off curves over seeds: peaks, falls, slopes, rank correlations, with their intervals.

Sources: places of peaks and rank correlations are resampled with the curve (Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, sections 8.3 and 9.5), which is too short for few seeds; falls
from a peak have simultaneous intervals (Tukey 1953), which know that the peak was searched for;
slopes have t intervals.

Tables are long: one row per value of x and seed. Rows with NaN are dropped. Equal input gives equal
numbers. Intervals are those of :mod:`pipeline.statistics.intervals`.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress, rankdata, studentized_range, t

from pipeline.statistics.intervals import (
    Floats,
    Interval,
    around,
    combined_error,
    mean_interval,
    percentiles,
)
from pipeline.statistics.resampling import refuse_twice, resampled_curves


@dataclass(frozen=True)
class Peak:
    """Where a mean curve is largest, and how sure that is.

    ``value`` is the mean at the peak. ``interior`` says that the peak is at neither end of the
    curve, ``share_interior`` which part of the resampled curves has it so.
    """

    position: float
    low: float
    high: float
    value: float
    interior: bool
    share_interior: float


@dataclass(frozen=True)
class Slope:
    """A least squares line through ``points`` points of log y over log x."""

    slope: float
    low: float
    high: float
    r_squared: float
    points: int


def peak_location(
    table: pd.DataFrame,
    x: str,
    y: str,
    seed: str = "seed",
    level: float = 0.95,
    draws: int = 2000,
    *,
    paired: bool = False,
    refine: bool = False,
    random_seed: int = 0,
) -> Peak:
    """Where the mean over seeds of ``y`` is largest along ``x``, with its bootstrap interval.

    Parameters
    ----------
    table
        One row per value of ``x`` and of ``seed``; the three are names of its columns.
    level, draws, random_seed
        Of the bootstrap, as for :func:`bootstrap_interval`.
    paired
        Resamples seeds as a whole, for curves along which each seed is one run, such as epochs.
        By default seeds are resampled independently at each x, as for networks of different width.
        Paired curves are those of the seeds that are complete.
    refine
        Moves a peak inside of the curve to that of the parabola through it and its neighbours in
        log x and log y. Otherwise the position and the interval's ends are values of x.

    Raises
    ------
    ValueError
        If no rows are left, a seed is there twice at one x, numbers are infinite or, to refine,
        not positive.
    """
    curves = resampled_curves(table, x, [y], seed, level, draws, random_seed, paired)
    positions, interior = _peaks(curves.x, curves.draws[0], refine)
    (position,), (inside,) = _peaks(curves.x, curves.means, refine)
    method = "linear" if refine else "inverted_cdf"
    low, high = percentiles(positions, level, curves.spread, method)
    share = float(interior.mean())
    return Peak(float(position), low, high, float(curves.means.max()), bool(inside), share)


def fall_after_peak(
    table: pd.DataFrame, x: str, y: str, seed: str = "seed", level: float = 0.95
) -> Interval:
    """Relative fall of the geometric mean over seeds from its peak to the largest x.

    0 for a curve that is largest at its end. Arguments are those of :func:`peak_location`; interval
    and errors those of :func:`hump`.
    """
    logs = _Logs.of(table, x, y, seed)
    top = int(logs.means.argmax())
    return logs.fall(float(logs.means[top] - logs.means[-1]), level)


def hump(table: pd.DataFrame, x: str, y: str, seed: str = "seed", level: float = 0.95) -> Interval:
    """By how much the geometric mean falls on either side of a peak inside of x, relative to the peak.

    Of all places inside of x the one where the smaller of the two falls, to the first and to the last
    x, is largest: negative where an end is higher than all that lies between. The interval is Tukey's
    for all differences of the means of the logarithms at once, so that it holds wherever the peak
    is; the spread over seeds is pooled over x. Raises ``ValueError`` for fewer than three values of x,
    no rows, a seed twice at one x, and numbers that are not positive and finite.
    """
    logs = _Logs.of(table, x, y, seed)
    if len(logs.means) < 3:
        raise ValueError(f"{y} at fewer than three values of {x}")
    smaller = logs.means[1:-1] - max(logs.means[0], logs.means[-1])
    return logs.fall(float(smaller.max()), level)


@dataclass(frozen=True)
class _Logs:
    """Means over seeds of the logarithms along x, with the pooled spread of single values."""

    means: Floats
    counts: Floats
    spread: float
    freedom: int

    @classmethod
    def of(cls, table: pd.DataFrame, x: str, y: str, seed: str) -> "_Logs":
        rows = table[[x, seed, y]].dropna()
        if rows.empty:
            raise ValueError(f"no rows without NaN in {x}, {seed}, {y}")
        refuse_twice(rows, x, seed)
        values = rows[y].to_numpy(float)
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"only positive finite {y} have a relative fall; drop runs that diverged")
        groups = np.log(rows.set_index(x)[y]).groupby(level=0, sort=True)
        counts = groups.count().to_numpy(float)
        freedom = int((counts - 1).sum())
        squares = float(groups.var().fillna(0).to_numpy() @ (counts - 1))
        spread = math.sqrt(squares / freedom) if freedom else math.nan
        return cls(groups.mean().to_numpy(), counts, spread, freedom)

    def fall(self, height: float, level: float) -> Interval:
        """A difference of two means of logarithms as a relative fall, with its simultaneous interval."""
        margin = math.nan
        if self.freedom:
            margin = (
                _tukey(level, max(2, len(self.means)), self.freedom)
                * self.spread
                / math.sqrt(self.counts.min())
            )
        return Interval(*(float(-np.expm1(-h)) for h in (height, height - margin, height + margin)))


@cache
def _tukey(level: float, groups: int, freedom: int) -> float:
    """Quantile of the studentized range, which takes a good part of a second to find."""
    return float(studentized_range.ppf(level, groups, freedom))


def log_log_slope(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Slope:
    """Ordinary least squares of log y on log x, with the t interval of the slope.

    Pairs with NaN are dropped. The interval takes the deviations from the line as independent and
    normal, and is NaN for two points; R² is NaN for constant y. Raises ValueError for fewer than
    two values of x, and for numbers that are not positive and finite.
    """
    logs = _logarithms(np.asarray(x, float).ravel(), np.asarray(y, float).ravel())
    slopes, r_squared = _lines(*logs)
    points = len(logs[0])
    if points == 2:
        return Slope(float(slopes[0]), math.nan, math.nan, float(r_squared[0]), points)
    fit = linregress(logs[0], logs[1][0])
    margin = float(t.ppf((1 + level) / 2, points - 2) * fit.stderr)
    slope = float(slopes[0])
    return Slope(slope, slope - margin, slope + margin, float(r_squared[0]), points)


def log_log_slope_over_seeds(
    table: pd.DataFrame,
    x: str,
    y: str,
    seed: str = "seed",
    level: float = 0.95,
    *,
    paired: bool = False,
) -> Slope:
    """Slope of the geometric mean over seeds of ``y`` on x in logarithms, with its t interval.

    With ``paired``, for curves along which each seed is one run, such as epochs, it is that of the mean
    of the slopes of complete seeds. Otherwise the values at each x are independent, and their errors
    are combined (Satterthwaite 1946). The interval is about other seeds, not about deviations from
    the line; R² is that of the line through the mean curve. Raises ``ValueError`` as
    :func:`peak_location` and :func:`log_log_slope` do.
    """
    rows = table[[x, seed, y]].dropna()
    if rows.empty:
        raise ValueError(f"no rows without NaN in {x}, {seed}, {y}")
    refuse_twice(rows, x, seed)
    _logarithms(rows[x].to_numpy(float), rows[y].to_numpy(float))
    wide = np.log(rows.pivot(index=x, columns=seed, values=y).sort_index())
    if paired:
        wide = wide.dropna(axis="columns")
        if wide.empty:
            raise ValueError(f"no {seed} has all values of {x}; drop some of these, or use paired=False")
    log_x = np.log(wide.index.to_numpy(float))
    (slope,), (r_squared,) = _lines(log_x, wide.mean(axis=1).to_numpy()[None])
    if paired:
        found = mean_interval(_lines(log_x, wide.to_numpy().T)[0], level)
    else:
        weights = (log_x - log_x.mean()) / np.square(log_x - log_x.mean()).sum()
        counts = wide.count(axis=1).to_numpy(float)
        errors = np.abs(weights) * wide.std(axis=1, ddof=1).to_numpy() / np.sqrt(counts)
        used = weights != 0
        found = around(float(slope), *combined_error(errors[used], counts[used] - 1), level)
    return Slope(float(slope), found.low, found.high, float(r_squared), len(log_x))


def spearman(
    table: pd.DataFrame,
    first: str,
    second: str,
    x: str = "width",
    seed: str = "seed",
    level: float = 0.95,
    draws: int = 2000,
    *,
    paired: bool = False,
    random_seed: int = 0,
) -> Interval:
    """Rank correlation over ``x`` of the means over seeds of two columns, with its bootstrap.

    The two values of a row stay together in the bootstrap, for they belong to one run. Other
    arguments and errors are those of :func:`peak_location`, and ValueError for fewer than three
    values of x. NaN if one of the means does not change. Source: Spearman 1904.
    """
    curves = resampled_curves(table, x, [first, second], seed, level, draws, random_seed, paired)
    if len(curves.x) < 3:
        raise ValueError(f"{len(curves.x)} values of {x} have no rank correlation; give three at least")
    estimate = _rank_correlations(curves.means[:1], curves.means[1:])[0]
    correlations = _rank_correlations(*curves.draws)
    return Interval(float(estimate), *percentiles(correlations, level, curves.spread))


def _peaks(x: Floats, curves: Floats, refine: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Positions of the largest values of curves (draws, X), and whether they are inside."""
    top = curves.argmax(1)
    interior = (top > 0) & (top < len(x) - 1)
    positions = x[top].astype(float)
    if refine and interior.any():
        if (x <= 0).any() or (curves <= 0).any():
            raise ValueError(
                "a parabola in logarithms needs x and y that are positive; use refine=False"
            )
        rows, middle = np.flatnonzero(interior), top[interior]
        places = np.log(x)[middle[:, None] + [-1, 0, 1]]
        heights = np.log(curves[rows[:, None], middle[:, None] + [-1, 0, 1]])
        positions[interior] = np.exp(_vertices(places, heights))
    return positions, interior


def _vertices(x: Floats, y: Floats) -> Floats:
    """Of the parabolas through three points each (n, 3), the middle one being the highest."""
    left, right = x[:, 1] - x[:, 0], x[:, 2] - x[:, 1]
    rise, fall = y[:, 1] - y[:, 0], y[:, 1] - y[:, 2]
    below = 2 * (left * fall + right * rise)
    shift = (right**2 * rise - left**2 * fall) / np.where(below > 0, below, 1.0)
    return np.asarray(x[:, 1] + np.where(below > 0, shift, 0.0), float)


def _logarithms(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """log x (points,) and log y as one row (1, points)."""
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values of x with {len(y)} of y")
    complete = ~(np.isnan(x) | np.isnan(y))
    x, y = x[complete], y[complete]
    if len(np.unique(x)) < 2:
        raise ValueError("a slope needs two values of x at least, without NaN")
    if not ((x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)).all():
        raise ValueError(
            "only positive finite x and y have logarithms; drop the others, such as epoch 0"
        )
    return np.log(x), np.log(y)[None]


def _lines(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Slopes and R² of the least squares lines through rows of y (n, points)."""
    x = x - x.mean()
    y = y - y.mean(1, keepdims=True)
    slopes = y @ x / (x @ x)
    total = np.square(y).sum(1)
    rest = np.square(y - slopes[:, None] * x).sum(1)
    return slopes, 1 - rest / np.where(total > 0, total, math.nan)


def _rank_correlations(first: Floats, second: Floats) -> Floats:
    """Spearman's coefficients of the rows of two matrices."""
    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (first, second))
    below = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return np.asarray((a * b).sum(1) / np.where(below > 0, below, math.nan), float)
