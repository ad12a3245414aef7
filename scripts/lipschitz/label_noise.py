"""Label noise: which training labels change, and to what.

Every kind is nested: the labels changed at a low percentage are changed the same way at every
higher one. The noise depends on the labels, the percentage and its own seed only, so it is the
same for every width and training seed. Test labels are never touched.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DEFAULT_SEED = 42

Labels = NDArray[np.int64]


def pair_swap(labels: Labels, percent: int, *, classes: int, seed: int = DEFAULT_SEED) -> Labels:
    """Labels of ``floor(n percent / 100) // 2`` disjoint random pairs of points swapped.

    Keeps the number of labels of each class. About a tenth of the swaps join equal labels when ten
    classes are balanced, so the share of labels that differ is about 0.9 of ``percent``.
    Source: Khromov & Singh, ICLR 2024, and the ``incremental_shuffle`` of the released code, whose
    permutation (seed 42) this reproduces.
    """
    order = _order(len(labels), seed)
    pairs = len(labels) * percent // 100 // 2
    left, right = order[0::2][:pairs], order[1::2][:pairs]
    noisy = labels.copy()
    noisy[left], noisy[right] = labels[right], labels[left]
    return noisy


def uniform(labels: Labels, percent: int, *, classes: int, seed: int = DEFAULT_SEED) -> Labels:
    """``floor(n percent / 100)`` random points relabelled uniformly over all classes.

    The new label may equal the old one, so a share of 1 / classes of them does not change. This is
    the noise of Zhang et al. (ICLR 2017) and of most of the later double-descent literature.
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(labels))
    replacement = random.randint(classes, size=len(labels))
    chosen = order[: len(labels) * percent // 100]
    noisy = labels.copy()
    noisy[chosen] = replacement[chosen]
    return noisy


NOISE_KINDS: dict[str, Callable[..., Labels]] = {"pair_swap": pair_swap, "uniform": uniform}


def inject(labels: Labels, percent: int, *, kind: str, classes: int, seed: int = DEFAULT_SEED) -> Labels:
    """Noisy copy of ``labels`` (n,), int64 in 0..classes-1.

    Raises ``ValueError`` for an unknown kind or a percentage outside 0..100.
    """
    if kind not in NOISE_KINDS:
        raise ValueError(f"unknown label noise {kind!r}; known: {', '.join(NOISE_KINDS)}")
    if not 0 <= percent <= 100:
        raise ValueError(f"label noise must be 0 to 100 per cent, not {percent}")
    return NOISE_KINDS[kind](labels, percent, classes=classes, seed=seed)


def _order(points: int, seed: int) -> NDArray[np.int64]:
    return np.random.RandomState(seed).permutation(points)
