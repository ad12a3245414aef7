"""Labels of random pairs of points swapped, class counts kept (Khromov & Singh, ICLR 2024)."""

import numpy as np

from nets.label_noise import Labels


def noisy(labels: Labels, percent: int, *, classes: int, seed: int) -> Labels:
    """Labels of ``floor(n percent / 100) // 2`` disjoint random pairs of points swapped.

    Keeps the number of labels of each class. About a tenth of the swaps join equal labels when ten
    classes are balanced, so the share of labels that differ is about 0.9 of ``percent``.
    Source: Khromov & Singh, ICLR 2024, and the ``incremental_shuffle`` of the released code, whose
    permutation (seed 42) this reproduces.
    """
    order = np.random.RandomState(seed).permutation(len(labels))
    pairs = len(labels) * percent // 100 // 2
    left, right = order[0::2][:pairs], order[1::2][:pairs]
    changed = labels.copy()
    changed[left], changed[right] = labels[right], labels[left]
    return changed
