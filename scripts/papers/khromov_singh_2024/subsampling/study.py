"""How the largest Jacobian norm depends on how many points are looked at.

After Khromov & Singh, ICLR 2024, Table S7; expectations over all subsets, points that were not
trained on and the extrapolation by extreme values are added.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import gammaln
from scipy.stats import genpareto

from lipbounds.jacobian import jacobian_norms
from nets.settings import Count, Section
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.fresh_points import fresh_mnist1d
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import rows_of_nets


class Settings(Section):
    """How the largest Jacobian norm depends on the number of points that are looked at."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")
    sizes: tuple[Annotated[int, Field(strict=True, ge=2)], ...] = Field(
        min_length=1, description="sizes of random subsets of the training points"
    )
    draws: Annotated[int, Field(strict=True, ge=2)] = Field(
        description="random subsets of each size; expectations over all subsets stand beside them"
    )
    fresh_points: Annotated[int, Field(strict=True, ge=10)] = Field(
        description="further points from the generator of the data, seen in no training"
    )
    tail: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of the largest norms that a generalised Pareto distribution is fitted to"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = Field(
        description="seed of the fresh points (the data itself: 42) and of the subsets"
    )


Floats = NDArray[np.float64]

_LEVELS = 10_000


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net, point set, way and size of the subsets.

    ``points`` are those trained on, or ``fresh`` ones; ``way`` is ``exact`` for the expectation over
    all subsets of a set, ``drawn`` for a mean over random ones, and ``tail`` for what a
    generalised Pareto distribution, fitted to the largest norms at the training points, predicts
    for more points. ``shortfall`` is 1 - mean / full.
    """
    fresh = fresh_mnist1d(settings.fresh_points, settings.seed)

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        trained = np.sort(jacobian_norms(net.model, run.points(arrays).x).numpy())
        unseen = np.sort(jacobian_norms(net.model, fresh).numpy())
        sizes = [size for size in settings.sizes if size <= len(trained)]
        rng = np.random.default_rng(
            derive_seed(settings.seed, "subsets", width=run.width, seed=net.seed)
        )
        for size in sizes:
            yield _row("train", "exact", size, None, *maximum_of_subset(trained, size), trained[-1])
            maxima = [rng.choice(trained, size, replace=False).max() for _ in range(settings.draws)]
            moments = float(np.mean(maxima)), float(np.std(maxima, ddof=1))
            yield _row("train", "drawn", size, settings.draws, *moments, trained[-1])
        tail = fitted_tail(trained, settings.tail)
        for size in sorted({*sizes, *_doublings(len(unseen), max(sizes))}):
            if size <= len(unseen):
                yield _row("fresh", "exact", size, None, *maximum_of_subset(unseen, size), unseen[-1])
            expected = mean_maximum(*tail, settings.tail, size)
            yield _row("train", "tail", size, None, expected, float("nan"), trained[-1])

    return rows_of_nets(runs, arrays, measure).astype({"draws": "Int64"})


def _row(
    points: str, way: str, size: int, draws: int | None, mean: float, std: float, full: float
) -> dict[str, Any]:
    return {
        "points": points,
        "way": way,
        "size": size,
        "draws": draws,
        "mean": mean,
        "std": std,
        "full": full,
        "shortfall": 1 - mean / full,
    }


def _doublings(largest: int, start: int) -> list[int]:
    """``largest`` and its halves, as long as they exceed ``start``."""
    sizes = []
    while largest > start:
        sizes.append(largest)
        largest //= 2
    return sizes


def maximum_of_subset(ordered: Floats, size: int) -> tuple[float, float]:
    """Mean and standard deviation of the maximum of a random subset, without replacement.

    ``ordered`` are n numbers that do not decrease. The k-th is the maximum of
    ``C(k - 1, size - 1)`` of the ``C(n, size)`` subsets.
    """
    n = len(ordered)
    rank = np.arange(size, n + 1)
    ways = gammaln(rank) - gammaln(rank - size + 1) - gammaln(size)
    share = np.exp(ways - (gammaln(n + 1) - gammaln(n - size + 1) - gammaln(size + 1)))
    values = ordered[size - 1 :]
    mean = float(share @ values / share.sum())
    return mean, float(np.sqrt(share @ np.square(values - mean) / share.sum()))


def fitted_tail(ordered: Floats, share: float) -> tuple[float, float, float]:
    """Threshold, shape and scale of the generalised Pareto distribution of the largest numbers.

    Maximum likelihood for the excesses over the threshold that a ``share`` of the numbers exceeds
    (Pickands 1975). A negative shape means that there is a largest value.
    """
    threshold = float(np.quantile(ordered, 1 - share))
    shape, _, scale = genpareto.fit(ordered[ordered > threshold] - threshold, floc=0)
    return threshold, float(shape), float(scale)


def mean_maximum(threshold: float, shape: float, scale: float, share: float, size: int) -> float:
    """Mean of the maximum of ``size`` independent draws of which a ``share`` is in the tail.

    Maxima below the threshold, which are rare where ``size * share`` is large, count as on it.
    """
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    above = -np.expm1(np.log(levels) / size)  # chance of a draw above the maximum's quantile
    excess = genpareto.isf(np.minimum(1.0, above / share), shape, scale=scale)
    return threshold + float(np.mean(excess))
