"""Random points relabelled uniformly over all classes (Zhang et al., ICLR 2017)."""

import numpy as np

from nets.label_noise import Labels


def noisy(labels: Labels, percent: int, *, classes: int, seed: int) -> Labels:
    """``floor(n percent / 100)`` random points relabelled uniformly over all classes.

    The new label may equal the old one, so a share of 1 / classes of them does not change. This is
    the noise of Zhang et al. (ICLR 2017) and of most of the later double-descent literature.
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(labels))
    replacement = random.randint(classes, size=len(labels))
    chosen = order[: len(labels) * percent // 100]
    changed = labels.copy()
    changed[chosen] = replacement[chosen]
    return changed
