"""What is read off curves over seeds: peaks, falls, slopes, rank correlations, with their intervals.

Sources: falls from a peak have simultaneous intervals (Tukey 1953), which know that the peak was
searched for; places of peaks are those of curves that are drawn around the mean curve, as far from it
as it may be from the true one (generalised intervals, Weerahandi, J. Amer. Statist. Assoc. 88, 1993);
slopes and rank correlations have t intervals over seeds.

Tables are long: one row per value of x and seed. Rows with NaN are dropped. Equal input gives equal
numbers. Intervals are those of :mod:`pipeline.statistics.intervals`.

``scipy.stats`` takes as long to import as many a figure to draw; who does not need it does not wait.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipeline.statistics.intervals import (
    Ends,
    Floats,
    Interval,
    around,
    combined_error,
    percentiles,
    standard_error,
)

_DRAWS = 4_000
"""Curves that are drawn for the place of a peak."""


@dataclass(frozen=True)
class Peak:
    """Where the geometric mean over seeds is largest, and how sure that is.

    ``position`` is the x of the largest mean, ``value`` the mean there, and ``interior`` says that it is
    at neither end of the curve. ``place`` is the top of the parabola through the peak and its neighbours
    in log x and log y, or in x where that is not positive, with its interval. ``share_interior`` is the
    part of the drawn curves that peak inside.
    """

    position: float
    place: Interval
    value: float
    interior: bool
    share_interior: float

    def fact(self) -> dict[str, Any]:
        """As JSON, with the ends of the place as ``low`` and ``high``."""
        return {
            "position": self.position,
            "place": self.place.estimate,
            "low": self.place.low,
            "high": self.place.high,
            "value": self.value,
            "interior": self.interior,
            "share_interior": self.share_interior,
        }


@dataclass(frozen=True)
class Slope:
    """A least squares line through ``points`` points of log y over log x."""

    slope: float
    low: float
    high: float
    r_squared: float
    points: int
    wider: tuple[Ends, ...] = ()

    @property
    def interval(self) -> Interval:
        """The slope itself."""
        return Interval(self.slope, self.low, self.high, self.wider)


def peak_location(
    table: pd.DataFrame, x: str, y: str, seed: str = "seed", level: float = 0.95, random_seed: int = 0
) -> Peak:
    """Where the geometric mean over seeds of ``y`` is largest along ``x``, with its interval.

    Curves are drawn around the mean curve, with errors of the logarithms at each x by the t distribution
    of their own spread; the place is that of their tops.

    Parameters
    ----------
    table
        One row per value of ``x`` and of ``seed``; the three are names of its columns. The values are
        independent, as for networks of different width.
    level
        Share of intervals that should contain the truth.
    random_seed
        Of the drawn curves.

    Raises
    ------
    ValueError
        If no rows are left, a seed is there twice at one x, and numbers are not positive and finite.
    """
    logs = _Logs.of(table, x, y, seed)
    (position,), (inside,) = _peaks(logs.x, logs.means[None])
    places, interior = _peaks(logs.x, logs.drawn(np.random.default_rng(random_seed)))
    top = int(logs.means.argmax())
    place = Interval.of(
        float(position), lambda level: percentiles(places, level, logs.freedom > 0), level
    )
    share = float(interior.mean())
    return Peak(float(logs.x[top]), place, float(np.exp(logs.means[top])), bool(inside), share)


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
    """Means over seeds of the logarithms along x, the spreads of single values and the pooled one."""

    x: Floats
    means: Floats
    counts: Floats
    spreads: Floats
    spread: float
    freedom: int

    @classmethod
    def of(cls, table: pd.DataFrame, x: str, y: str, seed: str) -> "_Logs":
        rows = np.stack([table[name].to_numpy(float) for name in (x, seed, y)])
        rows = rows[:, ~np.isnan(rows).any(0)]
        rows = rows[:, np.lexsort(rows[1::-1])]  # sums are the same to the last digit in any order
        places, seeds, values = rows
        if len(values) == 0:
            raise ValueError(f"no rows without NaN in {x}, {seed}, {y}")
        twice = (np.diff(places) == 0) & (np.diff(seeds) == 0)
        if twice.any():
            raise _several(x, places[:-1][twice][0], seed, seeds[:-1][twice][0])
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"only positive finite {y} have a relative fall; drop runs that diverged")
        logs = np.log(values)
        at, groups, counts = np.unique(places, return_inverse=True, return_counts=True)
        means = np.bincount(groups, logs) / counts
        freedom = int((counts - 1).sum())
        squares = np.bincount(groups, np.square(logs - means[groups]))
        spread = math.sqrt(float(squares.sum()) / freedom) if freedom else math.nan
        alone = np.where(counts > 1, np.sqrt(squares / np.maximum(counts - 1, 1)), spread)
        return cls(at, means, counts.astype(float), alone, spread, freedom)

    def drawn(self, rng: np.random.Generator) -> Floats:
        """Curves (draws, X) that the true one may be; without a spread the mean one alone."""
        if not self.freedom:
            return self.means[None]
        freedom = np.maximum(self.counts - 1, 1)
        errors = rng.standard_t(freedom, (_DRAWS, len(self.means))) / np.sqrt(self.counts)
        return np.asarray(self.means + self.spreads * errors, float)

    def fall(self, height: float, level: float) -> Interval:
        """A difference of two means of logarithms as a relative fall, with its simultaneous interval."""

        def ends(level: float) -> Ends:
            if not self.freedom:
                return math.nan, math.nan
            quantile = _tukey(level, max(2, len(self.means)), self.freedom)
            margin = quantile * self.spread / math.sqrt(self.counts.min())
            return height - margin, height + margin

        return Interval.of(height, ends, level).mapped(lambda value: float(-np.expm1(-value)))


@cache
def _tukey(level: float, groups: int, freedom: int) -> float:
    """Quantile of the studentized range, which takes a good part of a second to find."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(level, groups, freedom))


def refuse_twice(rows: pd.DataFrame, x: str, seed: str) -> None:
    """Raises ``ValueError`` for rows with a seed twice at one x."""
    twice = rows.duplicated([x, seed])
    if twice.any():
        place = rows[twice].iloc[0]
        raise _several(x, place[x], seed, place[seed])


def _several(x: str, place: float, seed: str, of: float) -> ValueError:
    return ValueError(
        f"several rows for {x} = {place:g} and {seed} = {of:g}; filter the table to one experiment, "
        "variant and epoch"
    )


def log_log_slope(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Slope:
    """Ordinary least squares of log y on log x, with the t interval of the slope.

    Pairs with NaN are dropped. The interval takes the deviations from the line as independent and
    normal, and is NaN for two points; R² is NaN for constant y. Raises ValueError for fewer than
    two values of x, and for numbers that are not positive and finite.
    """
    from scipy.stats import linregress

    logs = _logarithms(np.asarray(x, float).ravel(), np.asarray(y, float).ravel())
    slopes, r_squared = _lines(*logs)
    points = len(logs[0])
    error = float(linregress(logs[0], logs[1][0]).stderr) if points > 2 else math.nan
    return _slope(around(float(slopes[0]), error, points - 2, level), float(r_squared[0]), points)


def _slope(found: Interval, r_squared: float, points: int) -> Slope:
    return Slope(found.estimate, found.low, found.high, r_squared, points, found.wider)


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
        error, freedom = standard_error(_lines(log_x, wide.to_numpy().T)[0])
    else:
        weights = (log_x - log_x.mean()) / np.square(log_x - log_x.mean()).sum()
        counts = wide.count(axis=1).to_numpy(float)
        errors = np.abs(weights) * wide.std(axis=1, ddof=1).to_numpy() / np.sqrt(counts)
        used = weights != 0
        error, freedom = combined_error(errors[used], counts[used] - 1)
    return _slope(around(float(slope), error, freedom, level), float(r_squared), len(log_x))


def spearman(
    table: pd.DataFrame,
    first: str,
    second: str,
    x: str = "width",
    seed: str = "seed",
    level: float = 0.95,
    unchanged: float = math.nan,
    of_z: bool = False,
) -> Interval:
    """Rank correlation over ``x`` of two columns of one seed, its mean over seeds and t interval.

    With ``of_z`` mean and interval are those of Fisher's z = artanh(r), turned back: correlations near 1
    of many values of x are skewed, z is not. One that is 1 counts as half a step below.

    Seeds without all values of x are left out. A correlation moves in steps, of one exchanged pair of
    neighbours at least: the standard error is taken to be no less than what such a step in one seed
    makes of the mean. A seed in which a column does not change counts as ``unchanged``. Raises
    ``ValueError`` for no rows, no complete seed, a seed twice at one x, infinite values, and fewer than
    three values of x.

    Source: Spearman 1904; Fisher, Biometrika 10, 1915.
    """
    rows = table[[x, seed, first, second]].dropna()
    if rows.empty:
        raise ValueError(f"no rows without NaN in {x}, {seed}, {first}, {second}")
    refuse_twice(rows, x, seed)
    if np.isinf(rows[[first, second]].to_numpy(float)).any():
        raise ValueError(f"infinite values in {first}, {second}; drop the runs that diverged")
    places = rows[x].nunique()
    if places < 3:
        raise ValueError(f"{places} values of {x} have no rank correlation; give three at least")
    wide = rows.pivot(index=seed, columns=x, values=[first, second]).dropna()
    if wide.empty:
        raise ValueError(f"no {seed} has all values of {x}; drop some of these")
    found = _rank_correlations(wide[first].to_numpy(float), wide[second].to_numpy(float))
    found = np.where(np.isnan(found), unchanged, found)
    step = 12 / (places * (places**2 - 1))
    if of_z:
        z = np.arctanh(np.clip(found, step / 2 - 1, 1 - step / 2))
        error, freedom = standard_error(z)
        least = math.log(3) / 2 / len(z)  # of such a step at 1
        return around(float(z.mean()), max(error, least), freedom, level).mapped(math.tanh)
    error, freedom = standard_error(found)
    interval = around(float(found.mean()), max(error, step / len(found)), freedom, level)
    return interval.mapped(lambda end: float(np.clip(end, -1, 1)))


def _peaks(x: Floats, logs: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Places of the tops of curves (draws, X) of logarithms, and whether they are inside."""
    top = logs.argmax(1)
    interior = (top > 0) & (top < len(x) - 1)
    positions = x[top].astype(float)
    if interior.any():
        rows, middle = np.flatnonzero(interior), top[interior]
        heights = logs[rows[:, None], middle[:, None] + [-1, 0, 1]]
        positive = bool((x > 0).all())
        places = (np.log(x) if positive else x)[middle[:, None] + [-1, 0, 1]]
        vertices = _vertices(places, heights)
        positions[interior] = np.exp(vertices) if positive else vertices
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
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (first, second))
    below = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return np.asarray((a * b).sum(1) / np.where(below > 0, below, math.nan), float)
