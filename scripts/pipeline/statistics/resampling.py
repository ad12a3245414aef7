"""Mean curves over seeds, and bootstrap samples of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.statistics.intervals import Floats, generator


@dataclass(frozen=True)
class Curves:
    """Means over seeds along ``x`` (X,): ``means`` (columns, X), and resampled (columns, draws, X).

    ``spread`` says that some mean is over more than one seed.
    """

    x: Floats
    means: Floats
    draws: Floats
    spread: bool


def resampled_curves(
    table: pd.DataFrame,
    x: str,
    columns: list[str],
    seed: str,
    level: float,
    draws: int,
    random_seed: int,
    paired: bool,
) -> Curves:
    """The mean curves of ``columns`` along ``x`` and ``draws`` bootstrap samples of them.

    Raises ``ValueError`` for tables without rows, with a seed twice at one x, or with infinite values.
    """
    rng = generator(level, draws, random_seed)
    rows = table[[x, seed, *columns]].dropna()
    if rows.empty:
        raise ValueError(f"no rows without NaN in {', '.join([x, seed, *columns])}")
    refuse_twice(rows, x, seed)
    wide = rows.pivot(index=x, columns=seed, values=columns).sort_index()
    values = np.stack([wide[column].to_numpy(float) for column in columns])  # (columns, X, seeds)
    if paired:
        values = values[:, :, ~np.isnan(values).any((0, 1))]
        if values.shape[2] == 0:
            raise ValueError(f"no {seed} has all values of {x}; drop some of these, or use paired=False")
    if np.isinf(values).any():
        raise ValueError(f"infinite values in {', '.join(columns)}; drop the runs that diverged")
    means = np.nanmean(values, 2)
    return Curves(
        wide.index.to_numpy(float),
        means,
        _resampled_means(values, draws, rng, paired),
        bool(((~np.isnan(values[0])).sum(1) > 1).any()),
    )


def _resampled_means(values: Floats, draws: int, rng: np.random.Generator, paired: bool) -> Floats:
    """(columns, draws, X) from values (columns, X, seeds) in which NaN marks absent seeds."""
    columns, places, seeds = values.shape
    if paired:
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        return np.einsum("cxs,ds->cdx", values, weights)
    means = np.empty((columns, draws, places))
    for place in range(places):
        present = values[:, place][:, ~np.isnan(values[0, place])]
        index = rng.integers(present.shape[1], size=(draws, present.shape[1]))
        means[:, :, place] = present[:, index].mean(2)
    return means


def refuse_twice(rows: pd.DataFrame, x: str, seed: str) -> None:
    """Raises ``ValueError`` for rows with a seed twice at one x."""
    twice = rows.duplicated([x, seed])
    if twice.any():
        place = rows[twice].iloc[0]
        raise ValueError(
            f"several rows for {x} = {place[x]} and {seed} = {place[seed]}; filter the table to one "
            "experiment, variant and epoch"
        )
