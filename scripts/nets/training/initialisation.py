"""Which random initialisations can be trained at all.

A ReLU behind the output passes no gradient where its input is negative. When the logit of a class
starts negative on nearly all points of that class, it usually dies there for good, whatever the
learning rate, and the net never learns the class. On MNIST-1D about one in five of PyTorch's
default initialisations has a class with less than 5 % of its points alive.
"""

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn


@torch.no_grad()
def alive_share(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Smallest share, over classes, of the class's own points on which its logit is positive.

    ``x`` is (n, features) and ``y`` (n,) int64; classes without points do not count.
    """
    own = model(x).gather(1, y.unsqueeze(1)).squeeze(1) > 0
    alive = torch.bincount(y, weights=own.double())
    return float((alive / torch.bincount(y)).nan_to_num(nan=1.0).min())


def first_alive(
    candidates: Iterable[nn.Module], x: Tensor, y: Tensor, minimum_share: float, limit: int = 1000
) -> nn.Module:
    """The first of ``candidates`` whose :func:`alive_share` is at least ``minimum_share``.

    With a share of 0 that is the first one. Raises ``ValueError`` when none of the first ``limit``
    qualifies.
    """
    for model in islice(candidates, limit):
        if minimum_share == 0 or alive_share(model, x, y) >= minimum_share:
            return model
    raise ValueError(
        f"none of {limit} initialisations has an alive share of {minimum_share}; "
        "lower model.minimum_alive_share"
    )
