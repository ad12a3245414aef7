"""Float64 scalar arithmetic rounded upward, and Higham's error terms.

Python floats round to nearest, so the next larger float of a computed sum, product, quotient or
root is an upper bound of the exact one.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

UNIT_ROUNDOFF = 2.0**-53
"""u, the relative error of one float64 operation."""


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
    """Upper bound of a sum of non-negative floats; 0 is exact."""
    total = 0.0
    for value in values:
        total = value if total == 0 else (up(total + value) if value else total)
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
    if matrix.is_complex():
        matrix = torch.view_as_real(matrix)
    return up(up(matrix.square().sum().item()) / (1 - gamma(matrix.numel() + 2)))
