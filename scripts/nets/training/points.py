"""Points to train on, and random subsets of them."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from nets.training.epochs import make_batches
from nets.training.stacked import Batch

_SUBSET_SEED = 42  # that of the released code


@dataclass(frozen=True)
class Points:
    """Inputs float32 (n, features) and labels int64 (n,), on the device of the nets."""

    x: Tensor
    y: Tensor

    def batches(self, classes: int, batch_size: int) -> list[Batch]:
        """Feature-major batches with one-hot targets."""
        onehot = nn.functional.one_hot(self.y, classes).to(self.x.dtype)
        return make_batches(self.x.T, onehot.T, batch_size)


def training_subset(points: Points, count: int | None) -> Points:
    """``count`` random points, the same on every call; all of them, in order, for None.

    They are those of the authors' code. Raises ``ValueError`` for more points than there are.
    """
    if count is None:
        return points
    if count > len(points.y):
        raise ValueError(f"training_points is {count} and there are {len(points.y)} points; lower it")
    chosen = np.random.RandomState(_SUBSET_SEED).choice(len(points.y), count, replace=False)
    return Points(points.x[chosen].contiguous(), points.y[chosen].contiguous())
