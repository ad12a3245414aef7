"""Tables as other seeds might have given them, to see how often intervals cover and rules err.

Seeds are the only chance in a table: its runs are what differs between them, its coordinates what is
the same for all. Simulated seeds are normal around the mean over seeds of each cell, with the
covariance of the real ones within a run, so that what belongs together, such as the bounds of a net at
all epochs, stays so; numbers that are all positive are simulated by their logarithms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.statistics.intervals import Floats

SEED = "seed"
RUN = ("experiment", "variant", "noise", "width")
"""What tells independent runs apart, beside the seed."""


@dataclass(frozen=True)
class _Run:
    """Rows of one run: the cell and seed of each, and the residuals of cells (cells, seeds, values).

    These are over the root of the degrees of freedom of their cell, 0 where there is none.
    """

    rows: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    cells: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    seeds: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    residuals: Floats


class Simulator:
    """Draws tables like one; a table without seeds, or with one seed only, is given as it is."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table.reset_index(drop=True)
        self._values = _values(self._table)
        keys = _keys(self._table)
        data = self._table[self._values].to_numpy(float, copy=True)
        logs = [not name.startswith("log") for name in self._values]
        self._logs = np.array(logs, bool) & ~(data <= 0).any(0) if self._values else np.zeros(0, bool)
        data[:, self._logs] = np.log(data[:, self._logs])
        self._means = data.copy()
        self._runs = list(self._of_runs(data, keys)) if self._values else []

    @property
    def has_chance(self) -> bool:
        """Whether any number is left to chance."""
        return any(run.residuals.any() for run in self._runs)

    def around(self, rng: np.random.Generator) -> pd.DataFrame:
        """Other seeds of the same nets."""
        return self._drawn(self._means, rng)

    def population(self, rng: np.random.Generator, copies: int) -> pd.DataFrame:
        """So many times as many seeds, on which every estimate is near to what it estimates."""
        if not self.has_chance:
            return self._table
        drawn = [self.around(rng) for _ in range(copies)]
        apart = int(self._table[SEED].max()) + 1
        return pd.concat(
            [table.assign(**{SEED: table[SEED] + apart * n}) for n, table in enumerate(drawn)],
            ignore_index=True,
        )

    def flat(self, rng: np.random.Generator) -> pd.DataFrame:
        """Other seeds where nothing has an effect: each column has one mean in all cells."""
        means = np.where(np.isnan(self._means), np.nan, np.nanmean(self._means, axis=0))
        return self._drawn(means, rng)

    def _drawn(self, means: Floats, rng: np.random.Generator) -> pd.DataFrame:
        data = means.copy()
        for run in self._runs:
            seeds = run.residuals.shape[1]
            drawn = np.einsum("ij,cjv->civ", rng.standard_normal((seeds, seeds)), run.residuals)
            data[run.rows] += drawn[run.cells, run.seeds]
        data[:, self._logs] = np.exp(data[:, self._logs])
        return self._table.assign(**dict(zip(self._values, data.T, strict=True)))

    def _of_runs(self, data: Floats, keys: list[str]) -> Iterator[_Run]:
        """Each run, and the means of its cells into ``self._means``."""
        across = [name for name in RUN if name in keys]
        within = [name for name in keys if name not in RUN]
        groups = self._table.groupby(across, sort=False).indices.values() if across else [...]
        for group in groups:
            rows = np.arange(len(self._table))[group]
            part = self._table.iloc[rows]
            cells = _numbered(part, within)
            seeds = pd.factorize(part[SEED])[0]
            values = np.full((cells.max() + 1, seeds.max() + 1, data.shape[1]), np.nan)
            values[cells, seeds] = data[rows]
            there = ~np.isnan(values)
            counts = there.sum(1, keepdims=True)
            means = np.where(there, values, 0).sum(1, keepdims=True) / np.maximum(counts, 1)
            residuals = np.where(there, values - means, 0) / np.sqrt(np.maximum(counts - 1, 1))
            self._means[rows] = np.where(there[cells, seeds], means[cells, 0], np.nan)
            yield _Run(rows, cells, seeds, residuals)


def _numbered(part: pd.DataFrame, within: list[str]) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """The number of the cell of each row of a run; rows that nothing tells apart are counted."""
    about = part[within].assign(_repeated=part.groupby([*within, SEED], dropna=False).cumcount())
    return about.groupby([*within, "_repeated"], sort=False, dropna=False).ngroup().to_numpy()


def _values(table: pd.DataFrame) -> list[str]:
    """Columns of numbers that differ between seeds; coordinates, such as a radius, do not."""
    if SEED not in table or table[SEED].nunique() < 2:
        return []
    floats = table.select_dtypes("float")
    return [str(name) for name in floats if _is_value(floats[name].dropna(), table[SEED])]


def _is_value(column: "pd.Series[float]", seeds: "pd.Series[int]") -> bool:
    """Whether a seed has hardly more of a column's values than its own; whole numbers are none."""
    if not np.isfinite(column).all() or (column == column.round()).all():
        return False
    return _shared(column, seeds) < (1 + 1 / seeds.nunique()) / 2


def _shared(column: "pd.Series[Any]", seeds: "pd.Series[int]") -> float:
    """The share of the values of a column that a seed has, over seeds."""
    values = column.nunique()
    return float(column.groupby(seeds).nunique().mean()) / values if values else 1.0


def _keys(table: pd.DataFrame) -> list[str]:
    """The least columns that tell the rows of a seed apart, and what tells runs apart.

    Those that differ most between seeds, such as the epoch of the stop, are left out first.
    """
    if SEED not in table:
        return []
    values = _values(table)
    keys = [str(name) for name in table if name != SEED and name not in values]
    spare = [name for name in keys if name not in RUN]
    for name in sorted(spare, key=lambda name: _shared(table[name].dropna(), table[SEED])):
        rest = [key for key in keys if key != name]
        if not table.duplicated([*rest, SEED]).any():
            keys = rest
    return keys
