"""Operator norms of linear maps."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["upper", "lower", "estimate"]

_UNIT_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class OperatorNorm:
    """A bound on an operator norm.

    ``kind`` says on which side of the true norm ``value`` lies (``estimate``: not known);
    ``certified`` is True only when that is proved, rounding errors included.
    """

    value: float
    kind: Kind
    certified: bool


def linear_norm(weight: Tensor, *, ord: float = 2, method: str = "certified") -> OperatorNorm:
    """Induced norm of the matrix ``weight`` (out, in), any real floating dtype.

    Methods
    -------
    certified
        Upper bound, proved with rounding. For ``ord=2`` it exceeds the spectral norm by a relative
        1e-10 or less at the sizes of the papers' nets: float64 eigenvalues of the smaller Gram
        matrix, then a Cholesky factorisation as the certificate (Rump, Verification of positive
        definiteness, BIT 46, 2006). For 1 and inf the largest column or row sum, rounded up.
    power
        Power iteration (``ord=2`` only) to a relative step of 1e-12: approaches the norm from
        below, so the result is a ``lower`` bound. For comparison with published numbers.

    Raises
    ------
    ValueError
        For an unknown method or order, an empty or non-matrix weight, or NaN or infinite entries.
    """
    matrix = _checked(weight)
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if method == "certified":
        value = _spectral_norm_upper(matrix) if ord == 2 else _sum_norm_upper(matrix, ord)
        return OperatorNorm(value, "upper", certified=True)
    if method == "power" and ord == 2:
        return OperatorNorm(_power_iteration(matrix), "lower", certified=False)
    raise ValueError(f"no method {method!r} for ord={ord}; use certified, or power with ord=2")


def _checked(weight: Tensor) -> Tensor:
    if weight.dim() != 2 or weight.numel() == 0:
        raise ValueError(f"weight must be a non-empty matrix, not {tuple(weight.shape)}")
    matrix = weight.detach().to(torch.float64)
    if not matrix.isfinite().all():
        raise ValueError("weight has NaN or infinite entries")
    return matrix


def _sum_norm_upper(matrix: Tensor, ord: float) -> float:
    dim = 0 if ord == 1 else 1
    total = matrix.abs().sum(dim).max().item()
    return up(total * (1 + _gamma(matrix.shape[dim])))


def _spectral_norm_upper(matrix: Tensor) -> float:
    """Upper bound of the spectral norm of a float64 matrix, proved with rounding.

    With A scaled by a power of two (exact), G = fl(A A^T) and t slightly above its top eigenvalue,
    a Cholesky factorisation of fl(t I - G) that runs to its end proves
    ``lambda_max(A A^T) <= t + u t + alpha m t + gamma_n |A|_F^2``: the rounding of the diagonal,
    Rump's bound for the factorisation with alpha = gamma_{m+1} / (1 - gamma_{m+1}), and that of
    the product. The factor 1 + 16 u and a tiny constant cover the evaluation of this sum and
    underflow.
    """
    largest = matrix.abs().max().item()
    if largest == 0:
        return 0.0
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    exponent = math.frexp(largest)[1]
    # in two steps: one power of two alone may overflow for subnormal entries
    half = -exponent // 2
    scaled = matrix * math.ldexp(1.0, half) * math.ldexp(1.0, -exponent - half)
    rows, columns = scaled.shape
    gram = scaled @ scaled.T
    frobenius_squared = scaled.square().sum().item() / (1 - _gamma(rows * columns))
    top = torch.linalg.eigvalsh(gram)[-1].item()
    alpha = _gamma(rows + 1) / (1 - _gamma(rows + 1))
    slack = 4 * alpha * rows
    while True:
        bound = top * (1 + slack)
        shifted = -gram
        shifted.diagonal().add_(bound)
        if torch.linalg.cholesky_ex(shifted).info.item() == 0:
            break
        slack *= 2
    squared = bound * (1 + _UNIT_ROUNDOFF + alpha * rows) + _gamma(columns) * frobenius_squared
    root = up(math.sqrt(squared * (1 + 16 * _UNIT_ROUNDOFF) + 1e-290))
    try:
        return up(math.ldexp(root, exponent))
    except OverflowError:
        return math.inf


def _power_iteration(matrix: Tensor, steps: int = 10_000) -> float:
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator, dtype=torch.float64)
    vector = vector.to(matrix.device)
    value = 0.0
    for _ in range(steps):
        vector /= vector.norm()
        image = matrix @ vector
        previous, value = value, image.norm().item()
        if value - previous <= 1e-12 * value:
            break
        vector = matrix.T @ image
    return value


def _gamma(terms: int) -> float:
    """Higham's gamma_n = n u / (1 - n u), rounded up."""
    product = terms * _UNIT_ROUNDOFF
    return up(product / (1 - product))


def up(value: float) -> float:
    """The next larger float: turns a correctly rounded result into an upper bound."""
    return math.nextafter(value, math.inf)
