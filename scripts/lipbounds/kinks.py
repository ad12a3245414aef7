"""Norms that a neighbourhood has, where a point lies on a kink.

There autograd gives some mixture of the slopes on the sides, which need not be the slope of any of
them: ``x - relu(x) + relu(-x)`` is constant, and its Jacobian at 0 is 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lipbounds.jacobian import JacobianNorms

_REACHED = 1e-6
"""Relative difference that is rounding, or the bend of a smooth function."""

_FIRST, _MORE = 2, 14
"""Neighbours to look at: most points are cleared by the first few."""

Box = tuple[Tensor, Tensor]
Pull = Callable[[Tensor], Tensor]
"""Takes points (n, *input) to where they may be, no further than they were moved."""


def norms_beside_kinks(
    norms_at: JacobianNorms,
    x: Tensor,
    *,
    ord: float = 2,
    batch_size: int | None = None,
    above: float = 0.0,
) -> Tensor:
    """Norms (n,) in float64 at the points ``x`` (n, *input), the largest of which neighbours have too.

    That of the point of largest norm is compared with those right beside it. If they are all smaller,
    every norm is replaced by the largest one beside its point where that is smaller. Norms up to
    ``above`` are not looked at, nor are those that are not finite.
    """
    norms = norms_at(x, ord=ord, batch_size=batch_size)
    best = int(norms.argmax())
    if not (above < norms[best].item() and norms.isfinite().all()):
        return norms
    if _lowered(norms_at, x[best : best + 1], norms[best : best + 1], ord) is None:
        return norms
    parts = zip(x.split(1), norms.split(1), strict=True)
    found = [(_lowered(norms_at, point, norm, ord), norm) for point, norm in parts]
    return torch.cat([norm if lower is None else lower[1] for lower, norm in found])


def beside_kink(
    norms_at: JacobianNorms,
    point: Tensor,
    norm: float,
    *,
    ord: float = 2,
    box: Box | None = None,
    pull: Pull | None = None,
) -> tuple[Tensor, float]:
    """``point`` (*input) and its ``norm``, or a point beside it and its norm if all of these are
    smaller. Within the ``box`` and where ``pull`` takes it, if given."""
    norms = torch.tensor([norm], dtype=torch.float64, device=point.device)
    lowered = _lowered(norms_at, point.unsqueeze(0), norms, ord, box, pull)
    if lowered is None:
        return point, norm
    alone = norms_at(lowered[0], ord=ord).item()  # as anyone would check it
    return lowered[0].squeeze(0), alone


def _lowered(
    norms_at: JacobianNorms,
    point: Tensor,
    norm: Tensor,
    ord: float,
    box: Box | None = None,
    pull: Pull | None = None,
) -> tuple[Tensor, Tensor] | None:
    """The neighbour (1, *input) of largest norm, and that norm (1,), if below that of the point."""
    random = torch.Generator().manual_seed(0)
    best: tuple[Tensor, Tensor] | None = None
    for count in (_FIRST, _MORE):
        neighbours = _neighbours(point, count, random, box)
        if pull is not None:
            neighbours = pull(neighbours)
        norms = norms_at(neighbours, ord=ord).to(norm.device)
        top = int(norms.argmax())
        if norms[top] >= norm * (1 - _REACHED):
            return None
        if best is None or norms[top] > best[1]:
            best = neighbours[top : top + 1], norms[top : top + 1]
    return best


def _neighbours(point: Tensor, count: int, random: torch.Generator, box: Box | None) -> Tensor:
    """Random points (count, *input) some hundred roundings from the ``point`` (1, *input)."""
    largest = point.abs().max()
    size = torch.where(largest > 0, largest, 1) * torch.finfo(point.dtype).eps ** 0.75
    noise = torch.randn(count, *point.shape[1:], generator=random)
    noise = (noise + noise.sign()).to(point)  # which leaves no coordinate where it is
    moved = point + size * noise
    if box is not None:
        inside = (moved >= box[0]) & (moved <= box[1])
        moved = torch.where(inside, moved, point - size * noise).clamp(*box)
    return moved
