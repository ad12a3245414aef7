"""Largest eigenvalues of stacks of small symmetric matrices.

LAPACK takes one matrix of a stack at a time, which for small ones is mostly overhead. Here all matrices
take each step together, and lie along the last axis for that. Householder's reflections make them
tridiagonal (Golub & Van Loan, Matrix Computations, 8.3.1), and Laguerre's iteration comes down from
above on the largest root of the characteristic polynomial (Li & Zeng, SIAM J. Sci. Comput. 15, 1994).
Each step also bounds that root from both sides; what is not certain to a few roundings goes to LAPACK.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from lipbounds.threads import map_single_threaded

_EPSILON = torch.finfo(torch.float64).eps

_LEAST_ELEMENTS = 5000
"""Elements of all matrices below which one thread is quicker than several."""

_MOST_ROWS = 16
"""Matrices of more rows are left to LAPACK, which is quicker then,"""

_LEAST_ROWS = 8000
"""and so are stacks of fewer rows than this, those of all matrices together."""

_BLOCK_ELEMENTS = 1_000_000
"""Elements of the matrices taken together (8 MB): more leave the cache, fewer are slower."""

_MOST_STEPS = 24
_USUAL_STEPS = 6
"""What is left after them has several roots so close that each further step would about halve x - r."""


def top_eigenvalues(symmetric: Tensor) -> Tensor:
    """Largest eigenvalues (n,) of a stack of small symmetric matrices (n, K, K).

    In float64 on a CPU they are within a few 1e-15 of the spectral norm, which tests find and nothing
    proves. Where a matrix is not finite the result is NaN.
    """
    if symmetric.device.type != "cpu" or symmetric.numel() < _LEAST_ELEMENTS:
        return _one_by_one(symmetric)
    if _suited(symmetric):
        blocks = symmetric.tensor_split(math.ceil(symmetric.numel() / _BLOCK_ELEMENTS))
        return torch.cat(map_single_threaded(_together, blocks))
    parts = symmetric.tensor_split(min(len(symmetric), torch.get_num_threads()))
    return torch.cat(map_single_threaded(_one_by_one, parts))


def _suited(symmetric: Tensor) -> bool:
    """Whether matrices (n, K, K) are taken together; no question of the number of threads."""
    count, size, _ = symmetric.shape
    return (
        1 < size <= _MOST_ROWS
        and count * size >= _LEAST_ROWS
        and symmetric.dtype == torch.float64
        and not (symmetric.requires_grad and torch.is_grad_enabled())
    )


def _one_by_one(symmetric: Tensor) -> Tensor:
    try:
        return torch.linalg.eigvalsh(symmetric)[:, -1]
    except torch.linalg.LinAlgError:
        finite = symmetric.isfinite().flatten(1).all(1)
        if finite.all():
            raise
        values = symmetric.new_full((len(symmetric),), math.nan)
        values[finite] = torch.linalg.eigvalsh(symmetric[finite])[:, -1]
        return values


def _together(symmetric: Tensor) -> Tensor:
    unit = symmetric.abs().amax((1, 2))
    matrices = symmetric.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    matrices *= torch.where(unit > 0, unit, 1).reciprocal_()
    values, certain = _largest_roots(*_tridiagonal(matrices))
    values *= unit
    left = (~certain).nonzero().squeeze(1)
    if len(left):
        values[left] = _one_by_one(symmetric[left])
    return values


def _tridiagonal(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonals (K, n) and squared subdiagonals (K - 1, n) of similar tridiagonal matrices.

    The ``matrices`` (K, K, n), of entries up to 1, are overwritten.
    """
    squares = []
    for k in range(len(matrices) - 2):
        mirror, rest = matrices[k, k + 1 :], matrices[k + 1 :, k + 1 :]
        square = mirror.square().sum(0)
        squares.append(square)
        length, first = square.sqrt(), mirror[0]
        # 2 / |mirror|^2; nothing to reflect where the row is zero, or so small that it might as well be
        factor = (square > 1e-200) / torch.addcmul(square, length, first.abs()).add_(1e-290)
        first += length.copysign(first)
        image = rest[0] * first
        for row, entry in zip(rest[1:], mirror[1:], strict=True):
            image.addcmul_(row, entry)
        image *= factor
        image.addcmul_((image * mirror).sum(0).mul_(factor), mirror, value=-0.5)
        rest.addcmul_(mirror.unsqueeze(1), image, value=-1).addcmul_(
            image.unsqueeze(1), mirror, value=-1
        )
    squares.append(matrices[-2, -1].square())
    return matrices.diagonal().T.contiguous(), torch.stack(squares)


def _largest_roots(diagonals: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues (n,) of tridiagonal matrices, and which of them are certain.

    With G and H the sums of ``1 / (x - r)`` and ``1 / (x - r)^2`` over the roots r < x, the largest
    lies between ``x - G / H``, exact for roots that agree, and Laguerre's next x,
    ``x - K / (G + sqrt((K - 1) (K H - G^2)))``. Certain are those where the two are roundings apart.
    """
    size, count = diagonals.shape
    sides = pad(squares.sqrt(), (0, 0, 1, 1))
    norms = (diagonals.abs() + sides[1:] + sides[:-1]).amax(0).clamp_(min=1)
    margins = norms * (8 * _EPSILON)
    upper = x = norms * 1.001
    certain = torch.zeros_like(x, dtype=torch.bool)
    minors = diagonals.new_zeros(3, 4, count)
    for number in range(_MOST_STEPS):
        value, slope, bend, lowest = _characteristic(x - diagonals, squares, minors)
        first = slope / value
        square = first.square()
        second = torch.addcdiv(square, bend, value, value=-2)
        # less than K H - G^2 by what may be rounding, lest a step be too long
        spread = (size * second).sub_(square, alpha=1 - 16 * size * _EPSILON)
        step = size / (first + spread.mul_(size - 1).sqrt_())
        above = lowest > 0
        upper = torch.where(above, x - step, upper)
        slack = first / second - step
        certain |= above & (slack <= margins)
        if 100 * int(certain.sum()) >= 99 * count:
            break
        x = upper + margins / 2  # and so stays above the root in spite of rounding
        if number >= _USUAL_STEPS:
            x = torch.where(above, x - slack * (15 / 16), x)  # a guess, taken back if it is too low
    return upper, certain


def _characteristic(gaps: Tensor, squares: Tensor, minors: Tensor) -> tuple[Tensor, ...]:
    """Characteristic polynomials at x, first derivatives, half the second, and the least leading minor.

    All are (n,); ``gaps`` (K, n) are x minus the diagonals. No root is above x where the least minor is
    positive. ``minors`` (3, 4, n) is overwritten, all but its first row, of zeros: it takes zero, value,
    slope and bend of the two leading minors before and of the one to come.
    """
    lower, upper = minors[:, :3].unbind(), minors[:, 1:].unbind()
    values = minors[:, 1].unbind()
    upper[0].zero_()
    values[0].fill_(1)
    torch.addcmul(lower[0], upper[0], gaps[0], out=upper[1])
    lowest = gaps[0].clone()
    for k, (gap, square) in enumerate(zip(gaps[1:], squares, strict=True)):
        before, last, new = k % 3, (k + 1) % 3, (k + 2) % 3
        torch.addcmul(lower[last], upper[last], gap, out=upper[new])
        upper[new].addcmul_(upper[before], square, value=-1)
        torch.minimum(lowest, values[new], out=lowest)
    return *upper[len(gaps) % 3], lowest
