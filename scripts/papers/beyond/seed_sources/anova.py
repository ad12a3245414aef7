"""Where the variance of a table of numbers comes from: its rows, its columns, or both together.

Source: Searle, Casella & McCulloch, Variance Components (1992), chapter 4: the two-way crossed
random model with one value per cell. What belongs to one cell alone, the interaction, cannot be
told from noise there; deterministic computations have no noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as f_distribution

SOURCES = ("rows", "columns", "interaction")


@dataclass(frozen=True)
class Share:
    """Part of the variance that one source explains, with the ends of its interval.

    ``p`` is that of the F test that there is no such part, NaN for the interaction.
    """

    share: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SumsOfSquares:
    """Sums of squares of rows, columns and interaction, and their degrees of freedom."""

    squares: tuple[float, float, float]
    freedom: tuple[int, int, int]


def sums_of_squares(values: ArrayLike) -> SumsOfSquares:
    """Those of a matrix, rows by columns, around its mean; they add up to the total.

    Raises ``ValueError`` for fewer than two rows or columns, and values that are not finite.
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"values must have two rows and two columns at least, not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("values that are not finite; leave out the rows or columns with them")
    rows, columns = table.shape
    mean = table.mean()
    of_rows, of_columns = table.mean(1) - mean, table.mean(0) - mean
    rest = table - mean - of_rows[:, None] - of_columns
    squares = columns * (of_rows @ of_rows), rows * (of_columns @ of_columns), np.square(rest).sum()
    freedom = rows - 1, columns - 1, (rows - 1) * (columns - 1)
    return SumsOfSquares((float(squares[0]), float(squares[1]), float(squares[2])), freedom)


def variance_shares(
    values: ArrayLike, level: float = 0.95, draws: int = 20000, seed: int = 0
) -> dict[str, Share]:
    """Shares of the three variance components in their sum, by the names in ``SOURCES``.

    Negative estimates count as 0. The intervals are generalised ones (Weerahandi, J. Amer. Statist.
    Assoc. 88, 1993): the sums of squares over draws of chi squared in place of the degrees of
    freedom. They take the effects as normal, and are wide where rows and columns are few. Errors as
    for :func:`sums_of_squares`, and all NaN for constant values.
    """
    found = sums_of_squares(values)
    shape = np.shape(values)
    squares = np.array(found.squares)
    freedom = np.array(found.freedom)
    scale = max(float(np.square(np.asarray(values, float)).sum()), np.finfo(float).tiny)
    if squares.sum() <= 1e-24 * scale:
        return {source: Share(*[float("nan")] * 4) for source in SOURCES}
    estimate = _shares((squares / freedom)[None], shape)[0]
    chi_squared = np.random.default_rng(seed).chisquare(freedom, size=(draws, 3))
    low, high = np.quantile(
        _shares(squares / chi_squared, shape), [(1 - level) / 2, (1 + level) / 2], axis=0
    )
    tests = [_p_value(found, source) for source in (0, 1)] + [float("nan")]
    return {
        source: Share(float(estimate[i]), float(low[i]), float(high[i]), tests[i])
        for i, source in enumerate(SOURCES)
    }


def _shares(mean_squares: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Components over their sum (n, 3), from mean squares (n, 3) of tables with this shape."""
    of_rows, of_columns, interaction = mean_squares.T
    components = np.stack(
        [
            np.maximum(0, of_rows - interaction) / shape[1],
            np.maximum(0, of_columns - interaction) / shape[0],
            interaction,
        ],
        axis=1,
    )
    return np.asarray(components / components.sum(1, keepdims=True))


def _p_value(found: SumsOfSquares, source: int) -> float:
    """Of the F test of rows (0) or columns (1) against the interaction."""
    rest = found.squares[2] / found.freedom[2]
    if rest == 0:
        return 0.0
    ratio = found.squares[source] / found.freedom[source] / rest
    return float(f_distribution.sf(ratio, found.freedom[source], found.freedom[2]))
