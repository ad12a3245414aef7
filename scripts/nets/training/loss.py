"""What a training loss is, on logits laid out as ``(seeds, classes, points)``.

Source: Khromov & Singh, ICLR 2024, appendix S2; the scale of the mean squared error is the one
of the released code (sum over classes, mean over points).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nets import parts


@dataclass(frozen=True)
class Loss:
    """A loss summed over points.

    ``values(logits, onehot)`` has shape (seeds, points); ``gradient(logits, onehot, out)`` writes
    the derivative of the summed loss with respect to the logits into ``out`` (same shape and dtype
    as the logits). Logits are (seeds, classes, points), targets (classes, points).
    """

    values: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]


def loss_named(name: str) -> Loss:
    """The loss of a file in nets/training/losses. Raises ``ValueError`` for an unknown one."""
    found: Loss = parts.load("loss", name).LOSS
    return found
