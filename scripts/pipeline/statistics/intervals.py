"""Confidence intervals of means and ratios.

Means over seeds have t intervals, ratios of means those of their logarithms: with two to ten seeds
they cover what they say (tests/unit/test_statistics.py simulates them), where percentile bootstraps
are too short: their spread is sqrt((n - 1) / n) of what it should be. The percentile bootstrap
(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3) is for many values, such as
test points.

Each interval has wider ends beside those of its level, for claims of several parts (Holm,
Scandinavian Journal of Statistics 6, 1979). Equal input gives equal numbers. One value says nothing
about the spread, and the ends are NaN then.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

_SLICE_ELEMENTS = 1 << 22
"""Resampled values that are in memory at a time (32 MiB)."""


Ends = tuple[float, float]

AT_ONCE = (1, 2, 3, 4, 6, 9, 14, 20, 30)
"""Numbers of intervals that are to hold all at once, for which an interval has its ends."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval, NaN where there is none.

    ``wider`` has the ends for the numbers in ``AT_ONCE`` behind the first (Bonferroni).
    """

    estimate: float
    low: float
    high: float
    wider: tuple[Ends, ...] = ()

    @classmethod
    def of(cls, estimate: float, ends: Callable[[float], Ends], level: float = 0.95) -> "Interval":
        """From a function that gives the ends for a level."""
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        (low, high), *wider = (ends(1 - (1 - level) / number) for number in AT_ONCE)
        return cls(estimate, low, high, tuple(wider))

    def among(self, number: int) -> Ends:
        """The ends where so many intervals are to hold at once; without any for more than 30."""
        for at_once, ends in zip(AT_ONCE, self._ladder, strict=False):
            if at_once >= number:
                return ends
        return -math.inf, math.inf

    def mapped(self, function: Callable[[float], float]) -> "Interval":
        """The interval of a function, rising or falling, of the number."""
        ends = [_sorted(function(low), function(high)) for low, high in self._ladder]
        return self._from(function(self.estimate), ends)

    def minus(self, other: "Interval") -> "Interval":
        """The difference, with the ends of both at their worst: for numbers that may go together."""
        pairs = zip(self._ladder, other._ladder, strict=False)
        ends = [_sorted(low - most, high - least) for (low, high), (least, most) in pairs]
        return self._from(self.estimate - other.estimate, ends)

    def over(self, other: "Interval") -> "Interval":
        """The ratio of positive numbers, with the ends of both at their worst."""
        pairs = zip(self._ladder, other._ladder, strict=False)
        ends = [_sorted(low / most, high / least) for (low, high), (least, most) in pairs]
        return self._from(self.estimate / other.estimate, ends)

    def fact(self) -> dict[str, float]:
        """The estimate and the ends by their names."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high}

    @property
    def _ladder(self) -> tuple[Ends, ...]:
        return ((self.low, self.high), *self.wider)

    @classmethod
    def _from(cls, estimate: float, ladder: Sequence[Ends]) -> "Interval":
        return cls(float(estimate), *ladder[0], wider=tuple(ladder[1:]))


def _sorted(one: float, other: float) -> Ends:
    return float(min(one, other)), float(max(one, other))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Floats] = np.mean,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of independent values.

    Parameters
    ----------
    values
        Numbers in any shape; NaN are dropped.
    statistic
        A function of an array and ``axis``, such as ``np.median``.
    level
        Share of intervals that should contain the truth.
    draws
        Bootstrap samples.
    seed
        Of the samples.

    Raises
    ------
    ValueError
        Without any values, for infinite ones, a level outside of (0, 1), and draws below 1.
    """
    data = numbers(values, "values")
    rng = generator(level, draws, seed)
    means = resampled(data, statistic, draws, rng)
    estimate = float(statistic(data, axis=0))
    return Interval.of(estimate, lambda level: percentiles(means, level, len(data) > 1), level)


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The t interval of the mean of independent values, in any shape; NaN are dropped.

    Raises
    ------
    ValueError
        Without any values, for infinite ones, and a level outside of (0, 1).
    """
    data = numbers(values, "values")
    return around(float(data.mean()), *standard_error(data), level)


def ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, *, paired: bool = False, level: float = 0.95
) -> Interval:
    """The ratio of geometric means, with the t interval of its logarithm.

    ``paired`` says that values at the same place belong together, such as those of one seed: then it
    is the interval of the mean of their log ratios, and pairs with NaN are dropped; else it is Welch's
    (Biometrika 34, 1947), for spreads that may differ. Errors as for :func:`mean_interval`, and
    ValueError for pairs that do not match and values that are not positive.
    """
    above, below = np.asarray(numerator, float).ravel(), np.asarray(denominator, float).ravel()
    if paired:
        if len(above) != len(below):
            raise ValueError(f"{len(above)} values cannot be paired with {len(below)}")
        complete = ~(np.isnan(above) | np.isnan(below))
        differences = logarithms(above[complete], "pairs") - logarithms(below[complete], "pairs")
        found = mean_interval(differences, level)
    else:
        logs = logarithms(above, "numerators"), logarithms(below, "denominators")
        errors, freedoms = zip(*map(standard_error, logs), strict=True)
        error, freedom = combined_error(errors, freedoms)
        found = around(float(logs[0].mean() - logs[1].mean()), error, freedom, level)
    return found.mapped(np.exp)


def around(estimate: float, error: float, freedom: float, level: float) -> Interval:
    """The t interval of an estimate with a standard error of so many degrees of freedom."""

    def ends(level: float) -> Ends:
        margin = _t_quantile(level, freedom) * error if freedom > 0 else math.nan
        return estimate - margin, estimate + margin

    return Interval.of(estimate, ends, level)


@lru_cache(maxsize=4096)
def _t_quantile(level: float, freedom: float) -> float:
    """How many standard errors the ends are away; scipy takes a tenth of a millisecond for it."""
    return float(stdtrit(freedom, (1 + level) / 2))


def combined_error(errors: ArrayLike, freedoms: ArrayLike) -> tuple[float, float]:
    """Standard error and degrees of freedom of a sum of independent estimates.

    Source: Satterthwaite, Biometrics Bulletin 2, 1946. 0 degrees where one has none.
    """
    squares, freedom = np.square(np.asarray(errors, float)), np.asarray(freedoms, float)
    if not (freedom > 0).all():
        return math.nan, 0.0
    total = float(squares.sum())
    if total == 0:
        return 0.0, float(freedom.sum())
    return math.sqrt(total), total**2 / float((squares**2 / freedom).sum())


def logarithms(values: ArrayLike, name: str) -> Floats:
    """Of numbers without NaN. Raises ValueError for those that are not positive and finite."""
    data = numbers(values, name)
    if (data <= 0).any():
        raise ValueError(f"{name} that are not positive have no logarithm, nor a ratio")
    return np.log(data)


def standard_error(data: Floats) -> tuple[float, float]:
    """Standard error of a mean, and its degrees of freedom."""
    if len(data) < 2:
        return math.nan, 0.0
    return float(data.std(ddof=1)) / math.sqrt(len(data)), len(data) - 1.0


def resampled(
    data: Floats, statistic: Callable[..., Floats], draws: int, rng: np.random.Generator
) -> Floats:
    """The statistic of ``draws`` samples with replacement of ``data`` (n,), (draws,)."""
    size = max(1, _SLICE_ELEMENTS // len(data))
    parts = [min(size, draws - start) for start in range(0, draws, size)]
    return np.concatenate(
        [statistic(data[rng.integers(len(data), size=(part, len(data)))], axis=1) for part in parts]
    )


def percentiles(values: Floats, level: float, spread: bool, method: str = "linear") -> Ends:
    """The ends of the percentile interval; NaN without any spread."""
    values = values[~np.isnan(values)]
    if not spread or len(values) == 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method=method)  # type: ignore[call-overload]
    return float(low), float(high)


def generator(level: float, draws: int, seed: int) -> np.random.Generator:
    """A source of samples. Raises ValueError for a level or number of draws that makes no sense."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    return np.random.default_rng(seed)


def numbers(values: ArrayLike, name: str) -> Floats:
    """Numbers without NaN. Raises ValueError where none is left, and for infinite ones."""
    data = np.asarray(values, float).ravel()
    data = data[~np.isnan(data)]
    if len(data) == 0:
        raise ValueError(f"no {name} that are not NaN: nothing to resample")
    if np.isinf(data).any():
        raise ValueError(f"infinite {name}; drop the runs that diverged")
    return data
