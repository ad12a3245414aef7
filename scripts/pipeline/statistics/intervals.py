"""Bootstrap intervals of means and ratios.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993): the percentile interval
(section 13.3) and resampling by strata and by pairs (sections 8.3 and 9.5).

Equal input gives equal numbers. The percentile interval of few values is too short: with n seeds the
spread of resampled means is ``sqrt((n - 1) / n)`` of what it should be, 0.87 for four. It says nothing
about the spread of a single value, and its ends are NaN then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_SLICE_ELEMENTS = 1 << 22
"""Resampled values that are in memory at a time (32 MiB)."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval, NaN where there is none."""

    estimate: float
    low: float
    high: float


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
    return Interval(float(statistic(data, axis=0)), *percentiles(means, level, len(data) > 1))


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    paired: bool = False,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of mean(numerator) / mean(denominator).

    ``paired`` says that values at the same place belong together, such as those of one seed, and
    are resampled and dropped together. Errors as for :func:`bootstrap_interval`, and ValueError for
    pairs that do not match and a denominator of mean 0.
    """
    rng = generator(level, draws, seed)
    if paired:
        above, below = np.asarray(numerator, float).ravel(), np.asarray(denominator, float).ravel()
        if len(above) != len(below):
            raise ValueError(f"{len(above)} values cannot be paired with {len(below)}")
        complete = ~(np.isnan(above) | np.isnan(below))
        above, below = numbers(above[complete], "pairs"), numbers(below[complete], "pairs")
        index = rng.integers(len(above), size=(draws, len(above)))
        means = above[index].mean(1), below[index].mean(1)
    else:
        above, below = numbers(numerator, "numerators"), numbers(denominator, "denominators")
        means = resampled(above, np.mean, draws, rng), resampled(below, np.mean, draws, rng)
    if below.mean() == 0:
        raise ValueError("the denominator has mean 0, so that there is no ratio")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means[0] / means[1]
    estimate = float(above.mean() / below.mean())
    return Interval(estimate, *percentiles(ratios, level, max(len(above), len(below)) > 1))


def resampled(
    data: Floats, statistic: Callable[..., Floats], draws: int, rng: np.random.Generator
) -> Floats:
    """The statistic of ``draws`` samples with replacement of ``data`` (n,), (draws,)."""
    size = max(1, _SLICE_ELEMENTS // len(data))
    parts = [min(size, draws - start) for start in range(0, draws, size)]
    return np.concatenate(
        [statistic(data[rng.integers(len(data), size=(part, len(data)))], axis=1) for part in parts]
    )


def percentiles(
    values: Floats, level: float, spread: bool, method: str = "linear"
) -> tuple[float, float]:
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
