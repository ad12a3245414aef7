"""Points to train on, and random subsets of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_SUBSET_SEED = 42  # that of the released code


@dataclass(frozen=True)
class Points:
    """Inputs (n, *shape), with labels int64 (n,) or values float32 (n, outputs).

    The inputs are float32, or the bytes of images, which :func:`as_inputs` makes a net's.
    """

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
        return nn.functional.one_hot(self.y, outputs).to(torch.float32)

    def to(self, device: torch.device) -> "Points":
        """The same on another device."""
        return Points(self.x.to(device), self.y.to(device))


def as_inputs(x: Tensor) -> Tensor:
    """What a net is given of the points ``x``, float32: bytes of images over 255, in [0, 1]."""
    return x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x


def training_subset(points: Points, count: int | None) -> Points:
    """``count`` random points, the same on every call; all of them, in order, for None.

    They are those of the authors' code. Raises ``ValueError`` for more points than there are.
    """
    if count is None:
        return points
    if count > len(points.y):
        raise ValueError(f"training_points is {count} and there are {len(points.y)} points; lower it")
    chosen = subset(len(points.y), count)
    return Points(points.x[chosen].contiguous(), points.y[chosen].contiguous())


def subset(points: int, count: int) -> NDArray[np.int64]:
    """``count`` of the numbers below ``points``, the first of a permutation, the same on every call."""
    return np.random.RandomState(_SUBSET_SEED).choice(points, count, replace=False)
