"""Label noise: which training labels change, and to what.

Every kind is nested: the labels changed at a low percentage are changed the same way at every
higher one. The noise depends on the labels, the percentage and its own seed only, so it is the
same for every width and training seed. Test labels are never touched.
"""

import numpy as np
from numpy.typing import NDArray

from nets import parts

DEFAULT_SEED = 42

Labels = NDArray[np.int64]


def inject(labels: Labels, percent: int, *, kind: str, classes: int, seed: int = DEFAULT_SEED) -> Labels:
    """Noisy copy of ``labels`` (n,), int64 in 0..classes-1.

    ``kind`` is a file in nets/noise. Raises ``ValueError`` for an unknown one or a percentage
    outside 0..100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"label noise must be 0 to 100 per cent, not {percent}")
    noise = parts.load("noise", kind)
    found: Labels = noise.noisy(labels, percent, classes=classes, seed=seed)
    return found
