"""Points to train on, and random subsets of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

_SUBSET_SEED = 42  # that of the released code


@dataclass(frozen=True)
class Points:
    """Inputs float32 (n, *shape), with labels int64 (n,) or values float32 (n, outputs)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @property
    def labelled(self) -> bool:
        """Whether the points have labels, and not values."""
        return not self.y.is_floating_point()

    def targets(self, outputs: int) -> Tensor:
        """What a net's ``outputs`` are held against, float32 (n, outputs): one-hot labels, or values."""
        if not self.labelled:
            return self.y
        return nn.functional.one_hot(self.y, outputs).to(self.x.dtype)

    def to(self, device: torch.device) -> "Points":
        """The same on another device."""
        return Points(self.x.to(device), self.y.to(device))


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
