"""Float64 scalar arithmetic rounded upward, and Higham's error terms.

Python floats round to nearest, so the next larger float of a computed sum, product, quotient or
root is an upper bound of the exact one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

UNIT_ROUNDOFF = 2.0**-53
"""u, the relative error of one float64 operation."""

_SMALLEST = 2.0**-1074
"""The least positive float64."""


def up(value: float) -> float:
    """The next larger float: turns a correctly rounded result into an upper bound."""
    return math.nextafter(value, math.inf)


def down(value: float) -> float:
    """The next smaller float: turns a correctly rounded result into a lower bound."""
    return math.nextafter(value, -math.inf)


def gamma(terms: int) -> float:
    """Higham's gamma_n = n u / (1 - n u), rounded up: the relative error of n-term inner products."""
    product = terms * UNIT_ROUNDOFF
    return up(product / (1 - product))


def sum_up(values: Iterable[float]) -> float:
    """Upper bound of a sum of non-negative floats, exact where no rounding occurs."""
    total = 0.0
    for value in values:
        before, total = total, total + value
        if total < math.inf:
            # the exact error of the addition (Knuth's TwoSum)
            shown = total - before
            if (before - (total - shown)) + (value - shown) > 0:
                total = up(total)
    return total


def product_up(values: Iterable[float]) -> float:
    """Upper bound of a product of non-negative floats; powers of two stay exact; 0 wins over inf."""
    factors = list(values)
    if 0.0 in factors:
        return 0.0
    total = 1.0
    for value in factors:
        exact = math.frexp(value)[0] == 0.5 or math.frexp(total)[0] == 0.5
        product = total * value
        total = product if exact and 1e-300 < product < math.inf else up(product)
    return total


def quotient_up(numerator: float, denominator: float) -> float:
    """Upper bound of a quotient; inf for a denominator of 0."""
    if denominator == 0:
        return math.inf
    quotient = numerator / denominator
    return quotient if quotient * denominator == numerator and denominator == 1 else up(quotient)


def sqrt_up(value: float) -> float:
    """Upper bound of a square root; exact for the squares of small integers."""
    root = math.sqrt(value)
    return root if root.is_integer() and root < 2**26 and root * root == value else up(root)


def log10_up(value: float) -> float:
    """Upper bound of log10 (the library's own is within one unit in the last place)."""
    if value == 0:
        return -math.inf
    if value == math.inf:
        return math.inf
    return 0.0 if value == 1 else up(up(math.log10(value)))


def squared_frobenius_upper(matrix: Tensor) -> float:
    """Upper bound of the sum of squared moduli of a float64 or complex128 tensor."""
    if not matrix.any():
        return 0.0
    if matrix.is_complex():
        matrix = torch.view_as_real(matrix)
    norm = torch.linalg.vector_norm(matrix).item()  # without the squares in memory
    lost = matrix.numel() * _SMALLEST  # by squares that underflow
    return up(up(norm * norm + lost) / (1 - gamma(matrix.numel() + 6)))


@dataclass(frozen=True)
class Extended:
    """A non-negative number ``fraction * 2**exponent`` that does not overflow; sums and products of
    them are rounded upward. ``fraction`` lies in [1/2, 1), or is 0 or inf."""

    fraction: float
    exponent: int = 0

    @classmethod
    def of(cls, value: float) -> Self:
        """From a float, exactly."""
        if not math.isfinite(value):
            return cls(math.inf)
        return cls(*math.frexp(value))

    def __mul__(self, other: "Extended") -> "Extended":
        if 0 in (self.fraction, other.fraction):
            return Extended(0.0)
        fraction, exponent = math.frexp(product_up([self.fraction, other.fraction]))
        return Extended(fraction, self.exponent + other.exponent + exponent)

    def __add__(self, other: "Extended") -> "Extended":
        if self.fraction == 0 or other.fraction == 0:
            return other if self.fraction == 0 else self
        large, small = sorted((self, other), key=lambda number: number.sort_key, reverse=True)
        if large.fraction == math.inf:
            return large
        shift = max(small.exponent - large.exponent, -1000)
        total = sum_up([large.fraction, math.ldexp(small.fraction, shift)])
        fraction, exponent = math.frexp(total)
        return Extended(fraction, large.exponent + exponent)

    def __lt__(self, other: "Extended") -> bool:
        return self.sort_key < other.sort_key

    @property
    def sort_key(self) -> tuple[float, int, float]:
        """Orders as the numbers are ordered."""
        kind = {0.0: 0, math.inf: 2}.get(self.fraction, 1)
        return (kind, self.exponent, self.fraction)

    def sqrt(self) -> "Extended":
        """Upper bound of the square root."""
        if self.fraction in (0, math.inf):
            return self
        odd = self.exponent % 2
        fraction, exponent = math.frexp(sqrt_up(self.fraction * (1 + odd)))
        return Extended(fraction, (self.exponent - odd) // 2 + exponent)

    @property
    def value(self) -> float:
        """As a float, rounded up; inf where it does not fit."""
        try:
            value = math.ldexp(self.fraction, self.exponent)
        except OverflowError:
            return math.inf
        exact = self.fraction == 0 or value > 1e-300
        return value if exact else up(value)

    @property
    def log10(self) -> float:
        """Upper bound of the decimal logarithm."""
        if self.fraction in (0, math.inf):
            return log10_up(self.fraction)
        if self.exponent == 1 and self.fraction == 0.5:
            return 0.0
        factor = _LOG10_2_HIGH if self.exponent > 0 else _LOG10_2_LOW
        return up(up(up(self.exponent * factor) + log10_up(self.fraction)))


_LOG10_2_LOW, _LOG10_2_HIGH = 0.30102999566398114, 0.30102999566398125
