"""Interval arithmetic on stacks of float64 intervals, rounded outward.

Sums and products that are exact are not widened, so that 1 - 1 is 0 and a comparison with it is decided.
Where nothing is known, as of 0 times infinity, an interval is the whole line.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

_LIBRARY = 1e-13
"""Relative error of float64 functions of a library, and of exp(-x^2) by two of them, generously."""

_TINY = 1e-290
"""Below this what a product lacks may be no float."""

_SPLIT = 2.0**27 + 1


@dataclass(frozen=True)
class Interval:
    """All of [low, high], one for each entry of two float64 tensors of one shape."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, low: Tensor, high: Tensor) -> "Interval":
        """Ends that are no number are infinite."""
        return cls(
            low.nan_to_num(-torch.inf, torch.inf, -torch.inf),
            high.nan_to_num(torch.inf, torch.inf, -torch.inf),
        )

    @classmethod
    def point(cls, value: float, like: Tensor) -> "Interval":
        """The number alone, as often as ``like`` has entries."""
        return cls(torch.full_like(like, value), torch.full_like(like, value))

    @classmethod
    def line(cls, like: Tensor) -> "Interval":
        """Nothing known."""
        return cls(torch.full_like(like, -torch.inf), torch.full_like(like, torch.inf))

    def __neg__(self) -> "Interval":
        return Interval(-self.high, -self.low)

    def __add__(self, other: "Interval") -> "Interval":
        return Interval.of(_sum(self.low, other.low)[0], _sum(self.high, other.high)[1])

    def __sub__(self, other: "Interval") -> "Interval":
        return self + -other

    def __mul__(self, other: "Interval") -> "Interval":
        products = [_product(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        unknown = reduce(torch.logical_or, [low.isnan() for low, _ in products])
        low = reduce(torch.minimum, [low for low, _ in products])
        high = reduce(torch.maximum, [high for _, high in products])
        return self._line_where(unknown, low, high)

    def inverse(self) -> "Interval":
        """1 / x; the whole line where x may be 0."""
        ones = torch.ones_like(self.low)
        ends = _down(ones / self.high), _up(ones / self.low)
        return self._line_where((self.low <= 0) & (self.high >= 0), *ends)

    def magnitude(self) -> "Interval":
        """|x|."""
        straddles = (self.low < 0) & (self.high > 0)
        low = torch.minimum(self.low.abs(), self.high.abs())
        return Interval(low.masked_fill(straddles, 0.0), torch.maximum(self.low.abs(), self.high.abs()))

    def hull(self, other: "Interval") -> "Interval":
        """The least that contains both."""
        return Interval(torch.minimum(self.low, other.low), torch.maximum(self.high, other.high))

    def within(self, low: float, high: float) -> "Interval":
        """Cut off, for values that are known to lie there."""
        return Interval(self.low.clamp(low, high), self.high.clamp(low, high))

    def increasing(
        self,
        function: Callable[[Tensor], Tensor],
        least: float = -math.inf,
        most: float = math.inf,
        error: float = 0.0,
    ) -> "Interval":
        """Image under an increasing function of a library, whose values are between ``least`` and
        ``most``; the whole line where it has no value. It may be wrong by ``error``, relative to its
        values or to 1, besides the rounding of float64."""
        low, high = function(self.low), function(self.high)
        spare_low, spare_high = (
            _LIBRARY * end.abs() + _TINY + error * (1 + end.abs()) for end in (low, high)
        )
        image = Interval.of(low - spare_low, high + spare_high).within(least, most)
        return self._line_where(low.isnan() | high.isnan(), image.low, image.high)

    def is_line(self) -> Tensor:
        """Where nothing is known."""
        return (self.low == -torch.inf) & (self.high == torch.inf)

    def decreasing(self, function: Callable[[Tensor], Tensor]) -> "Interval":
        """Image under a decreasing function of a library."""
        return -self.increasing(lambda x: -function(x))

    def where(self, condition: Tensor, other: "Interval") -> "Interval":
        """These for which the condition holds, else those of ``other``."""
        return Interval(
            torch.where(condition, self.low, other.low), torch.where(condition, self.high, other.high)
        )

    def _line_where(self, unknown: Tensor, low: Tensor, high: Tensor) -> "Interval":
        return Interval.of(low.masked_fill(unknown, -torch.inf), high.masked_fill(unknown, torch.inf))


def _down(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, -torch.inf))


def _up(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, torch.inf))


def _around(value: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """The floats below and above ``value + error`` (Knuth's and Dekker's exact errors)."""
    return torch.where(error >= 0, value, _down(value)), torch.where(error <= 0, value, _up(value))


def _sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    total = a + b
    part = total - a
    return _around(total, (a - (total - part)) + (b - part))


def _product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    nothing = ((a == 0) & b.isfinite()) | ((b == 0) & a.isfinite())
    underflows = product.abs() < _TINY
    return _around(product, error.masked_fill(underflows, torch.nan).masked_fill(nothing, 0.0))


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    large = _SPLIT * a
    high = large - (large - a)
    return high, a - high
