"""What is read off curves over seeds: peaks, falls, slopes, rank correlations, with bootstrap intervals.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993): resampling by strata and by pairs
(sections 8.3 and 9.5).

Tables are long: one row per value of x and seed. Rows with NaN are dropped. Equal input gives equal
numbers. Intervals are those of :mod:`pipeline.statistics.intervals`.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress, rankdata, t

from pipeline.statistics.intervals import Floats, Interval, percentiles
from pipeline.statistics.resampling import resampled_curves


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
    table: pd.DataFrame,
    x: str,
    y: str,
    seed: str = "seed",
    level: float = 0.95,
    draws: int = 2000,
    *,
    paired: bool = False,
    random_seed: int = 0,
) -> Interval:
    """Relative fall of the mean over seeds from its peak to the largest x: (peak - last) / peak.

    0 for a curve that is largest at its end. The bootstrap keeps the x of the peak, so that a flat
    curve has an interval around 0; that this x was chosen for its large mean still favours a fall,
    by about the standard error of the mean. Arguments and errors are those of
    :func:`peak_location`, and ValueError for a peak that is not positive.
    """
    curves = resampled_curves(table, x, [y], seed, level, draws, random_seed, paired)
    means = curves.means[0]
    peak = int(means.argmax())
    if means[peak] <= 0:
        raise ValueError(f"the peak of {y} is {means[peak]}: only positive peaks have a relative fall")
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = 1 - curves.draws[0][:, -1] / curves.draws[0][:, peak]
    return Interval(float(1 - means[-1] / means[peak]), *percentiles(falls, level, curves.spread))


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
    draws: int = 2000,
    *,
    paired: bool = False,
    random_seed: int = 0,
) -> Slope:
    """Slope of the log of the mean over seeds of ``y`` on log x, with its bootstrap over seeds.

    The interval is about other seeds, not about deviations from the line; R² is that of the line
    through the mean curve. Arguments and errors are those of :func:`peak_location` (``paired`` for
    slopes over epochs) and of :func:`log_log_slope`.
    """
    curves = resampled_curves(table, x, [y], seed, level, draws, random_seed, paired)
    log_x, log_y = _logarithms(curves.x, curves.means[0])
    (slope,), (r_squared,) = _lines(log_x, log_y)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes, _ = _lines(log_x, np.log(curves.draws[0]))
    low, high = percentiles(slopes, level, curves.spread)
    return Slope(float(slope), low, high, float(r_squared), len(log_x))


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
