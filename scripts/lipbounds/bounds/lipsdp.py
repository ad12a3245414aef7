"""Bounds of chains by semidefinite programming: LipSDP, and closed forms that need no solver.

All functions rest on one inequality. An activation with slopes in [c - r, c + r] maps a difference z
to a difference y with (y_i - c z_i)^2 <= r^2 z_i^2 for every neuron. So for diagonal L >= 0

    |B y|^2 <= |B y|^2 + r^2 z^T L z - (y - c z)^T L (y - c z) <= |B' x|^2   for z = W x,
    B'^T B' = W^T [ r^2 L + c^2 B^T (I - B L^-1 B^T)^-1 B ] W,

where the last step maximises over all y and needs B L^-1 B^T < I. Starting from B = W_K and going
back to the input, the norm of the last B bounds the chain. This is LipSDP-Neuron (Fazlyab, Robey,
Hassani, Morari & Pappas, NeurIPS 2019) with the layers eliminated one by one, and the smallest rho
for given multipliers. The sign of the slopes plays no part.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipbounds.bounds.chain import Chain, product, scaled_up, times_power_of_two
from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.rounding import UNIT_ROUNDOFF, gamma, product_up, sqrt_up, up

_COVER = 1 + 1e-6
"""Factor on error terms: covers their own evaluation, in sums of up to 1e9 terms."""

_UNDERFLOW = 1e-290
"""Above all that underflow can lose in one step of a chain with norms of about one."""

_SEARCHED_WIDTH = 512
"""Only the published closed form is tried for chains with weights larger than this both ways."""

_STAGES = ((10.0, 0.3), (40.0, 0.1), (160.0, 0.03), (640.0, 0.01))
"""Sharpness of the power mean and softness of the edge, one after the other, in the descent."""

_SOLVER_SIZE = 260
"""Most rows of the matrix inequality that a general solver gets."""

_Rule = Callable[[int, Tensor], Tensor]
"""From k and the computed B (rows, n_k) to the multipliers of activation k, all positive."""


@dataclass(frozen=True)
class _Gain:
    """The square of what is to come is at most |factor y|^2 + slack |y|^2."""

    factor: Tensor
    slack: float


def certify(chain: Chain, multipliers: Sequence[Tensor]) -> float:
    """Certified Lipschitz bound from the multipliers of LipSDP-Neuron; inf if they prove nothing.

    Parameters
    ----------
    chain
        The network.
    multipliers
        K - 1 float64 vectors (n_k,) of non-negative numbers: the diagonals of the matrices L_k in
        ``r_k^2 |L_k^(1/2) z_k|^2 - |L_k^(1/2) (y_k - c_k z_k)|^2 >= 0``. Any such vectors are
        allowed; where they are feasible only up to a relative 1e-3, enlarged ones are used.

    Raises
    ------
    ValueError
        For another number of vectors, or wrong shapes, or negative or non-finite entries.

    Notes
    -----
    Proved with rounding: every step bounds the error of what it computed by a multiple delta of
    |y|^2, and the step before uses L + delta I for L, which makes room for it.
    """
    _check_multipliers(chain, multipliers)
    scaled, exponents = chain.normalised
    vectors = []
    after = 0
    for vector, exponent in zip(reversed(multipliers), reversed(exponents[1:]), strict=True):
        after += exponent
        # beyond these powers nothing is lost but a bound: any multipliers are allowed
        vectors.append(times_power_of_two(vector, max(-2000, min(-2 * after, 2000))))
    vectors.reverse()
    bound = math.inf
    for enlarged in (1.0, 1 + 1e-9, 1 + 1e-6, 1 + 1e-3):
        bound = _bound(scaled, _fixed(vectors, enlarged))
        if bound < math.inf:
            break
    return scaled_up(bound, sum(exponents))


def _check_multipliers(chain: Chain, multipliers: Sequence[Tensor]) -> None:
    if len(multipliers) != len(chain.slopes):
        raise ValueError(f"{len(chain.slopes)} activations need as many vectors, not {len(multipliers)}")
    for index, (vector, weight) in enumerate(zip(multipliers, chain.weights, strict=False)):
        if vector.shape != weight.shape[:1]:
            shape = tuple(vector.shape)
            raise ValueError(f"multipliers {index}: shape {shape} instead of ({len(weight)},)")
        if vector.dtype != torch.float64 or not vector.isfinite().all() or (vector < 0).any():
            raise ValueError(f"multipliers {index} must be float64, finite and not negative")


def _fixed(vectors: Sequence[Tensor], enlarged: float) -> _Rule:
    def rule(k: int, _: Tensor) -> Tensor:
        # each layer by more than the one after it, whose enlarged multipliers it has to bound
        factor = enlarged ** (len(vectors) - k)
        return factor * vectors[k] + (factor - 1 + 1e-12) * max(vectors[k].max().item(), 1e-200)

    return rule


def _bound(chain: Chain, rule: _Rule) -> float:
    """Certified norm of a chain of weights of about unit norm; inf where the rule fails."""
    gain = _compressed(chain.weights[-1], 0.0)
    for k in range(len(chain.slopes) - 1, -1, -1):
        step = _step(gain, chain.weights[k], *chain.centred[k], k, rule)
        if step is None or not step.slack < math.inf:  # NaN too
            return math.inf
        gain = step
    norm = linear_norm(gain.factor).value
    return sqrt_up(up(product_up([norm, norm]) + gain.slack))


def _step(
    gain: _Gain, weight: Tensor, centre: float, radius: float, k: int, rule: _Rule
) -> _Gain | None:
    """One activation and the weight (n_k, n_{k-1}) before it: from B to B' of the module's text."""
    slack = gain.slack
    through: tuple[Tensor, float] | None
    if radius == 0:
        diagonal = torch.full((len(weight),), centre**2 * slack, dtype=torch.float64)
        through = _straight_through(gain.factor, weight)
    else:
        vector = rule(k, gain.factor)
        # L + slack I stands in for L: what is left of it beside the slack is the rule's L
        diagonal = radius**2 * vector + (centre**2 + radius**2) * slack + centre**2 * slack**2 / vector
        through = _through(gain.factor, vector, (1 + slack / vector).unsqueeze(1) * weight)
    if through is None:
        return None
    image, missing = through
    stacked = torch.cat([diagonal.sqrt().unsqueeze(1) * weight, abs(centre) * image])
    if not stacked.isfinite().all():
        return None
    # an entry of stacked^T stacked has terms of 16 roundings at most
    rounded = gamma(24) * stacked.square().sum().item()
    return _compressed(stacked, (centre**2 * missing + rounded + _UNDERFLOW) * _COVER)


def _straight_through(factor: Tensor, weight: Tensor) -> tuple[Tensor, float]:
    """The computed P = B W, and e with W^T B^T B W <= P^T P + e I."""
    image = factor @ weight
    error = gamma(len(weight)) * factor.norm().item() * weight.norm().item() * _COVER + _UNDERFLOW
    return image, 2 * error * image.norm().item() + error**2


def _through(factor: Tensor, vector: Tensor, weight: Tensor) -> tuple[Tensor, float] | None:
    """X and e with ``W^T B^T (I - B L^-1 B^T)^-1 B W <= X^T X + e I``; None if not proved finite.

    With T the computed B L^(-1/2), C the computed Cholesky factor of (1 - tau) I - T T^T, and eps a
    bound of all errors up to there, ``I - B L^-1 B^T >= C C^T + (tau - eps) I``. For C X + F = B W,

        W^T B^T (C C^T + t I)^-1 B W <= X^T X + F^T F / t,

    because v^T (C C^T + t I)^-1 v is the least |x|^2 + |f|^2 / t over all x, f with C x + f = v.
    """
    rows, columns = factor.shape
    scaled = factor / vector.sqrt()
    size = scaled.square().sum().item()
    if not size < rows * _COVER:  # the trace of a matrix that has to be below I; false for NaN too
        return None
    lowered = 8 * gamma(rows + columns + 16) * (rows + size)
    shifted = -(scaled @ scaled.T)
    shifted.diagonal().add_(1 - lowered)
    shifted = shifted.tril() + shifted.tril(-1).T
    root, info = torch.linalg.cholesky_ex(shifted)
    if info.item() != 0:
        return None
    error = (shifted - root @ root.T).norm().item() + gamma(rows) * root.square().sum().item()
    error += gamma(columns + 8) * size + 4 * UNIT_ROUNDOFF * (1 + lowered)
    left = lowered - error * _COVER
    if not left > 0:
        return None
    image = factor @ weight
    solution = torch.linalg.solve_triangular(root, image, upper=False)
    missing = (image - root @ solution).norm().item()
    missing += gamma(rows) * root.norm().item() * solution.norm().item()
    missing += gamma(columns + 8) * factor.norm().item() * weight.norm().item() + _UNDERFLOW
    return solution, (missing * _COVER) ** 2 / left * _COVER


def _compressed(factor: Tensor, slack: float) -> _Gain:
    """The same gain with no more rows than columns, by a QR factorisation and its residual."""
    rows, columns = factor.shape
    if rows <= columns:
        return _Gain(factor, slack)
    upper = torch.linalg.qr(factor, mode="r").R
    residual = (factor.T @ factor - upper.T @ upper).norm().item()
    rounded = gamma(rows) * factor.square().sum().item() + gamma(columns) * upper.square().sum().item()
    return _Gain(upper, (slack + residual + rounded + _UNDERFLOW) * _COVER)


def eclipse_fast(chain: Chain, *, search: bool = True) -> OperatorNorm:
    """Closed-form multipliers, layer by layer, certified; never above the product of the norms.

    L_k = (1 + s |c| / r) sigma_1(B)^2 I; s = 1 is best if the next weight is the worst possible.
    On the transposed chain with slopes in [0, b] and s = 1 these are the multipliers of ECLipsE-Fast
    (Xu & Sivaranjani, ECLipsE: efficient compositional Lipschitz constant estimation for deep
    neural networks, NeurIPS 2024), which ``search=False`` returns. The search tries the chain and
    its transpose with a few s (after the one-parameter families of Syed & Hu, arXiv 2503.14297) and
    returns the least bound. All slope intervals are allowed. With one weight, its norm.
    """
    best = product(chain).value
    if len(chain.weights) == 1:
        return OperatorNorm(best, "upper", True, "norm of the only weight")
    scaled, exponents = chain.normalised
    flipped = _flipped(scaled)
    wide = any(min(weight.shape) > _SEARCHED_WIDTH for weight in chain.weights)
    tries = [(flipped, 1.0)]
    if search and not wide:
        tries += [(flipped, 0.6), (flipped, 0.4), (scaled, 0.4), (flipped, 0.25)]
    bounds = [_bound(tried, _uniform(tried, stretch)) for tried, stretch in tries]
    best = min(best, scaled_up(min(bounds), sum(exponents)))
    return OperatorNorm(best, "upper", True, "ECLipsE-Fast with search" if search else "ECLipsE-Fast")


def _flipped(chain: Chain) -> Chain:
    """The transposed chain, its norms known already."""
    flipped = chain.transposed()
    flipped.__dict__["norms"] = chain.norms[::-1]
    return flipped


def _uniform(chain: Chain, stretch: float) -> _Rule:
    """The same multiplier for all neurons of a layer."""

    def rule(k: int, factor: Tensor) -> Tensor:
        centre, radius = chain.centred[k]
        multiplier = max(1 + stretch * abs(centre) / radius, 1 + 1e-8) * _norm_estimate(factor) ** 2
        return torch.full((factor.shape[1],), max(multiplier, 1e-200), dtype=torch.float64)

    return rule


def _norm_estimate(matrix: Tensor) -> float:
    """Spectral norm, from above for matrices that are not large."""
    if min(matrix.shape) <= _SEARCHED_WIDTH:
        return linear_norm(matrix).value
    vector = matrix.sum(0)
    for _ in range(30):
        vector = matrix.T @ (matrix @ (vector / vector.norm()))
    return 1.02 * math.sqrt(vector.norm().item())


def lipsdp_descent(chain: Chain, *, steps: int = 200) -> OperatorNorm:
    """LipSDP-Neuron by descent on the multipliers, certified: near the solver's bound, much faster.

    rho is convex in the multipliers. Its derivative by the multiplier of one neuron is
    r^2 z^2 - (y - c z)^2 at the worst input and the worst y (the inequality of the module's text is
    an equality there), which one pass through the layers gives. Adam moves the logarithms of the
    multipliers; the largest eigenvalue is smoothed by a power mean of the top ones.

    Parameters
    ----------
    chain
        The network, layers of at most 512 neurons (each step inverts a matrix per layer).
    steps
        More steps, lower bounds.

    Raises
    ------
    ValueError
        For wider layers; ``eclipse_fast`` takes them.
    """
    if max(max(weight.shape) for weight in chain.weights) > _SEARCHED_WIDTH:
        raise ValueError(f"descent takes layers of at most {_SEARCHED_WIDTH} neurons; use eclipse_fast")
    start = eclipse_fast(chain)
    scaled, exponents = chain.normalised
    if start.value == 0 or all(radius == 0 for _, radius in chain.centred):
        return start
    vectors = _descend(scaled, steps)
    if not all(vector.isfinite().all() for vector in vectors):
        return start
    value = min(start.value, scaled_up(certify(scaled, vectors), sum(exponents)))
    return OperatorNorm(value, "upper", True, "LipSDP-Neuron by descent")


def _descend(chain: Chain, steps: int) -> list[Tensor]:
    """Multipliers of a low rho, by L-BFGS on ever sharper objectives."""
    start = torch.cat(_closed_form_logs(chain))
    moves = torch.zeros_like(start).requires_grad_()
    for sharpness, softness in _STAGES:
        optimiser = torch.optim.LBFGS(
            [moves],
            max_iter=steps // len(_STAGES),
            history_size=20,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure(sharpness: float = sharpness, softness: float = softness) -> float:
            logs = start + _coupled(chain, moves)
            value, gradient = _log_rho(chain, logs.detach(), sharpness, softness)
            (moves.grad,) = torch.autograd.grad(logs, moves, gradient)
            return value

        optimiser.step(closure)
    logs = start + _coupled(chain, moves.detach())
    return [log.exp() for log in logs.split(_hidden_sizes(chain))]


def _coupled(chain: Chain, moves: Tensor) -> Tensor:
    """Moves of the logs: the mean move of a layer moves all layers before it too.

    What a layer has to bound grows with the multipliers of the layers after it.
    """
    parts = moves.split(_hidden_sizes(chain))
    means = torch.stack([part.mean() for part in parts])
    after = means.flip(0).cumsum(0).flip(0) - means
    return torch.cat([part + mean for part, mean in zip(parts, after, strict=True)])


def _hidden_sizes(chain: Chain) -> list[int]:
    return [len(weight) for weight in chain.weights[:-1]]


def _closed_form_logs(chain: Chain) -> list[Tensor]:
    closed_form = _uniform(chain, 1.0)
    logs = [torch.zeros(len(weight), dtype=torch.float64) for weight in chain.weights[:-1]]

    def rule(k: int, factor: Tensor) -> Tensor:
        vector = 1.2 * closed_form(k, factor)
        logs[k] = vector.log()
        return vector

    _bound(chain, rule)
    return logs


def _log_rho(chain: Chain, logs: Tensor, sharpness: float, softness: float) -> tuple[float, Tensor]:
    """A smooth log rho for the multipliers exp(logs), and its gradient; 1e6 where rho is infinite.

    Centres below ``softness`` times the radius are enlarged, so that rho grows gradually towards
    where it becomes infinite.
    """
    centred = [(max(abs(c), softness * r), r) for c, r in chain.centred]
    diagonals = logs.exp().split(_hidden_sizes(chain))
    gram = chain.weights[-1].T @ chain.weights[-1]
    inverses: list[Tensor] = []
    for (centre, radius), vector, weight in reversed(
        list(zip(centred, diagonals, chain.weights[:-1], strict=True))
    ):
        root, info = torch.linalg.cholesky_ex(vector.diag() - gram)
        if info.item() != 0 or not root.isfinite().all():
            return 1e6, torch.zeros_like(logs)
        inverse = torch.cholesky_inverse(root)
        inner = centre**2 * vector.unsqueeze(1) * inverse * vector
        inner.diagonal().add_((radius**2 - centre**2) * vector)
        gram = weight.T @ inner @ weight
        inverses.append(inverse)
    if not gram.isfinite().all():
        return 1e6, torch.zeros_like(logs)
    values, vectors = torch.linalg.eigh(gram)
    top = max(values[-1].item(), 1e-290)
    powers = (values / top).clamp_min(0) ** (sharpness - 1)
    total = max((powers * (values / top).clamp_min(0)).sum().item(), 1e-290)
    gradients = []
    layers = zip(centred, diagonals, chain.weights[:-1], reversed(inverses), strict=True)
    for (centre, radius), vector, weight, inverse in layers:
        before = weight @ vectors
        vectors = centre * (inverse @ (vector.unsqueeze(1) * before))
        slopes = radius**2 * before.square() - (vectors - centre * before).square()
        gradients.append((slopes @ powers) * vector / (total * top))
    return math.log(top) + math.log(total) / sharpness, torch.cat(gradients)


def lipsdp_neuron(chain: Chain, *, solver: str = "CLARABEL") -> OperatorNorm:
    """LipSDP-Neuron through cvxpy, certified afterwards: the least bound of this module.

    Source: Fazlyab, Robey, Hassani, Morari & Pappas, Efficient and accurate estimation of Lipschitz
    constants for deep neural networks (NeurIPS 2019), with one multiplier per neuron; their coupled
    multipliers are not sound. The solver's multipliers are all that is used of its result.

    Parameters
    ----------
    chain
        The network, of at most 260 inputs and hidden neurons together.
    solver
        Name of a semidefinite solver that cvxpy knows.

    Raises
    ------
    ImportError
        Without cvxpy, which is optional.
    ValueError
        For larger chains.
    ArithmeticError
        If the solver returns nothing usable.
    """
    if len(chain.weights) == 1:
        return eclipse_fast(chain)
    size = sum(weight.shape[1] for weight in chain.weights)
    if size > _SOLVER_SIZE:
        raise ValueError(
            f"{size} inputs and hidden neurons make a matrix inequality too large for a solver (at most"
            f" {_SOLVER_SIZE}, some minutes): use lipsdp_descent or eclipse_fast"
        )
    scaled, exponents = chain.normalised
    bound = certify(scaled, _solved_multipliers(scaled, solver))
    if bound == math.inf:
        raise ArithmeticError(f"the multipliers of {solver} prove no bound; use lipsdp_descent")
    value = min(scaled_up(bound, sum(exponents)), product(chain).value)
    return OperatorNorm(value, "upper", True, f"LipSDP-Neuron, {solver}")


def _solved_multipliers(chain: Chain, solver: str) -> list[Tensor]:
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError(
            "lipsdp_neuron needs cvxpy, which is optional: pip install cvxpy;"
            " lipsdp_descent comes close without it"
        ) from error
    rho = cvxpy.Variable(nonneg=True)
    multipliers = [cvxpy.Variable(len(weight), nonneg=True) for weight in chain.weights[:-1]]
    matrix = _inequality(cvxpy, chain, rho, multipliers)
    problem = cvxpy.Problem(cvxpy.Minimize(rho), [(matrix + matrix.T) / 2 >> 0])
    try:
        problem.solve(solver=solver)
    except cvxpy.SolverError as error:
        raise ArithmeticError(f"{solver} failed: {error}; use lipsdp_descent") from error
    if any(variable.value is None for variable in multipliers):
        raise ArithmeticError(f"{solver} found no multipliers ({problem.status}); use lipsdp_descent")
    return [torch.tensor(variable.value, dtype=torch.float64).clamp_min(0) for variable in multipliers]


def _inequality(cvxpy: Any, chain: Chain, rho: Any, multipliers: Sequence[Any]) -> Any:
    """The block-tridiagonal matrix in (x, y_1, ..., y_{K-1}) that has to be positive semidefinite."""
    weights = [weight.numpy() for weight in chain.weights]
    count = len(weights)
    blocks: list[list[Any]] = [
        [cvxpy.Constant(torch.zeros(a.shape[1], b.shape[1]).numpy()) for b in weights] for a in weights
    ]
    blocks[0][0] = rho * torch.eye(weights[0].shape[1]).numpy()
    for k in range(1, count):
        centre, radius = chain.centred[k - 1]
        diagonal = cvxpy.diag(multipliers[k - 1])
        coupling = -centre * (diagonal @ weights[k - 1])
        blocks[k - 1][k - 1] += (centre**2 - radius**2) * (weights[k - 1].T @ diagonal @ weights[k - 1])
        blocks[k][k] += diagonal
        blocks[k][k - 1], blocks[k - 1][k] = coupling, coupling.T
    blocks[-1][-1] -= weights[-1].T @ weights[-1]
    return cvxpy.bmat(blocks)
