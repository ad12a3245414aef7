"""Upper bounds of the top eigenvalue of Hermitian matrices, proved with rounding."""

import math

import torch
from torch import Tensor

from lipbounds.operator_norm.lanczos import lanczos
from lipbounds.rounding import UNIT_ROUNDOFF, gamma, up

_EXACT_SIZE = 700
"""Largest single matrix whose eigenvalues are computed directly rather than by Lanczos."""

_TINY = 1e-290
"""A positive shift for zero matrices."""


def top_eigenvalue_upper(matrices: Tensor, at_least: float = 0.0) -> tuple[float, float]:
    """A bound of the largest eigenvalue of all stored Hermitian matrices.

    Parameters
    ----------
    matrices
        (f, m, m), float64 or complex128, exactly Hermitian, of norm about one or less.
    at_least
        A shift to try first: the shift of earlier matrices whose maximum is wanted together with
        this one.

    Returns
    -------
    The bound, and the shift t that it rests on (pass it on as ``at_least``).

    Notes
    -----
    With S the computed t I - G, L its computed Cholesky factor, u the unit roundoff and
    gamma_k = k u / (1 - k u):

    - ``|S - (t I - G)| <= u (t + max |G_ii|)``, on the diagonal only;
    - where the factorisation runs to its end, in whatever order its sums are taken,
      ``|S - L L^H| <= c gamma_2m+8 |L| |L^H|`` entry by entry, so in norm at most
      ``c gamma_2m+8 trace(S) / (1 - c gamma_2m+8)``: c = 1 for real matrices, sqrt(2) for complex ones,
      whose real and imaginary parts are inner products of 2 m real terms.

    L L^H has no negative eigenvalue, so ``lambda_max(G) <= t + u (t + max |G_ii|) + |S - L L^H|``.
    Sources: Higham, Accuracy and Stability of Numerical Algorithms, 2002, theorem 10.3; Rump,
    Verification of positive definiteness, BIT 46, 2006, which also shows that underflow adds less than
    the second u here.
    """
    if matrices.shape[-1] == 1:
        return _largest_entry(matrices, at_least)
    bound, shift = 0.0, max(at_least, _TINY)
    if at_least == 0:
        shift = max(shift, _largest_eigenvalue_estimate(matrices) * (1 + _slack(matrices)))
    slack = _slack(matrices)
    while len(matrices):
        shifted = -matrices
        shifted.diagonal(dim1=-2, dim2=-1).add_(shift)
        passed = _factorised(shifted)
        if passed.all():
            return max(bound, _bound(matrices, shift, shifted)), shift
        if passed.any():
            bound = max(bound, _bound(matrices[passed], shift, shifted[passed]))
        matrices = matrices[~passed]
        higher = _largest_eigenvalue_estimate(matrices, exactly=True) * (1 + slack)
        if higher <= shift:
            slack *= 2
            higher = shift * (1 + slack)
        shift = higher
    return bound, shift


def _slack(matrices: Tensor) -> float:
    """Relative distance of a first shift from the top eigenvalue."""
    size = matrices.shape[-1]
    return 4 * size * gamma(size + 1)


def _factorised(shifted: Tensor) -> Tensor:
    """For which of the matrices Cholesky's factorisation runs to its end with numbers, (f,)."""
    factor, info = torch.linalg.cholesky_ex(shifted)
    return (info == 0) & factor.diagonal(dim1=-2, dim2=-1).real.sum(-1).isfinite()


def _bound(matrices: Tensor, shift: float, shifted: Tensor) -> float:
    """The bound of the notes above, for matrices whose factorisation succeeded."""
    diagonal = matrices.diagonal(dim1=-2, dim2=-1).abs().max().item()
    trace = shifted.diagonal(dim1=-2, dim2=-1).real.sum(-1).max().item()
    # 1.5 for sqrt(2), for the quotient by 1 - c gamma and for the rounding of the trace
    bound = (
        shift + 2 * UNIT_ROUNDOFF * (shift + diagonal) + 1.5 * gamma(2 * matrices.shape[-1] + 8) * trace
    )
    return up(bound * (1 + 16 * UNIT_ROUNDOFF))


def _largest_entry(matrices: Tensor, at_least: float) -> tuple[float, float]:
    """:func:`top_eigenvalue_upper` of matrices of one entry, which is their eigenvalue."""
    largest = matrices.real.max().item()
    if not math.isfinite(largest):
        raise ArithmeticError("the eigenvalues of the Gram matrix are not finite")
    return max(largest, 0.0), max(largest, at_least)


def _largest_eigenvalue_estimate(matrices: Tensor, *, exactly: bool = False) -> float:
    """Near the largest eigenvalue, from below: exact for one of the most promising matrices.

    A single large one is left to Lanczos unless ``exactly``.
    """
    count, size = matrices.shape[:2]
    if count == 1 and size > _EXACT_SIZE and not exactly:
        return _lanczos_estimate(matrices[0])
    few = min(32, max(1, 2**21 // size**3))
    if count > few:
        matrices = matrices[_rayleigh_quotients(matrices).topk(few).indices]
    value = torch.linalg.eigvalsh(matrices).max().item()
    if not math.isfinite(value):
        raise ArithmeticError("the eigenvalues of the Gram matrix are not finite")
    return value


def _rayleigh_quotients(matrices: Tensor, steps: int = 6) -> Tensor:
    """A cheap estimate of each top eigenvalue, from below, by block power iteration."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(1, matrices.shape[-1], 2, generator=generator, dtype=torch.float64)
    vectors = vectors.to(matrices.dtype).expand(len(matrices), -1, -1)
    for _ in range(steps):
        vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-290)
        vectors = matrices @ vectors
    return vectors.norm(dim=1).amax(1)


def _lanczos_estimate(matrix: Tensor) -> float:
    """Top eigenvalue of one large real matrix, from below."""
    start = torch.ones(len(matrix), dtype=matrix.dtype)
    return lanczos(lambda v: matrix @ v, lambda v: matrix @ v, start, steps=60).value
