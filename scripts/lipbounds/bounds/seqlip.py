"""SeqLip: the bound of a chain by a product over pairs of neighbouring weights.

With any factorisations W_k = L_k R_k of the inner weights, the product W_K D_{K-1} ... D_1 W_1 is
(W_K D_{K-1} L_{K-1}) (R_{K-1} D_{K-2} L_{K-2}) ... (R_2 D_1 W_1), so its norm is at most the product
of the pair factors max over D of |left D right|. SeqLip takes L_k = U S^(1/2) and R_k = S^(1/2) V^T
of the singular value decomposition W_k = U S V^T. |left D right| is convex in D, so its maximum over
slopes in [alpha, beta] is at a vertex: a diagonal of alphas and betas.

Source: Virmaux & Scaman, Lipschitz regularity of deep neural networks: analysis and efficient
estimation (NeurIPS 2018), for slopes in [0, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lipbounds.bounds.chain import Chain, product, scaled_up
from lipbounds.bounds.liplt import SMALLEST, batched_norms_upper, norms_upper
from lipbounds.bounds.lipsdp import eclipse_fast, lipsdp_descent
from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.rounding import gamma, product_up, quotient_up, sqrt_up, sum_up, up

Slopes = tuple[float, float]
"""Interval (alpha, beta) that contains all slopes of an activation."""

Pairs = Literal["certified", "exact", "greedy", "alternating"]
"""How the pair factors of ``seqlip`` are found."""

_COVER = 1 + 1e-6
"""Factor on error terms: covers their own evaluation, in sums of up to 1e9 terms."""

_EXACT_SIZE = 22
"""Most neurons whose vertices are enumerated."""

_CERTIFIED_EXACT_SIZE = 10
"""Most neurons whose vertices are enumerated for a certified pair factor."""

_DESCENT_SIZE = 64
"""Most neurons of a pair that gets its multipliers by descent."""

_ROTATED_SIZE = 1024
"""Most rows of a factor whose leading direction is taken apart."""

_CHUNK = 2**22
"""Entries of the matrices looked at together in an enumeration."""


def exact_pair_factor(left: Tensor, right: Tensor, slopes: Slopes) -> OperatorNorm:
    """The largest ``|left D right|`` over all vertices D, by enumeration.

    Parameters
    ----------
    left
        (p, n), float64; n at most 22.
    right
        (n, q), float64.
    slopes
        (alpha, beta).

    Returns
    -------
    The maximum, certified as an upper bound: it exceeds the truth by a relative 1e-9 at most. Most
    vertices are ruled out by the fourth root of the sum of the fourth powers of the singular values,
    against the largest norm found so far; the others get a certificate.

    Raises
    ------
    ValueError
        For more neurons, or shapes, slopes and entries that are no chain.
    """
    Chain((right, left), (slopes,))
    neurons, how = left.shape[1], "all vertices"
    if neurons > _EXACT_SIZE:
        raise ValueError(
            f"2^{neurons} vertices are too many to enumerate (at most {_EXACT_SIZE} neurons): use"
            " certified_pair_factor for an upper bound, alternating_pair_factor for an estimate"
        )
    proved = alternating_pair_factor(left, right, slopes).value * (1 - 1e-9)
    if proved == 0 and 0 in Chain((right, left), (slopes,)).norms:
        return OperatorNorm(0.0, "upper", True, how)
    outer = torch.einsum("in,nj->nij", left, right)
    rounding = _vertex_rounding(left, right, slopes)
    count = max(1, _CHUNK // outer[0].numel())
    for start in range(0, 2**neurons, count):
        vertices = _vertices(neurons, start, min(start + count, 2**neurons), slopes)
        images = (vertices @ outer.flatten(1)).unflatten(1, outer.shape[1:])
        if images.shape[1] > images.shape[2]:
            images = images.mT
        promising = images[_fourth_power_bounds(images) > proved]
        if len(promising):
            proved = max(proved, max(batched_norms_upper(promising)))
    return OperatorNorm(up(proved + rounding), "upper", True, how)


def _vertices(neurons: int, start: int, stop: int, slopes: Slopes) -> Tensor:
    """Vertices number start to stop: (stop - start, neurons), the bits of their numbers."""
    numbers = torch.arange(start, stop).unsqueeze(1)
    bits = (numbers >> torch.arange(neurons)) & 1
    return torch.tensor(slopes, dtype=torch.float64)[bits]


def _vertex_rounding(left: Tensor, right: Tensor, slopes: Slopes) -> float:
    """Bound of the Frobenius rounding error of a computed left D right, for all vertices D."""
    steepest = max(abs(slope) for slope in slopes)
    size = left.norm().item() * right.norm().item() * steepest * _COVER
    lost = left.shape[0] * right.shape[1] * (left.shape[1] + 1) * (1 + steepest) * SMALLEST
    return up(gamma(left.shape[1] + 4) * size * _COVER + 2 * lost)


def _fourth_power_bounds(images: Tensor) -> Tensor:
    """Upper bounds of the norms: |A A^T|_F^(1/2), with the rounding errors; (f,) of (f, m, n)."""
    gram = images @ images.mT
    squares = images.square().sum((1, 2))
    error = gamma(images.shape[2]) * squares + 1e-290
    return ((gram.norm(dim=(1, 2)) + error) * _COVER).sqrt()


def greedy_pair_factor(left: Tensor, right: Tensor, slopes: Slopes) -> OperatorNorm:
    """Estimate of the pair factor from below: the best single flip again and again.

    From D = beta I, each round tries the flip of every diagonal entry and keeps the best one, until
    none increases ``|left D right|`` (greedy SeqLip). Shapes as in ``exact_pair_factor``.

    Raises
    ------
    ValueError
        For shapes, slopes and entries that are no chain.
    """
    Chain((right, left), (slopes,))
    core_left, core_right = _cores(left, right)
    start = torch.full((left.shape[1],), float(slopes[1]), dtype=torch.float64)
    return OperatorNorm(_flip(core_left, core_right, slopes, start), "estimate", False, "best flips")


def alternating_pair_factor(
    left: Tensor, right: Tensor, slopes: Slopes, *, starts: int = 12
) -> OperatorNorm:
    """Estimate of the pair factor from below, mostly above the greedy one and much faster.

    For the top singular vectors a, b of left D right, the vertex with the largest a^T left D right b
    is known in closed form and is no worse than D; repeated until nothing changes. Starts: beta I,
    the two vertices that fit the top singular vectors of both sides, and random vertices. The best
    end is improved by single flips. Shapes as in ``exact_pair_factor``.

    Raises
    ------
    ValueError
        For shapes, slopes and entries that are no chain, or fewer than one start.
    """
    Chain((right, left), (slopes,))
    if starts < 1:
        raise ValueError(f"at least one start is needed, not {starts}")
    core_left, core_right = _cores(left, right)
    best, best_value = torch.empty(0), -1.0
    for start in _starts(core_left, core_right, slopes, starts):
        vertex, value = _alternate(core_left, core_right, slopes, start)
        if value > best_value:
            best, best_value = vertex, value
    value = max(best_value, _flip(core_left, core_right, slopes, best))
    return OperatorNorm(value, "estimate", False, "alternating maximisation, then flips")


def _cores(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Smaller factors with the same norms |left D right|, to rounding."""
    if left.shape[0] > left.shape[1]:
        left = torch.linalg.qr(left, mode="r").R
    if right.shape[1] > right.shape[0]:
        right = torch.linalg.qr(right.T, mode="r").R.T
    return left, right


def _starts(left: Tensor, right: Tensor, slopes: Slopes, count: int) -> list[Tensor]:
    ends = torch.tensor(slopes, dtype=torch.float64)
    ones = ends[1].repeat(left.shape[1])
    fit = torch.linalg.svd(left).Vh[0] * torch.linalg.svd(right).U[:, 0]
    generator = torch.Generator().manual_seed(0)
    masks = [fit > 0, fit < 0]
    masks += [torch.rand(len(ones), generator=generator) < 0.5 for _ in range(count - 3)]
    return [ones, *(ends[mask.long()] for mask in masks)][:count]


def _alternate(left: Tensor, right: Tensor, slopes: Slopes, vertex: Tensor) -> tuple[Tensor, float]:
    """The vertex at which the alternation ends, and its norm."""
    ends = torch.tensor(slopes, dtype=torch.float64)
    value = -1.0
    for _ in range(100):
        outputs, values, inputs = torch.linalg.svd((left * vertex) @ right, full_matrices=False)
        if values[0].item() <= value * (1 + 1e-14):
            break
        value = values[0].item()
        gains = (outputs[:, 0] @ left) * (right @ inputs[0])
        vertex = ends[(gains > 0).long()]
    final = torch.linalg.matrix_norm((left * vertex) @ right, 2).item()
    return vertex, max(value, final)


def _flip(left: Tensor, right: Tensor, slopes: Slopes, vertex: Tensor) -> float:
    """The norm at the vertex where no single flip helps any more."""
    image = (left * vertex) @ right
    value = torch.linalg.matrix_norm(image, 2).item()
    total = slopes[0] + slopes[1]
    outer = torch.einsum("in,nj->nij", left, right)
    while True:
        flipped = image + (total - 2 * vertex)[:, None, None] * outer
        if flipped.shape[1] > flipped.shape[2]:
            norms = torch.linalg.eigvalsh(flipped.mT @ flipped)[:, -1]
        else:
            norms = torch.linalg.eigvalsh(flipped @ flipped.mT)[:, -1]
        best = int(norms.argmax())
        trial = vertex.clone()
        trial[best] = total - vertex[best]
        trial_image = (left * trial) @ right
        trial_value = torch.linalg.matrix_norm(trial_image, 2).item()
        if not trial_value > value * (1 + 1e-14):
            return value
        vertex, image, value = trial, trial_image, trial_value


def certified_pair_factor(left: Tensor, right: Tensor, slopes: Slopes) -> OperatorNorm:
    """Certified upper bound of the pair factor: the least of several. Shapes as in the exact one.

    - Loop transform: for D = c I + r T, ``|c| |left right| + r |left| |right|``, and the same with
      left E and E^-1 right in the last product, for a diagonal E that balances rows and columns.
    - LipSDP-Neuron for the pair, its multipliers in closed form or by descent.
    - The leading singular directions of both sides apart, whose share has a closed form.
    - The vertices, enumerated, of up to 10 neurons.

    Raises
    ------
    ValueError
        For shapes, slopes and entries that are no chain.
    """
    chain = Chain((right, left), (slopes,))
    if left.shape[1] <= _CERTIFIED_EXACT_SIZE:
        return exact_pair_factor(left, right, slopes)
    loop = _loop_transform(chain)
    leading = _leading_directions(left, right, slopes)
    small = max(*left.shape, *right.shape) <= _DESCENT_SIZE
    semidefinite = (lipsdp_descent(chain, steps=100) if small else eclipse_fast(chain)).value
    bounds = {"loop transform": loop, "leading directions": leading, "LipSDP": semidefinite}
    how = min(bounds, key=lambda name: bounds[name])
    return OperatorNorm(bounds[how], "upper", True, how)


def _loop_transform(chain: Chain) -> float:
    """The two loop transforms, with the rounding errors of the products."""
    right, left = chain.weights
    ((centre, radius),) = chain.centred
    together = linear_norm(left @ right).value + _vertex_rounding(left, right, (0.0, 1.0))
    tiny = 1e-150
    balance = ((right.norm(dim=1) + tiny) / (left.norm(dim=0) + tiny)).sqrt()
    # powers of two, so that scaling is exact
    balance = torch.ldexp(torch.ones_like(balance), torch.frexp(balance).exponent.clamp(-60, 60))
    apart = product_up(chain.norms)
    scaled_left, scaled_right = left * balance, right / balance.unsqueeze(1)
    exact = torch.equal(scaled_left / balance, left)
    if exact and torch.equal(scaled_right * balance.unsqueeze(1), right):
        apart = min(apart, product_up(norms_upper([scaled_left, scaled_right])))
    return sum_up([product_up([abs(centre), up(together)]), product_up([radius, apart])])


def _leading_directions(left: Tensor, right: Tensor, slopes: Slopes) -> float:
    """Pair factor with the top singular direction of each side apart; near 1/pi of the product for
    random directions and one dominant singular value.

    For orthogonal P and Q, |left D right| = |(P left) D (right Q)|. With a the first row of P left, b
    the first column of right Q, and A_r, B_r the rest, the norm is at most that of

        [ max |a D b|          |a| s |B_r| ]
        [ |A_r| s |b|    |A_r| s |B_r|     ],    s the steepest slope.

    P and Q are computed, so not quite orthogonal: see ``_rotated``.
    """
    if max(left.shape[0], right.shape[1]) > _ROTATED_SIZE:
        return math.inf
    steepest = max(abs(slope) for slope in slopes)
    top, rest, wrong, share = _rotated(left)
    other_top, other_rest, other_wrong, other_share = _rotated(right.T)
    size = up((top.norm().item() + wrong) * _COVER)
    other_size = up((other_top.norm().item() + other_wrong) * _COVER)
    terms = torch.stack([slope * top * other_top for slope in slopes])
    largest = max(terms.amax(0).sum().item(), -terms.amin(0).sum().item(), 0.0)
    error = gamma(len(top) + 4) * terms.abs().amax(0).sum().item() + 1e-290
    error += steepest * (wrong * other_size + size * other_wrong)
    core = [
        [up(largest + error * _COVER), product_up([size, steepest, other_rest])],
        [product_up([rest, steepest, other_size]), product_up([rest, steepest, other_rest])],
    ]
    value = linear_norm(torch.tensor(core, dtype=torch.float64)).value
    return product_up([value, share, other_share])


def _rotated(matrix: Tensor) -> tuple[Tensor, float, float, float]:
    """A row a, the norm r of further rows, an error e and a factor f.

    For every x and some row d of norm <= e, |matrix x| <= f |(|(a + d) x|, r |x|)|. With P the
    computed transpose of the left singular vectors, a is the first row of the computed P ``matrix``;
    e is the error of that product and is in r too; |P P^T - I| <= t < 1 makes |P^-1| <=
    (1 - t)^(-1/2) = f.
    """
    rotation = torch.linalg.svd(matrix).U.T
    rows = len(rotation)
    rotated = rotation @ matrix
    size = rotation.norm().item()
    defect = (rotation @ rotation.T - torch.eye(rows, dtype=torch.float64)).norm().item()
    defect = (defect + gamma(rows + 2) * size**2) * _COVER
    if not defect < 0.5:
        raise ArithmeticError("the computed singular vectors are not orthogonal")
    wrong = up(gamma(rows) * size * matrix.norm().item() * _COVER + 1e-290)
    rest = linear_norm(rotated[1:]).value if rows > 1 else 0.0
    return rotated[0], up(rest + wrong), wrong, quotient_up(1.0, math.sqrt(1 - defect) * (1 - 1e-15))


def seqlip(chain: Chain, *, pairs: Pairs = "certified") -> OperatorNorm:
    """SeqLip: the product of the pair factors of neighbouring weights (see the module's text).

    Parameters
    ----------
    chain
        The network.
    pairs
        ``certified`` and ``exact`` (layers of at most 22 neurons) give certified upper bounds, never
        above the product of the norms. ``greedy`` and ``alternating`` search for each maximum and
        may stay below it: their products are estimates of SeqLip and no bounds of the chain.

    Raises
    ------
    ValueError
        For another name, or with ``exact`` for wider layers.

    Notes
    -----
    The computed factors satisfy W_k = L_k R_k + E_k = [L_k, e I] [R_k; E_k / e], e^2 >= |E_k|. Pair
    factors of these larger matrices are at most the norm of

        [ max |R_{k+1} D L_k|    |R_{k+1}| s e_k ]
        [ e_{k+1} s |L_k|        e_{k+1} s e_k   ],    s the steepest slope.
    """
    searches: dict[str, Callable[[Tensor, Tensor, Slopes], OperatorNorm]] = {
        "certified": certified_pair_factor,
        "exact": exact_pair_factor,
        "greedy": greedy_pair_factor,
        "alternating": alternating_pair_factor,
    }
    if pairs not in searches:
        raise ValueError(f"no pair factors {pairs!r}; use one of {', '.join(searches)}")
    proved = pairs in ("certified", "exact")
    scaled, exponents = chain.normalised
    if len(scaled.weights) == 1:
        return product(chain)
    splits = [_split(weight) for weight in scaled.weights[1:-1]]
    lefts = [*(split.inputs for split in splits), scaled.weights[-1]]
    rights = [scaled.weights[0], *(split.outputs for split in splits)]
    errors = [0.0, *(split.error for split in splits), 0.0]
    factors = []
    for k, slopes in enumerate(scaled.slopes):
        factor = searches[pairs](lefts[k], rights[k], slopes).value
        if proved:
            factor = _with_errors(factor, lefts[k], rights[k], slopes, errors[k], errors[k + 1])
        factors.append(factor)
    value = scaled_up(product_up(factors), sum(exponents))
    if proved:
        return OperatorNorm(min(value, product(chain).value), "upper", True, f"SeqLip, {pairs} pairs")
    return OperatorNorm(value, "estimate", False, f"SeqLip, {pairs} pairs")


@dataclass(frozen=True)
class _Split:
    """W = outputs inputs + E with the Frobenius norm of E at most ``error``."""

    outputs: Tensor
    inputs: Tensor
    error: float


def _split(weight: Tensor) -> _Split:
    """U S^(1/2) and S^(1/2) V^T; torch's third factor is V^T already."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    roots = values.clamp_min(0).sqrt()
    outputs, inputs = left * roots, roots.unsqueeze(1) * right
    rounding = gamma(len(roots) + 2) * outputs.norm().item() * inputs.norm().item() + 1e-290
    error = ((weight - outputs @ inputs).norm().item() + rounding) * _COVER
    return _Split(outputs, inputs, error)


def _with_errors(
    factor: float, left: Tensor, right: Tensor, slopes: Slopes, right_error: float, left_error: float
) -> float:
    """The pair factor of the exact weights; ``right_error`` is that of the weight before."""
    steepest = max(abs(slope) for slope in slopes)
    before, after = sqrt_up(right_error), sqrt_up(left_error)
    core = [
        [factor, product_up([linear_norm(left).value, steepest, before])],
        [product_up([after, steepest, linear_norm(right).value]), product_up([after, steepest, before])],
    ]
    return linear_norm(torch.tensor(core, dtype=torch.float64)).value


def seqlip_theorem_bound(chain: Chain) -> OperatorNorm:
    """Closed form above SeqLip, from the top singular vectors and the ratios of singular values.

    With r_k the ratio of the second to the first singular value of W_k, u_k and v_k its first
    singular vectors, and s the steepest slope, each pair factor is at most |W_k| |W_{k+1}| s times

        sqrt((1 - r_k - r_{k+1}) t^2 + r_k + r_{k+1} + r_k r_{k+1}),  t = max |u_k^T D v_{k+1}| / s.

    Proof: for unit x and D of norm s = 1, |S^(1/2) V^T D y|^2 <= (1 - r') (v^T D y)^2 + r' |D y|^2
    for y = U S^(1/2) x, |y| <= 1, and |S^(1/2) U^T D v|^2 <= (1 - r) t^2 + r; so the square is at
    most (1 - r)(1 - r') t^2 + r (1 - r') + r', and the theorem's is larger by r r' (2 - t^2).

    An upper bound, but of singular vectors computed without a bound of their errors: not certified.

    Source: Virmaux & Scaman (NeurIPS 2018), theorem on SeqLip, for slopes in [0, 1] and s = 1.
    """
    triples = [torch.linalg.svd(weight, full_matrices=False) for weight in chain.weights]
    ratios = [_ratio(triple.S) for triple in triples]
    value = product(chain).value
    for k, slopes in enumerate(chain.slopes):
        steepest = max(abs(slope) for slope in slopes)
        if value == 0 or steepest == 0:
            return OperatorNorm(0.0, "upper", False, "SeqLip theorem")
        overlaps = triples[k].U[:, 0] * triples[k + 1].Vh[0]
        terms = torch.stack([slope / steepest * overlaps for slope in slopes])
        largest = max(terms.amax(0).sum().item(), -terms.amin(0).sum().item())
        before, after = ratios[k], ratios[k + 1]
        square = (1 - before - after) * largest**2 + before + after + before * after
        value *= math.sqrt(min(1.0, square))
    return OperatorNorm(value, "upper", False, "SeqLip theorem")


def _ratio(values: Tensor) -> float:
    if len(values) == 1 or values[0].item() == 0:
        return 0.0
    return (values[1] / values[0]).item()
