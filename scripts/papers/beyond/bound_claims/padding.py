"""Convolutions with circular padding, with zero padding, and on inputs of any size."""

import math

import torch

from lipbounds.operator_norm import conv2d_norm
from lipbounds.operator_norm.competitors import sedghi
from lipbounds.operator_norm.gram import toeplitz_gram_norm
from papers.beyond.bound_claims.evidence import (
    DELATTRE_2023,
    DELATTRE_2024,
    T_INTERVAL,
    Evidence,
    claim,
    universal,
    within,
)
from papers.beyond.bound_claims.instances import ROUNDING, normal


@claim(
    "B5",
    DELATTRE_2023,
    "The circular bound also bounds the layer with zero padding and the same input size",
    figure="padding",
)
def circular_bounds_zero_padding(instances: int, generator: torch.Generator) -> Evidence:
    """On kernels near q q^T with q = (1, -1, 1) and inputs 3 x 3 (a search for a counterexample, not
    a typical case). Holds if the norm with circular padding is at least a lower bound of the norm
    with zero padding on each."""
    alternating = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    violated = []
    for _ in range(instances):
        kernel = torch.outer(alternating, alternating) + 0.2 * normal(generator, 3, 3)
        kernel = kernel[None, None]
        zero = conv2d_norm(kernel, 3, padding=1, method="lanczos").value
        violated.append(zero > sedghi(kernel, 3).value * (1 + ROUNDING))
    return universal(violated)


@claim(
    "D1",
    DELATTRE_2024,
    "norm2toep bounds circular and zero padding, for any number of steps",
    figure="padding",
)
def norm2toep_is_above(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random kernel, also with unequal sides, norm2toep after 1 to 4 steps is at
    least the norm with circular padding on a 32 x 32 grid, and the norm with zero padding."""
    violated = []
    for index in range(instances):
        sides = ((3, 3), (5, 1), (1, 3), (3, 5))[index % 4]
        kernel = normal(generator, 2, 3, *sides)
        circular = sedghi(kernel, 32).value
        padding = (sides[0] // 2, sides[1] // 2)
        zero = conv2d_norm(kernel, 8, padding=padding, method="lanczos").value
        least = min(toeplitz_gram_norm(kernel, steps=steps).item() for steps in range(1, 5))
        violated.append(least < max(circular, zero) * (1 - ROUNDING))
    return universal(violated)


@claim(
    "D2",
    DELATTRE_2024,
    "norm2toep converges quadratically",
    figure="padding",
    since="2026-11-28",
    changes=T_INTERVAL,
)
def norm2toep_is_quadratic(instances: int, generator: torch.Generator) -> Evidence:
    """Ratio of the last two errors of norm2toep (T = 7 and 8) on random kernels over one axis, which
    tends to 0 where convergence is quadratic. Holds if the interval of its mean lies below 0.1, and
    does not hold if it lies above."""
    ratios = []
    for _ in range(instances):
        kernel = normal(generator, 3, 3, 1, 3)
        true = sedghi(kernel, (1, 2048)).value
        errors = [toeplitz_gram_norm(kernel, steps=steps).item() - true for steps in (7, 8)]
        ratios.append(errors[1] / errors[0])
    return within(ratios, -math.inf, 0.1, "mean ratio of an error to the one before")


@claim(
    "D3",
    DELATTRE_2024,
    "The circular norm on n x n times 1 / (1 - 2 floor(k/2) / n) bounds every input size",
    figure="padding",
)
def circular_to_any_size(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random kernel of side 3 or 5 the norm with circular padding on a 64 x 64 grid
    is at most 1 / (1 - 2 floor(k/2) / n) times that on n x n, n = k + 2 or 12."""
    violated = []
    for index in range(instances):
        side = 3 + 2 * (index % 2)
        size = side + 2 if index % 4 < 2 else 12
        kernel = normal(generator, 2, 2, side, side)
        bound = sedghi(kernel, size).value / (1 - 2 * (side // 2) / size)
        violated.append(sedghi(kernel, 64).value > bound * (1 + ROUNDING))
    return universal(violated)
