"""What must hold for a norm of a Jacobian to say anything about a model, checked at a few points."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipbounds.frozen import Frozen

Rows = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Precision:
    """How far two computations of the same may differ, relative, and the steps of differences."""

    outputs: float
    slopes: float
    steps: tuple[float, ...]
    """The likeliest to tell, then from long to short, relative to the entries of a point."""


_DOUBLE = _Precision(1e-5, 1e-3, (1e-5, 1e-3, 1e-6, 1e-7))
_SINGLE = _Precision(1e-3, 3e-2, (1e-2, 1e-1, 1e-2, 1e-3))

_ABOVE_NOISE = 20
"""Slopes are compared where they are so many times what rounding may make of them."""

_ROUNDS = 1, 4
"""Random points beside each of two: most models pass at the first."""

_NUDGE = 1e-3
"""Relative distance to a point beside one, which is not on a kink if that one is."""


def refuse_points(x: Tensor) -> None:
    """Raises ValueError for points (n, *input) with entries that are not finite."""
    # the sum is the quicker look: it is finite unless an entry is not or it overflows
    if x.device.type != "meta" and not x.sum().isfinite():
        bad = (~x.isfinite()).flatten(1).any(1)
        if bad.any():
            raise ValueError(
                f"{int(bad.sum())} of {len(x)} points have NaN or infinite entries, the first is "
                f"point {int(bad.nonzero()[0, 0])}; leave these points out, or look at what made them"
            )


def refuse_norms(norms: Tensor) -> None:
    """Raises ValueError for norms of Jacobians (n,) that are not finite."""
    bad = ~norms.isfinite()
    if bad.any():
        raise ValueError(
            f"the norm of the Jacobian is not finite at {int(bad.sum())} of {len(norms)} points, the "
            f"first is point {int(bad.nonzero()[0, 0])}; look at the weights, and for functions whose "
            "slopes are infinite or undefined there, such as square roots at 0"
        )


def check_model(model: nn.Module, frozen: Frozen, x: Tensor) -> None:
    """Looks whether rows of ``model`` depend on their own points only, and have the slopes that
    autograd gives. Sets ``frozen.most_points`` to 1 for a model that takes only one point at a time.

    The look is at two of the points ``x`` (n, *input) and beside them, in float64 where model and device
    allow. It finds what is wrong everywhere; what goes wrong at few points only it may miss. Models with
    kinks or jumps pass: one of several points and steps that agrees is enough, and quotients that do
    not settle as steps shrink say nothing.

    Raises
    ------
    ValueError
        Where outputs change with the other points of the batch or from call to call, and where
        difference quotients contradict the gradients at all points.
    """
    pair = _two_points(x)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), frozen.computing(x.device):
        exact = _double(model, frozen, pair)
        if exact is not None:
            _check(exact, pair, _DOUBLE)
        else:
            _find_most_points(frozen, pair)
            _check(frozen, pair, _precision(frozen))


def check_outputs(frozen: Frozen, x: Tensor) -> None:
    """The part of :func:`check_model` that needs no derivatives."""
    pair = _two_points(x)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), frozen.computing(x.device):
        _find_most_points(frozen, pair)
        if frozen.most_points is None:
            _check_outputs(frozen, frozen.prepared(pair), _precision(frozen).outputs)


def _precision(frozen: Frozen) -> _Precision:
    return _DOUBLE if frozen.dtype == torch.float64 else _SINGLE


def _double(model: nn.Module, frozen: Frozen, pair: Tensor) -> Frozen | None:
    """A copy in float64 if that works at the ``pair``, together and alone."""
    if frozen.dtype == torch.float64 or frozen.module is model or pair.device.type == "mps":
        return None
    with suppress(Exception):  # user code that insists on its own precision
        double = frozen.in_double()
        found = [double(double.prepared(points)) for points in (pair, pair[:1], pair[1:])]
        return double if all(rows.dtype == torch.float64 for rows in found) else None
    return None


def _find_most_points(frozen: Frozen, pair: Tensor) -> None:
    try:
        frozen(frozen.prepared(pair))
    except Exception as error:
        try:
            frozen(frozen.prepared(pair[:1]))
        except Exception:
            if isinstance(error, ValueError):
                raise error from None
            raise ValueError(
                f"the model cannot be called on points of shape {tuple(pair.shape)}: {error}"
            ) from error
        frozen.most_points = 1


def _check(frozen: Frozen, pair: Tensor, precision: _Precision) -> None:
    if frozen.most_points is None:
        _check_outputs(frozen, frozen.prepared(pair), precision.outputs)
    _check_slopes(frozen, pair, precision)


def _check_outputs(frozen: Frozen, pair: Tensor, tolerance: float) -> None:
    together = frozen(pair)
    if _differ(frozen(pair), together, tolerance):
        raise ValueError(
            "two calls at the same points give different outputs: the model is random or keeps a state "
            "in eval mode, and has no Jacobian; switch noise and functional dropout off "
            "(functional.dropout is on unless training=self.training is handed to it)"
        )
    try:
        alone = torch.cat([frozen(point) for point in pair.split(1)])
    except Exception as error:
        raise ValueError(f"the model takes two points but not one alone ({error}); {_MIXING}") from error
    if _differ(alone, together, tolerance):
        raise ValueError(f"the output at a point changes with the other points of the batch; {_MIXING}")


_MIXING = (
    "samples mix, as with BatchNorm without running statistics or x - x.mean(0), so that no Jacobian "
    "belongs to a single point. Use running statistics, or wrap the model so that points stay apart"
)


def _differ(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether rows are further apart than ``tolerance`` times the largest entry; NaN equals NaN."""
    if found.shape != expected.shape:
        return True
    scale = expected.nan_to_num(0.0, 0.0, 0.0).abs().max().item()
    return not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _check_slopes(frozen: Frozen, pair: Tensor, precision: _Precision) -> None:
    """Compares ``u^T J v`` of random u and v with differences, at random points beside the pair."""
    pair, random = frozen.prepared(pair), torch.Generator().manual_seed(0)
    outputs = frozen(pair[:1]).shape[1]
    for copies in _ROUNDS:
        points = pair.repeat_interleave(copies, 0)
        points = points + _NUDGE * _size(pair) * _noise(points, random)
        directions = _size(pair) * _noise(points, random)
        weights = torch.randn(len(points), outputs, generator=random).to(points)
        line = _Line(frozen, points, directions, weights)
        if line.agrees(precision):
            return
    contradiction = line.contradiction()
    if contradiction is not None:
        slope, quotient = contradiction
        raise ValueError(
            f"gradients contradict outputs at all {len(points)} points looked at: along one direction "
            f"autograd gives the slope {slope:.4g} and the outputs change by {quotient:.4g}. Look for "
            "an autograd.Function whose backward is not the derivative of its forward (straight-through "
            "estimators among them), detach() and no_grad()"
        )


class _Line:
    """Weighted sums of outputs on lines ``points + t directions``, one a point, and their slopes."""

    def __init__(self, frozen: Frozen, points: Tensor, directions: Tensor, weights: Tensor) -> None:
        self._frozen, self._points = frozen, points
        self._directions, self._weights = directions, weights
        gradients, sizes = _gradients(frozen, points, weights)
        self._slopes = (gradients * directions).flatten(1).sum(1)
        self._roundings = 64 * torch.finfo(points.dtype).eps * sizes
        self._telling = torch.zeros_like(self._slopes, dtype=torch.bool)
        self._quotients = torch.full_like(self._slopes, torch.nan)

    def agrees(self, precision: _Precision) -> bool:
        """Whether a difference quotient is a slope that is not zero, for some step at some point."""
        before = torch.full_like(self._slopes, torch.nan)
        for step in precision.steps:
            quotients, noise = (self._at(step) - self._at(-step)) / (2 * step), self._roundings / step
            seen = torch.maximum(self._slopes.abs(), quotients.abs()) > _ABOVE_NOISE * noise
            close = _close(self._slopes, quotients, precision.slopes, noise)
            if (seen & close).any():
                return True
            # nothing is said by quotients that still change, as those across a jump do, nor by one that
            # agrees with what was noise at the step before
            settled = _close(before, quotients, precision.slopes, noise)
            telling = seen & settled & ~close & self._slopes.isfinite()
            self._quotients = torch.where(telling, quotients, self._quotients)
            self._telling |= telling
            before = torch.where(seen, quotients, torch.nan)
        return False

    def contradiction(self) -> tuple[float, float] | None:
        """A slope and the quotient to which the steps settled, if there are any."""
        if not self._telling.any():
            return None
        first = int(self._telling.nonzero()[0, 0])
        return self._slopes[first].item(), self._quotients[first].item()

    def _at(self, shift: float) -> Tensor:
        parts = self._frozen.chunks(self._points + shift * self._directions, len(self._points))
        return (torch.cat([self._frozen(part) for part in parts]) * self._weights).sum(1)


def _close(first: Tensor, second: Tensor, relative: float, noise: Tensor) -> Tensor:
    largest = torch.maximum(first.abs(), second.abs())
    return (first - second).abs() <= relative * largest + noise


def _gradients(frozen: Frozen, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Of the weighted sums of outputs, the shape of ``points``, and the sums of moduli (n,)."""
    gradients, sizes = [], []
    parts = frozen.chunks(points, len(points))
    for part, weight in zip(parts, weights.split([len(part) for part in parts]), strict=True):
        with torch.enable_grad():
            inputs = part.requires_grad_()
            outputs = _differentiable(frozen, inputs)
        gradients.append(_gradient(outputs, inputs, weight.to(outputs.dtype)))
        sizes.append((outputs.detach() * weight).abs().sum(1))
    return torch.cat(gradients), torch.cat(sizes)


def _differentiable(frozen: Frozen, inputs: Tensor) -> Tensor:
    try:
        return frozen(inputs)
    except RuntimeError as error:  # it did run without gradients
        raise ValueError(f"autograd cannot differentiate the model: {error}") from error


def _gradient(outputs: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    if not outputs.requires_grad:
        return torch.zeros_like(inputs)
    try:
        (gradient,) = torch.autograd.grad(outputs, inputs, weight, allow_unused=True)
    except RuntimeError as error:
        raise ValueError(f"autograd cannot differentiate the model: {error}") from error
    return torch.zeros_like(inputs) if gradient is None else gradient


def _two_points(x: Tensor) -> Tensor:
    """The first point and the one furthest from it, or one beside it if there is no other."""
    first = x[:1].detach()
    distances = (x.detach() - first).flatten(1).abs().amax(1)
    other = int(distances.argmax())
    if distances[other] > 0:
        return torch.cat([first, x[other : other + 1].detach()])
    noise = _noise(first, torch.Generator().manual_seed(1))
    return torch.cat([first, first + 0.1 * _size(first) * noise])


def _size(points: Tensor) -> Tensor:
    """Root mean square of the entries, 1 if all are zero."""
    largest = points.abs().max()
    if largest == 0:
        return torch.ones_like(largest)
    return largest * (points / largest).square().mean().sqrt()


def _noise(like: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=random).to(like)
