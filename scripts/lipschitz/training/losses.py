"""Training losses on logits laid out as ``(seeds, classes, points)``, with their derivatives.

Source: Khromov & Singh, ICLR 2024, appendix S2; the scale of the mean squared error is the one
of the released code (sum over classes, mean over points).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A loss summed over points.

    ``values(logits, onehot)`` has shape (seeds, points); ``gradient(logits, onehot, out)`` writes
    the derivative of the summed loss with respect to the logits into ``out`` (same shape and dtype
    as the logits). Logits are (seeds, classes, points), targets (classes, points).
    """

    values: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]


def _cross_entropy_values(logits: Tensor, onehot: Tensor) -> Tensor:
    return torch.logsumexp(logits, 1) - (logits * onehot).sum(1)


def _cross_entropy_gradient(logits: Tensor, onehot: Tensor, out: Tensor) -> Tensor:
    torch.ops.aten._softmax.out(logits, 1, False, out=out)
    return out.sub_(onehot)


def _squared_error_values(logits: Tensor, onehot: Tensor) -> Tensor:
    return (logits - onehot).square_().sum(1)


def _squared_error_gradient(logits: Tensor, onehot: Tensor, out: Tensor) -> Tensor:
    return torch.sub(logits, onehot, out=out).mul_(2)


LOSSES = {
    "cross_entropy": Loss(_cross_entropy_values, _cross_entropy_gradient),
    "mean_squared_error": Loss(_squared_error_values, _squared_error_gradient),
}
