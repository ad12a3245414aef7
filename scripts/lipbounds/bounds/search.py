"""Lower bounds of the Lipschitz constant by searching for points with large Jacobian norms.

The norm at any point is a lower bound, so the data need not be where one looks: the search starts
at the data points of largest norm and stays within a ball around each.
"""

import copy
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lipbounds.frozen import Frozen, in_half_precision
from lipbounds.jacobian import JacobianNorms, leading_gradients
from lipbounds.kinks import beside_kink, norms_beside_kinks
from lipbounds.soundness import refuse_norms, refuse_points
from lipbounds.twin import undisturbed

Domain = tuple[float | Tensor, float | Tensor]


@dataclass(frozen=True)
class SearchResult:
    """``value`` is the Jacobian norm at ``point`` (*input); ``start_value`` is the largest over the
    data, never above ``value``; ``evaluations`` counts Jacobian norms that were computed, those of
    the data included. Units and rounding are those of :func:`lipbounds.jacobian.jacobian_norms`."""

    value: float
    point: Tensor
    start_value: float
    evaluations: int


def search_lower_bound(
    model: nn.Module,
    x: Tensor,
    *,
    radius: float,
    domain: Domain | None = None,
    ord: float = 2,
    starts: int = 64,
    steps: int = 100,
    seed: int = 0,
) -> SearchResult:
    """A lower bound of the Lipschitz constant of ``model`` by local search around the points ``x``.

    Parameters
    ----------
    model
        As for :func:`lipbounds.jacobian.jacobian_norms`; it stays as it is, with its gradients,
        flags and statistics, and so does the global random state.
    x
        Points (n, *input), inside the domain.
    radius
        Largest 2-norm of the way from a point to where its search may go.
    domain
        The box ``(low, high)`` that contains all inputs, as numbers or tensors that broadcast to one
        input; None for the whole space. A norm attained outside of what a model is used on says
        nothing about it.
    ord
        1, 2 or inf: the norm of the Jacobian.
    starts
        Searches side by side; the points of largest norm are taken, and again from the first if
        there are fewer.
    steps
        Moves of each search.
    seed
        Of the proposals. Equal arguments give equal results on one machine.

    Raises
    ------
    ValueError
        For arguments out of range, points outside of the domain or not finite, and norms at the
        points that are not finite.

    Notes
    -----
    Each step makes two proposals, one after the other, and takes those with which the exact norm
    grows. The first follows the gradient of the Jacobian norm, ``u^T (dJ) v`` for the leading singular
    vectors u and v (signs and unit vectors in their place for the other orders). The Jacobian of a
    piecewise linear net changes only from one linear region to the next, and that gradient is zero;
    so it is taken from a copy whose ReLU modules have round kinks, which points to the regions where
    more is gained. Where there is no gradient either, as with ReLU called as a function, that
    proposal is dropped. The second is a random step, in part along the last one that was successful.
    Lengths grow with success and shrink with failure. Every ten steps the worst quarter of the
    searches restarts from where the best quarter is. A winner on a kink, of which no neighbourhood has
    the slope, gives way to a point beside it, some hundred roundings away.
    """
    _check(radius, starts, steps)
    if in_half_precision(model, x):
        x = x.to(torch.float32)
    box = _box(domain, x)
    with undisturbed(model):
        return _searched(model, x, radius, box, ord, starts, steps, seed)


def _searched(
    model: nn.Module,
    x: Tensor,
    radius: float,
    box: tuple[Tensor, Tensor] | None,
    ord: float,
    starts: int,
    steps: int,
    seed: int,
) -> SearchResult:
    norms_at = JacobianNorms(model, x)
    norms = norms_beside_kinks(norms_at, x, ord=ord)
    refuse_norms(norms)
    order = norms.argsort(descending=True, stable=True).to(x.device)
    best = int(order[0])
    start_value = norms[best].item()
    chosen = order[torch.arange(starts, device=x.device) % len(order)]
    guide = _guide(model, x)
    guide.most_points = norms_at.most_points
    values = norms.to(x.device)[chosen]
    search = _Search(norms_at, guide, x[chosen].detach(), values, radius, box, ord, seed)
    for step in range(steps):
        search.move()
        if step % _RESHUFFLE == _RESHUFFLE - 1:
            search.concentrate()
    winner = int(search.values.argmax())
    point = search.points[winner].clone()
    # alone, as anyone would check it: in another batch sums may be taken in another order
    value = norms_at(point.unsqueeze(0), ord=ord).item()
    if value > start_value:
        point, value = beside_kink(norms_at, point, value, ord=ord, box=box, pull=search.ball(winner))
    if not value > start_value:
        value, point = start_value, x[best].detach().clone()
    norms_at.check(point)
    return SearchResult(value, point, start_value, len(x) + search.evaluations + 1)


_RESHUFFLE = 10
_GROWTH, _DECAY = 1.6, 0.85
_ALONG = 0.7
"""Length of the last successful direction that is added to a random one, which has length 1."""
_KINK_WIDTH = 0.1
"""Width of rounded kinks, relative to the mean modulus of what they are applied to."""


class _Search:
    """Searches (s, *input) side by side, each around its own center."""

    def __init__(
        self,
        norms_at: JacobianNorms,
        guide: Frozen,
        points: Tensor,
        values: Tensor,
        radius: float,
        box: tuple[Tensor, Tensor] | None,
        ord: float,
        seed: int,
    ) -> None:
        self.points = points.clone()
        self.values = values.clone()
        self.evaluations = 0
        self._norms_at = norms_at
        self._guide = guide
        self._centers = points
        self._radius = radius
        self._box = box
        self._ord = ord
        self._random = torch.Generator(points.device).manual_seed(seed)
        self._lengths = torch.full_like(values, radius / 4)
        self._gradient_lengths = torch.full_like(values, radius / 4)
        self._along = torch.zeros_like(points)
        self._smooth = True

    def move(self) -> None:
        """One move of every search."""
        if self._smooth:
            directions = self._ascent()
            self._smooth = bool((directions.flatten(1).abs().amax(1) > 0).any())
            if self._smooth:
                self._gradient_lengths = self._try(directions, self._gradient_lengths)
        noise = torch.randn(
            self.points.shape, generator=self._random, dtype=self.points.dtype, device=self.points.device
        )
        self._lengths = self._try(_unit(_unit(noise) + _ALONG * self._along), self._lengths)

    def concentrate(self) -> None:
        """The worst quarter restarts from where the best quarter is."""
        count = len(self.values) // 4
        if count == 0:
            return
        order = self.values.argsort(descending=True, stable=True)
        best, worst = order[:count], order[-count:]
        for state in (self.points, self.values, self._lengths, self._gradient_lengths, self._along):
            state[worst] = state[best]
        self._centers = self._centers.index_copy(0, worst, self._centers[best])

    def _try(self, directions: Tensor, lengths: Tensor) -> Tensor:
        """Steps of ``lengths`` along unit ``directions`` where the norm grows; the next lengths."""
        proposals = self._confined(self.points + directions * _column(lengths, directions))
        values = self._norms_at(proposals, ord=self._ord).to(self.values.device)
        self.evaluations += len(proposals)
        better = values > self.values
        mask = _column(better, proposals).bool()
        self._along = torch.where(mask, _unit(proposals - self.points), self._along)
        self.points = torch.where(mask, proposals, self.points)
        self.values = torch.where(better, values, self.values)
        return (lengths * torch.where(better, _GROWTH, _DECAY)).clamp(self._radius * 1e-4, self._radius)

    def _confined(self, points: Tensor) -> Tensor:
        """Pulled into the ball, then into the box: that brings no point further from its center."""
        inside = _into_ball(points, self._centers, self._radius)
        return inside if self._box is None else inside.clamp(*self._box)

    def ball(self, number: int) -> Callable[[Tensor], Tensor]:
        """Pulls points (n, *input) into the ball of one of the searches."""
        center = self._centers[number : number + 1]
        return lambda points: _into_ball(points, center, self._radius)

    def _ascent(self) -> Tensor:
        """Unit directions in which the Jacobian norm grows fastest, 0 where it does not change."""
        found = torch.zeros_like(self.points)
        with suppress(RuntimeError):  # a backward pass without a derivative gives no direction
            found = leading_gradients(self._guide, self.points, self._ord)
        return _unit(found.nan_to_num(0.0, 0.0, 0.0))


class _SmoothKink(nn.Module):
    """A leaky ReLU with its kink rounded on the scale of the batch at hand."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self._slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        scale = _KINK_WIDTH * x.detach().abs().mean().clamp_min(torch.finfo(x.dtype).tiny)
        return self._slope * x + (1 - self._slope) * scale * functional.softplus(x / scale)


def _guide(model: nn.Module, x: Tensor) -> Frozen:
    """With gradients of the Jacobian: modules that are ReLU, leaky or not, get round kinks."""
    guide = Frozen(model, x)
    if guide.module is model:  # cannot be copied, nor changed then
        return guide
    guide.module = copy.deepcopy(guide.module)
    for parent in list(guide.module.modules()):
        for name, module in list(parent.named_children()):
            if type(module) in (nn.ReLU, nn.LeakyReLU):
                setattr(parent, name, _SmoothKink(getattr(module, "negative_slope", 0.0)))
    return guide


def _unit(vectors: Tensor) -> Tensor:
    """Each sample over its 2-norm; zero stays zero."""
    norms = torch.linalg.vector_norm(vectors.flatten(1), dim=1)
    return vectors / _column(norms.clamp_min(torch.finfo(vectors.dtype).tiny), vectors)


def _into_ball(points: Tensor, centers: Tensor, radius: float) -> Tensor:
    way = points - centers
    limit = radius * (1 - 8 * torch.finfo(points.dtype).eps)
    lengths = torch.linalg.vector_norm(way.flatten(1), dim=1)
    return centers + way * _column((limit / lengths).clamp(max=1), way)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One number per sample, shaped to multiply the samples."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def _check(radius: float, starts: int, steps: int) -> None:
    if not (radius > 0 and math.isfinite(radius)):
        raise ValueError(
            f"radius must be positive and finite, not {radius}; to search a whole box, give its diagonal"
        )
    if starts < 1:
        raise ValueError(f"starts must be at least 1, not {starts}")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, not {steps}")


def _box(domain: Domain | None, x: Tensor) -> tuple[Tensor, Tensor] | None:
    if not (x.dim() >= 2 and len(x) and x.is_floating_point()):
        raise ValueError(
            f"x must be (n, *input) with n >= 1 and floating, not {tuple(x.shape)} of {x.dtype}"
        )
    refuse_points(x)
    if domain is None:
        return None
    low, high = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in domain)
    for end in (low, high):
        try:
            end.expand(x.shape[1:])
        except RuntimeError:
            raise ValueError(
                f"an end of domain has shape {tuple(end.shape)}, which does not broadcast to one input "
                f"of shape {tuple(x.shape[1:])}"
            ) from None
    if not (low <= high).all():
        raise ValueError("domain must be (low, high) with low <= high everywhere")
    outside = ((x < low) | (x > high)).flatten(1).any(1)
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} of {len(x)} points lie outside of the domain, the first is "
            f"{int(outside.nonzero()[0, 0])}; widen the domain or leave these points out"
        )
    return low, high
