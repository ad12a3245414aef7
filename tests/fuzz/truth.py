"""What is known of a constant from calls of the model alone: difference quotients."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from tests.fuzz.builder import Shape

_LEAST_STEP = 1e-5
"""Of the size of the points; below it the rounding of float64 would count."""

_ROUNDING = 1e-12
"""Error of a result relative to its norm, generously."""


@dataclass(frozen=True)
class Ball:
    """Where points may lie: the norm and the radius, infinite for everywhere."""

    shape: Shape
    ord: float
    radius: float

    @property
    def size(self) -> float:
        """The length of typical steps."""
        return self.radius if self.radius < math.inf else 3.0

    def norm(self, x: Tensor) -> float:
        return torch.linalg.vector_norm(x, self.ord).item()

    def point(self, generator: torch.Generator) -> Tensor:
        """Spread over the ball, with entries that are 0 now and then."""
        x = torch.randn(1, *self.shape, generator=generator, dtype=torch.float64)
        if torch.rand((), generator=generator) < 0.3:
            x = x * (torch.rand(x.shape, generator=generator) < 0.5)
        share = torch.rand((), generator=generator).item() ** 0.5
        return x * (share * self.size / max(self.norm(x), 1e-300))

    def within(self, x: Tensor) -> Tensor:
        """The point itself, or the nearest on the same ray that is in the ball."""
        norm = self.norm(x)
        limit = self.radius * (1 - 1e-12)
        return x if norm <= limit else x * (limit / norm)


@dataclass(frozen=True)
class Quotient:
    """The largest quotient seen and the two points that it belongs to."""

    value: float
    x: Tensor
    y: Tensor


def outputs(result: Any) -> Tensor | None:
    """All floating-point tensors of a result as one vector, None without any."""
    parts = [
        leaf.detach().double().flatten()
        for leaf in tree_flatten(result)[0]
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    return torch.cat(parts) if parts else None


def largest_quotient(model: nn.Module, ball: Ball, seed: int, points: int = 6) -> Quotient | None:
    """The best of random segments, halved towards where they are steep, and of singular vectors.

    None for a model that does not run, or gives values that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)

    def run(x: Tensor) -> Tensor | None:
        with torch.no_grad():
            value = outputs(model(x.clone()))
        return value if value is not None and bool(value.isfinite().all()) else None

    best: Quotient | None = None
    for x, y in _segments(model, ball, generator, points):
        found = _steepest_part(run, ball, x, y)
        if found is not None and (best is None or found.value > best.value):
            best = found
    if best is not None:
        best = _climbed(run, ball, best, generator)
    return best


def _segments(
    model: nn.Module, ball: Ball, generator: torch.Generator, points: int
) -> Iterator[tuple[Tensor, Tensor]]:
    for number in range(points):
        x = ball.point(generator)
        yield x, ball.point(generator)
        step = ball.point(generator) * 10.0 ** -(number % 4)
        yield x, ball.within(x + step)
        if number % 3 == 0:
            for direction in _steep_directions(model, x, ball.ord):
                for scale in (0.3, 1e-3):
                    ahead = ball.within(x + scale * ball.size * direction)
                    yield x, ahead
                    yield ball.within(x - scale * ball.size * direction), ahead
    zero = torch.zeros(1, *ball.shape, dtype=torch.float64)
    for entry in range(min(4, zero.numel())):
        unit = zero.clone()
        unit.view(-1)[entry] = 0.5 * ball.size
        yield zero, unit
        yield -unit, unit


def _steep_directions(model: nn.Module, x: Tensor, ord: float) -> list[Tensor]:
    """Where the Jacobian at x stretches most; none where autograd does not get through."""

    def run(point: Tensor) -> Tensor:
        leaves = [leaf for leaf in tree_flatten(model(point * 1.0))[0] if isinstance(leaf, Tensor)]
        return torch.cat([leaf.flatten() for leaf in leaves if leaf.is_floating_point()])

    try:
        jacobian = torch.autograd.functional.jacobian(run, x)
    except Exception:
        return []
    matrix = jacobian.reshape(jacobian.shape[0], -1)
    if not matrix.isfinite().all() or matrix.numel() == 0:
        return []
    if ord == 2:
        direction = torch.linalg.svd(matrix)[2][0]
    elif ord == 1:
        direction = torch.eye(matrix.shape[1], dtype=matrix.dtype)[matrix.abs().sum(0).argmax()]
    else:
        direction = matrix[matrix.abs().sum(1).argmax()].sign()
    return [direction.view(x.shape)]


def _steepest_part(
    run: Callable[[Tensor], Tensor | None], ball: Ball, x: Tensor, y: Tensor
) -> Quotient | None:
    """Halves a segment, keeping the steeper half: towards a kink, or a jump."""
    a, b = run(x), run(y)
    best: Quotient | None = None
    for _ in range(12):
        length = ball.norm(x - y)
        if a is None or b is None or a.shape != b.shape or length < _LEAST_STEP * ball.size:
            break
        value = _quotient(ball, a, b, length)
        if best is None or value > best.value:
            best = Quotient(value, x, y)
        middle = (x + y) / 2
        m = run(middle)
        if m is None or m.shape != a.shape:
            break
        if ball.norm(a - m) > ball.norm(m - b):
            y, b = middle, m
        else:
            x, a = middle, m
    return best


def _quotient(ball: Ball, a: Tensor, b: Tensor, length: float) -> float:
    noise = _ROUNDING * (ball.norm(a) + ball.norm(b))
    return max(0.0, ball.norm(a - b) - noise) / length


def _climbed(
    run: Callable[[Tensor], Tensor | None], ball: Ball, best: Quotient, generator: torch.Generator
) -> Quotient:
    """Both points moved at random as long as that helps."""
    for trial in range(30):
        size = ball.norm(best.x - best.y) * 10.0 ** -(trial % 2)
        moved = [ball.within(p + size * ball.point(generator) / ball.size) for p in (best.x, best.y)]
        a, b = run(moved[0]), run(moved[1])
        length = ball.norm(moved[0] - moved[1])
        if a is None or b is None or a.shape != b.shape or length < _LEAST_STEP * ball.size:
            continue
        value = _quotient(ball, a, b, length)
        if value > best.value:
            best = Quotient(value, *moved)
    return best


class _Largest(TorchDispatchMode):
    """Keeps the largest norm of all that is computed."""

    def __init__(self, ball: Ball) -> None:
        super().__init__()
        self.ball, self.norm = ball, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            norm = self.ball.norm(result.detach().flatten())
            self.norm = max(self.norm, norm) if math.isfinite(norm) else self.norm
        return result


def without_rounding(model: nn.Module, ball: Ball, found: Quotient) -> Quotient:
    """The same quotient less what rounding may have made of it: of any value on the way, since a
    difference of large numbers may be small."""
    with torch.no_grad(), _Largest(ball) as largest:
        for point in (found.x, found.y):
            model(point.clone())
    rest = found.value - 64 * torch.finfo(torch.float64).eps * largest.norm / ball.norm(
        found.x - found.y
    )
    return Quotient(max(0.0, rest), found.x, found.y)


def paired_quotient(model: nn.Module, ball: Ball, seed: int) -> float:
    """Of the function of two samples at once, of which one moves; 0 where it takes one only."""
    generator = torch.Generator().manual_seed(seed)
    best = 0.0
    for _ in range(6):
        x, y, other = (ball.point(generator) for _ in range(3))
        try:
            with torch.no_grad():
                a, b = outputs(model(torch.cat([x, other]))), outputs(model(torch.cat([y, other])))
        except Exception:
            return best
        if (
            a is None
            or b is None
            or a.shape != b.shape
            or not (a.isfinite().all() and b.isfinite().all())
        ):
            continue
        best = max(best, _quotient(ball, a, b, ball.norm(x - y)))
    return best
