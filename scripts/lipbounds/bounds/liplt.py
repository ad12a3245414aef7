"""Bounds of chains by norms of products of weights: LipLT."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from lipbounds.bounds.chain import Chain, product, scaled_up
from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.rounding import UNIT_ROUNDOFF, gamma, product_up, sum_up, up

_BATCHED_SIZE = 256
"""Grams up to this size are certified many at a time."""

_COVER = 1 + 1e-6
"""Factor on error terms: covers their own evaluation, in sums of up to 1e9 terms."""

SMALLEST = 2.0**-1074
"""The smallest positive float: twice the largest error of one product that underflows."""


def liplt(chain: Chain) -> OperatorNorm:
    """LipLT: the chain unrolled around the centres of the slope intervals; never above the product.

    Source: Fazlyab, Entesari, Roy & Chellappa, Certified robustness via dynamic margin maximization
    and improved Lipschitz regularization (NeurIPS 2023), for slopes in [0, 1]. For D = c I + r T
    with entries of T in [-1, 1], let y_0 = x, z_k = W_k y_{k-1}, y_k = c_k z_k + r_k T_k z_k. Then

        z_k = c_1 ... c_{k-1} W_k ... W_1 x
              + sum over j < k of c_{j+1} ... c_{k-1} W_k ... W_{j+1} r_j T_j z_j,

    so m_k, the norm of x -> z_k, is at most the sum of the norms, with m_j for the one of z_j, and
    m_K bounds the chain. By induction m_k is at most the product of the norms and |c| + r before.

    Certified: the norm of each product is that of the computed product plus a bound of its rounding
    error, and the sums are rounded up.
    """
    scaled, exponents = chain.normalised
    norms = _suffix_norms(scaled)
    gains: list[float] = []
    for k in range(len(scaled.weights)):
        centres = 1.0
        terms = []
        for j in range(k, 0, -1):
            radius = scaled.centred[j - 1][1]
            terms.append(product_up([centres, norms[k, j], radius, gains[j - 1]]))
            centres = product_up([centres, abs(scaled.centred[j - 1][0])])
        gains.append(sum_up([*terms, product_up([centres, norms[k, 0]])]))
    value = min(scaled_up(gains[-1], sum(exponents)), product(chain).value)
    return OperatorNorm(value, "upper", True, "LipLT")


def _suffix_norms(chain: Chain) -> dict[tuple[int, int], float]:
    """Upper bounds of the norms of W_k ... W_j, weights counted from 0, for all j <= k.

    With P the computed product of W_{k-1} ... W_j, wrong by e in the Frobenius norm, the computed
    W_k P is wrong by at most |W_k| e + gamma_n |W_k|_F |P|_F and what underflows.
    """
    products: list[Tensor] = []
    errors: list[float] = []
    inner: dict[tuple[int, int], Tensor] = {}
    wrong: dict[tuple[int, int], float] = {}
    for k, weight in enumerate(chain.weights):
        if products:
            together = weight @ torch.cat(products, dim=1)
            rounding = gamma(weight.shape[1]) * weight.norm().item() * _COVER
            errors = [
                sum_up([product_up([chain.norms[k], error]), product_up([rounding, size])])
                for error, size in zip(errors, _frobenius_norms(products), strict=True)
            ]
            errors = [up(error + together.numel() * weight.shape[1] * SMALLEST) for error in errors]
            products = list(together.split([matrix.shape[1] for matrix in products], dim=1))
        inner |= {(k, j): matrix for j, matrix in enumerate(products)}
        wrong |= {(k, j): error for j, error in enumerate(errors)}
        products.append(weight)
        errors.append(0.0)
    bounds = zip(inner, norms_upper(list(inner.values())), strict=True)
    norms = {key: up(bound + wrong[key]) for key, bound in bounds}
    return norms | {(k, k): norm for k, norm in enumerate(chain.norms)}


def _frobenius_norms(matrices: Sequence[Tensor]) -> list[float]:
    return [up(matrix.norm().item() * _COVER) for matrix in matrices]


def norms_upper(matrices: Sequence[Tensor]) -> list[float]:
    """Certified upper bounds of the spectral norms of float64 matrices, many at a time.

    The same numbers as from ``linear_norm``, to a relative 1e-10.
    """
    bounds = [0.0] * len(matrices)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        short, long = sorted(matrix.shape)
        groups[short, long].append(index)
    for (short, long), members in groups.items():
        if short > _BATCHED_SIZE or len(members) == 1:
            for index in members:
                bounds[index] = linear_norm(matrices[index]).value
            continue
        size = max(1, 2**18 // (short * long))
        for start in range(0, len(members), size):
            some = members[start : start + size]
            rows = [matrices[i] if matrices[i].shape[0] == short else matrices[i].T for i in some]
            for index, bound in zip(some, batched_norms_upper(torch.stack(rows)), strict=True):
                bounds[index] = bound
    return bounds


def batched_norms_upper(matrices: Tensor) -> list[float]:
    """Certified upper bounds of the norms of a stack (f, m, n) of float64 matrices, m <= n.

    Each Gram matrix G gets a shift t above its largest eigenvalue and a Cholesky factor L of t I - G;
    the residual of the factorisation and the rounding errors of G bound what t may miss (see
    ``linear_norm``). A matrix whose factorisation fails is left to ``linear_norm``.
    """
    largest = matrices.abs().amax((1, 2)).clamp_min(1e-290)
    scales = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)
    scaled = matrices / scales[:, None, None]
    rows, columns = scaled.shape[1:]
    gram = scaled @ scaled.mT
    gram = gram.tril() + gram.tril(-1).mT
    slack = 4 * rows * gamma(rows + 1)
    shift = torch.linalg.eigvalsh(gram)[:, -1] * (1 + slack) + 1e-290
    shifted = -gram
    shifted.diagonal(dim1=1, dim2=2).add_(shift[:, None])
    factor, info = torch.linalg.cholesky_ex(shifted)
    errors = (
        2 * UNIT_ROUNDOFF * (shift + gram.diagonal(dim1=1, dim2=2).amax(1))
        + (shifted - factor @ factor.mT).norm(dim=(1, 2))
        + gamma(2 * rows) * factor.square().sum((1, 2))
        + gamma(columns) * scaled.square().sum((1, 2))
    )
    squared = (shift + errors * _COVER) * (1 + 16 * UNIT_ROUNDOFF)
    bounds = squared.sqrt() * (1 + 4 * UNIT_ROUNDOFF) * scales
    proved = (info == 0) & bounds.isfinite() & (largest > 1e-250)
    values = zip(bounds.tolist(), proved.tolist(), matrices, strict=True)
    return [bound if good else linear_norm(matrix).value for bound, good, matrix in values]
