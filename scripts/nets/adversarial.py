"""Adversarial examples by projected gradient ascent of the loss.

Source: Madry et al., ICLR 2018 (projected gradient descent); Khromov & Singh, ICLR 2024, appendix
S3.2 (the bounds at attacked points, table S6).
"""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lipbounds.bounds.pairwise import float64_outputs
from nets.parts import names
from nets.point_sets import gaussian_neighbours
from nets.training.loss import loss_named

StepSize = float | Callable[[int], float]
Box = tuple[float, float]
Projection = Callable[[Tensor, Tensor, float, Box | None, float], Tensor]
"""From points, centers, radius, box and ``ord`` of the ball to where the points are put."""


def attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: str = "cross_entropy",
    radius: float,
    steps: int,
    step_size: StepSize,
    box: Box | None = None,
    ord: float = 2,
    generator: torch.Generator | None = None,
    start_noise: float = 0.0,
    batch_size: int | None = None,
    projection: Projection | None = None,
) -> Tensor:
    """Points close to ``x`` where the loss is large, by projected gradient ascent.

    Parameters
    ----------
    model
        Maps (n, *input) to logits (n, K); evaluated in eval mode on a frozen copy.
    x
        Points (n, *input), floating, inside of the box.
    y
        Labels (n,), integers below K, or targets (n, K).
    loss
        A file in nets/training/losses.
    radius
        Largest distance from ``x``, in units of the input.
    steps
        Gradient steps. A step goes up the gradient divided by its 2-norm, or up its signs for
        ``ord`` inf, and is then projected onto the points that are both in the ball and in the box.
    step_size
        Length of the steps, or a function from the number of the step (0, 1, ...) to it. The paper
        takes ``10 * 0.95**t`` and a radius of 0.5.
    box
        Smallest and largest value of an input; None for no limits.
    ord
        2 or inf: the norm of the ball.
    generator, start_noise
        Source and standard deviation of the normal noise that is added at the start.
    batch_size
        Points at a time; all when None.
    projection
        What puts points back that a step has led too far; :func:`project` when None.

    Returns
    -------
    Tensor
        For each point the iterate of largest loss, the point itself included, (n, *input) in the
        dtype of ``x``. Distances, when taken in float64, are at most ``radius`` with :func:`project`.

    Raises
    ------
    ValueError
        For arguments out of range, points outside of the box, and noise without a generator.
    """
    _check(x, y, radius, steps, box, ord, loss)
    if start_noise and generator is None:
        raise ValueError("start_noise needs a generator, which keeps the attack repeatable")
    sizes = [float(step_size(step) if callable(step_size) else step_size) for step in range(steps)]
    ascent = _Ascent(model, loss, _Allowed(projection or project, radius, box, ord))
    batches = (values.detach().split(batch_size or len(x)) for values in (x, y))
    found = []
    for points, labels in zip(*batches, strict=True):
        start = points
        if generator is not None and start_noise:
            start = gaussian_neighbours(points, start_noise, generator)
        found.append(ascent.climb(points, start, labels, sizes))
    return torch.cat(found)


def secant_lower_bound(
    model: nn.Module, x: Tensor, perturbed: Tensor, *, batch_size: int | None = None
) -> float:
    """Largest ``|f(x + e) - f(x)| / |e|`` (2-norms) over pairs of rows of ``x`` and ``perturbed``.

    Both are (n, *input); rows without a difference are left out, and 0 is returned if there are no
    others. In float64, as :func:`lipbounds.bounds.pairwise.pairwise_lower_bound`, ``batch_size`` rows
    at a time or all. Source: Khromov & Singh, ICLR 2024, appendix S3.2.

    Raises ValueError for different shapes.
    """
    if x.shape != perturbed.shape or x.dim() < 2:
        raise ValueError(f"x and perturbed must be (n, *input), not {x.shape} and {perturbed.shape}")
    before, after = (float64_outputs(model, rows, batch_size=batch_size) for rows in (x, perturbed))
    change = after - before
    way = (perturbed.detach().to(change) - x.detach().to(change)).flatten(1)
    lengths = torch.linalg.vector_norm(way, dim=1)
    slopes = torch.linalg.vector_norm(change, dim=1)[lengths > 0] / lengths[lengths > 0]
    return slopes.max().item() if len(slopes) else 0.0


def project(points: Tensor, centers: Tensor, radius: float, box: Box | None, ord: float = 2) -> Tensor:
    """The closest points, in the 2-norm, within ``radius`` of ``centers`` and in the ``box``.

    Tensors are (n, *input), the centers inside of the box. The result is inside of both after
    rounding, too: the ball is shrunk by the rounding errors, relative eps of the norm of the center.

    Notes
    -----
    By the optimality conditions the projection on ball and box is ``clamp(c + s (p - c))`` with the
    largest s in [0, 1] for which it lies in the ball. Its squared distance from c is the sum of
    ``min(s |p_i - c_i|, room_i)^2``, which is quadratic in s between the values at which a
    coordinate reaches the box, so that s follows from sorting these.
    """
    eps = torch.finfo(points.dtype).eps
    way = (points - centers).flatten(1)
    flat = centers.flatten(1)
    if ord == math.inf:
        limit = (radius - eps * (flat.abs() + 4 * radius)).clamp_min(0)
        moved = flat + way.clamp(-limit, limit)
    else:
        norms = torch.linalg.vector_norm(flat.double(), dim=1)
        limits = (radius - eps * (norms + 4 * radius)).clamp_min(0)
        moved = flat + way * _scale(way, flat, limits, box).unsqueeze(1)
    moved = moved.view_as(points)
    return moved if box is None else moved.clamp(*box)


def _scale(way: Tensor, centers: Tensor, limits: Tensor, box: Box | None) -> Tensor:
    """Largest s in [0, 1] with ``|clamp(c + s way) - c| <= limits``, shape (n,)."""
    if box is not None:
        room = torch.where(way > 0, box[1] - centers, centers - box[0])
        clamped = torch.minimum(way.abs(), room)
    else:
        room, clamped = torch.full_like(way, math.inf), way
    scale = torch.ones_like(limits)
    outside = torch.linalg.vector_norm(clamped.double(), dim=1) > limits
    if outside.any():
        scale[outside] = _reaching(way[outside].abs().double(), room[outside].double(), limits[outside])
    return scale.to(way.dtype)


def _reaching(way: Tensor, room: Tensor, limits: Tensor) -> Tensor:
    """s with ``sum_i min(s way_i, room_i)^2 = limits^2`` where this is exceeded at s = 1."""
    ends, order = (room / way).nan_to_num(math.inf, math.inf).sort(1)
    zero = torch.zeros_like(limits).unsqueeze(1)
    filled = torch.where(ends < 1, room.gather(1, order), 0.0).square().cumsum(1)
    filled = torch.cat([zero, filled], 1)  # of the first k coordinates, which are at the box
    free = way.gather(1, order).square().flip(1).cumsum(1).flip(1)
    free = torch.cat([free, zero], 1)  # of the others
    ends = torch.cat([ends, torch.full_like(zero, math.inf)], 1)
    reached = filled + ends.clamp(max=1).square() * free
    index = (reached >= limits.square().unsqueeze(1)).double().argmax(1, keepdim=True)
    rest = limits.square() - filled.gather(1, index).squeeze(1)
    return (rest.clamp_min(0) / free.gather(1, index).squeeze(1)).sqrt().clamp(max=1)


def shrink_into_box(
    points: Tensor, centers: Tensor, radius: float, box: Box | None, ord: float = 2
) -> Tensor:
    """What the code of Khromov & Singh does in place of :func:`project`, which is no projection.

    Points are first projected on the ball. Those that then lie outside of the box are moved along the
    line to their center, to a distance from it that follows from two others: how far they are outside
    of the box, and how far one gets from the center in the box, at most by ``radius``, in the direction
    in which they are outside. They need not come to lie in the box, most come closer to the center than
    they have to, and those whose center is at the faces that they cross fall back onto it.

    Source: github.com/gakhromov/lipschitz-continuity-of-nns, ``adversarial_attacks.py``.

    Raises ValueError without a box, or with ``ord`` inf.
    """
    if box is None or ord != 2:
        raise ValueError("the step of the authors is for a box, and a ball of the 2-norm")
    near = project(points, centers, radius, None).flatten(1)
    flat = centers.flatten(1)
    outside = near - near.clamp(*box)
    excess = torch.linalg.vector_norm(outside, dim=1, keepdim=True)
    reached = (flat + radius * functional.normalize(outside, dim=1)).clamp(*box)
    room = torch.linalg.vector_norm(reached - flat, dim=1, keepdim=True)
    # of the radius the share room / (room + excess)
    length = radius * room / (room + excess).clamp_min(torch.finfo(room.dtype).tiny)
    moved = flat + length * functional.normalize(near - flat, dim=1)
    return torch.where(excess > 0, moved, near).view_as(points)


class _Allowed(NamedTuple):
    """Where points may go, and what puts back those that have gone too far."""

    projection: Projection
    radius: float
    box: Box | None
    ord: float

    def put_back(self, points: Tensor, centers: Tensor) -> Tensor:
        return self.projection(points, centers, self.radius, self.box, self.ord)


class _Ascent:
    def __init__(self, model: nn.Module, loss: str, allowed: _Allowed) -> None:
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._values = loss_named(loss).values
        self._allowed = allowed

    def climb(self, centers: Tensor, start: Tensor, y: Tensor, sizes: list[float]) -> Tensor:
        """The best of the centers and of all iterates, for each point."""
        points = self._allowed.put_back(start, centers)
        best, largest = centers.clone(), self._losses(centers, y)
        for size in sizes:
            losses, gradients = self._with_gradients(points, y)
            best, largest = _better(points, losses, best, largest)
            points = self._allowed.put_back(points + size * self._direction(gradients), centers)
        return _better(points, self._losses(points, y), best, largest)[0]

    def _losses(self, points: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self._loss(points, y)

    def _with_gradients(self, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        leaf = points.detach().requires_grad_()
        with torch.enable_grad():
            losses = self._loss(leaf, y)
            (gradients,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradients

    def _loss(self, points: Tensor, y: Tensor) -> Tensor:
        """Loss of every point, shape (n,)."""
        logits = self._model(points)
        targets = y if y.is_floating_point() else functional.one_hot(y.long(), logits.shape[1])
        return self._values(logits.T.unsqueeze(0), targets.to(logits.dtype).T).squeeze(0)

    def _direction(self, gradients: Tensor) -> Tensor:
        """Of norm 1 and steepest, or 0 where the gradient is."""
        if self._allowed.ord == math.inf:
            return gradients.sign()
        flat = gradients.flatten(1)
        # divided by the largest first: squares of small gradients are 0 in float32
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        return functional.normalize(flat, dim=1).view_as(gradients)


def _better(points: Tensor, losses: Tensor, best: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """Row by row whichever has the larger loss."""
    gain = losses > largest
    mask = gain.view(-1, *[1] * (points.dim() - 1))
    return torch.where(mask, points, best), torch.where(gain, losses, largest)


def _check(
    x: Tensor, y: Tensor, radius: float, steps: int, box: Box | None, ord: float, loss: str
) -> None:
    if ord not in (2, math.inf):
        raise ValueError(f"ord must be 2 or inf, not {ord!r}")
    if loss not in names("loss"):
        raise ValueError(f"loss must be one of {', '.join(names('loss'))}, not {loss!r}")
    if not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(f"radius must be finite and at least 0, not {radius}")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, not {steps}")
    if x.dim() < 2 or len(x) == 0 or not x.is_floating_point():
        raise ValueError(
            f"x must be (n, *input) with n >= 1 and floating, not {tuple(x.shape)} of {x.dtype}"
        )
    if len(y) != len(x):
        raise ValueError(f"{len(x)} points with {len(y)} labels")
    if box is not None and not ((x >= box[0]) & (x <= box[1])).all():
        raise ValueError("some points lie outside of the box; give the range of the inputs")
