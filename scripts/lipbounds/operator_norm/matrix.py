"""Norms of matrices."""

import math
from contextlib import nullcontext

import torch
from torch import Tensor

from lipbounds.operator_norm.certificate import top_eigenvalue_upper
from lipbounds.operator_norm.result import OperatorNorm
from lipbounds.rounding import UNIT_ROUNDOFF, gamma, squared_frobenius_upper, up
from lipbounds.threads import one_thread

_BLOCK = 512
"""Rows of a large Gram matrix that are computed at a time."""

_SAFE_EXPONENT = 64
"""Of the largest entry, up to which matrices are left as they are: copies of large ones take long."""

_SMALL = 128
"""Rows up to which several threads would only wait for each other."""


def linear_norm(weight: Tensor, *, ord: float = 2, method: str = "certified") -> OperatorNorm:
    """Induced norm of the matrix ``weight`` (out, in), any real floating dtype.

    Methods
    -------
    certified
        Upper bound, proved with rounding. For ``ord=2`` it exceeds the spectral norm by a relative
        1e-10 or less at the sizes of the papers' nets: float64 eigenvalues of the smaller Gram
        matrix, then a Cholesky factorisation as the certificate (after Rump, Verification of
        positive definiteness, BIT 46, 2006). For 1 and inf the largest column or
        row sum, rounded up.
    power
        Power iteration (``ord=2`` only) to a relative step of 1e-12: approaches the norm from
        below, so the result is a ``lower`` bound. For comparison with published numbers.

    Raises
    ------
    ValueError
        For an unknown method or order, an empty or non-matrix weight, another than a real floating
        dtype, or NaN or infinite entries.
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
    if not weight.is_floating_point():
        raise ValueError(f"weight must be real and floating, not {weight.dtype}")
    matrix = weight.detach().cpu().to(torch.float64)
    if not math.isfinite(_largest_modulus(matrix)):
        raise ValueError("weight has NaN or infinite entries")
    return matrix


def _sum_norm_upper(matrix: Tensor, ord: float) -> float:
    dim = 0 if ord == 1 else 1
    total = matrix.abs().sum(dim).max().item()
    return up(total * (1 + gamma(matrix.shape[dim])))


def _spectral_norm_upper(matrix: Tensor) -> float:
    """Upper bound of the spectral norm of a float64 matrix, proved with rounding.

    With A the matrix, scaled by a power of two where squares may over- or underflow (entries 2**-1022
    times the largest may be rounded), and G the computed Gram matrix of its shorter rows of length n,
    ``|G - A A^T| <= gamma_n |A|_F^2`` in any order of summation. A factor 1 + 16 u covers the evaluation
    of the sum and the entries lost in scaling.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    scaled, exponent = scaled_to_one(matrix)
    if exponent is None:
        return 0.0
    with one_thread() if len(scaled) <= _SMALL else nullcontext():
        top, _ = top_eigenvalue_upper(_gram(scaled).unsqueeze(0))
    squared = top + gamma(scaled.shape[1]) * squared_frobenius_upper(scaled)
    return unscaled(up(math.sqrt(squared * (1 + 16 * UNIT_ROUNDOFF))), exponent)


def _gram(matrix: Tensor) -> Tensor:
    """A A^T, exactly symmetric; of large matrices little more than the lower half is computed."""
    gram = matrix.new_empty(len(matrix), len(matrix))
    for start in range(0, len(matrix), _BLOCK):
        rows = slice(start, start + _BLOCK)
        gram[rows, : start + _BLOCK] = matrix[rows] @ matrix[: start + _BLOCK].T
    return gram.tril_() + gram.tril(-1).T


def scaled_to_one(tensor: Tensor) -> tuple[Tensor, int | None]:
    """``tensor`` times the power of two that brings its largest entry to [1/2, 1), and the exponent.

    Where squares are far from over- and underflow anyway it is the tensor itself, and 0. The exponent
    is None for a zero tensor.
    """
    largest = _largest_modulus(tensor)
    if largest == 0:
        return tensor, None
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= _SAFE_EXPONENT:
        return tensor, 0
    # in two steps: one power of two alone may overflow for subnormal entries
    half = -exponent // 2
    return tensor * math.ldexp(1.0, half) * math.ldexp(1.0, -exponent - half), exponent


def _largest_modulus(tensor: Tensor) -> float:
    """Of the entries of a real tensor, NaN if one is."""
    smallest, largest = tensor.aminmax()
    return max(-smallest.item(), largest.item())


def unscaled(value: float, exponent: int) -> float:
    """Upper bound of ``value * 2**exponent``; inf where it does not fit."""
    try:
        return up(math.ldexp(value, exponent))
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
