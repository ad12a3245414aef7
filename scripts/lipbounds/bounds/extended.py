"""Lower bounds over point sets that do not fit into memory.

Source: Khromov & Singh, ICLR 2024, section 3.1 (C_S* over a million points, figure 1).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipbounds.jacobian import JacobianNorms
from lipbounds.kinks import norms_beside_kinks


@dataclass(frozen=True)
class StreamedLowerBound:
    """Jacobian norms over ``count`` points: ``mean <= rms <= max <=`` the Lipschitz constant.

    ``worst`` (*input) is the first point that attains the maximum. Units and rounding are those of
    :class:`lipbounds.bounds.LowerBound`.
    """

    max: float
    mean: float
    rms: float
    count: int
    worst: Tensor


def lower_bound_over(
    model: nn.Module, chunks: Iterable[Tensor], *, ord: float = 2
) -> StreamedLowerBound:
    """Lower bound of the Lipschitz constant of ``model`` from all points of ``chunks`` (m, *input).

    One chunk is in memory at a time; sums are float64. The points are counted as often as they
    come. Model and ``ord`` are as for :func:`lipbounds.jacobian.jacobian_norms`; the model is copied and
    checked once, at the first chunk.

    Raises
    ------
    ValueError
        Without any points, for norms that are not finite, and as ``jacobian_norms`` does.

    Notes
    -----
    A point costs a net of d inputs, one hidden layer of width w and K outputs at least 2 K w d FLOP
    for the Jacobian, 2 K^2 d for its Gram matrix and some 5 K^3 for the eigenvalue: 0.22 MFLOP with
    40, 256 and 10, most of it one matrix product.
    """
    largest, total, squares, count = -math.inf, 0.0, 0.0, 0
    worst: Tensor | None = None
    norms_at: JacobianNorms | None = None
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        norms_at = norms_at or JacobianNorms(model, chunk)
        norms = norms_beside_kinks(norms_at, chunk, ord=ord, above=max(largest, 0.0))
        top, index = (value.item() for value in norms.max(0))
        total += norms.sum().item()
        squares += torch.dot(norms, norms).item()
        count += len(chunk)
        if not math.isfinite(total):
            raise ValueError(
                "the Jacobian norm is not finite at some of the points; look at the weights"
            )
        if top > largest:
            largest, worst = top, chunk[int(index)].detach().clone()
    if worst is None:
        raise ValueError("no points: all chunks are empty, or an iterator was used up before")
    return StreamedLowerBound(largest, total / count, math.sqrt(squares / count), count, worst)
