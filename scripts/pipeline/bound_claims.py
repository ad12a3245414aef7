"""Claims about bounds as tests on random instances. The docstring of each test is its rule."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from lipbounds.bounds import upper_bound
from lipbounds.bounds.chain import Chain
from lipbounds.bounds.liplt import liplt, product
from lipbounds.bounds.lipsdp import eclipse_fast, lipsdp_neuron
from lipbounds.bounds.seqlip import (
    exact_pair_factor,
    greedy_pair_factor,
    seqlip,
    seqlip_theorem_bound,
)
from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import affine_norm, conv2d_norm, linear_norm
from lipbounds.operator_norm.competitors import farnia_ryu, sedghi
from lipbounds.operator_norm.gram import (
    conv_gram_norm,
    gram_norm,
    gram_norm_and_gradient,
    spectral_rescaling,
    toeplitz_gram_norm,
)
from pipeline.claims.evidence import NOT_TESTED, Claim, Evidence, Verdict, two_cases, universal, within
from pipeline.measuring.chain_methods import as_module, exact_maximum, has_solver, normal_chain

SIZES = ((4, 8, 3), (4, 5, 5, 3), (3, 4, 4, 4, 2))
"""Nets small enough for enumeration, in turn."""

RELU = (0.0, 1.0)

ROUNDING = 1e-9
"""Relative differences up to this are put down to rounding."""


def autolip_is_a_bound(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net AutoLip equals the product of the layers' norms to rounding and
    is at least the Jacobian norm at each of 200 normal points."""
    violated = []
    for chain in _chains(instances, generator):
        model = as_module(chain)
        points = _normal(generator, 200, chain.weights[0].shape[1])
        value = upper_bound(model, (points.shape[1],)).value
        norms = math.prod(linear_norm(weight).value for weight in chain.weights)
        reached = jacobian_norms(model, points).max().item()
        violated.append(abs(value / norms - 1) > ROUNDING or reached > value)
    return universal(violated)


def maximum_is_at_a_vertex(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random pair of matrices no one of 500 uniform diagonals in [0, 1] gives a
    norm above the largest vertex."""
    violated = []
    for _ in range(instances):
        left, right = _normal(generator, 4, 6), _normal(generator, 6, 3)
        inside = torch.rand(500, 6, dtype=torch.float64, generator=generator)
        norms = torch.linalg.matrix_norm((left * inside[:, None]) @ right, 2)
        violated.append(norms.max().item() > exact_pair_factor(left, right, RELU).value)
    return universal(violated)


def seqlip_lies_between(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net exact SeqLip is at least the largest norm over all activation
    patterns, and at most AutoLip."""
    violated = []
    for chain in _chains(instances, generator):
        bound = seqlip(chain, pairs="exact").value
        below = exact_maximum(chain).value * (1 - ROUNDING) > bound
        violated.append(below or bound > product(chain).value)
    return universal(violated)


def theorem_is_a_bound(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net, half of them with one dominant singular value per layer, exact
    SeqLip is at most the closed form of the theorem."""
    violated = []
    for index, chain in enumerate(_chains(instances, generator)):
        tried = _dominated(chain) if index % 2 else chain
        bound = seqlip_theorem_bound(tried).value
        violated.append(seqlip(tried, pairs="exact").value > bound * (1 + ROUNDING))
    return universal(violated)


def one_over_pi(instances: int, generator: torch.Generator) -> Evidence:
    """The pair factor of uniform directions is taken at widths 400 and 1600 and extrapolated to
    infinite width, where its error of order 1/sqrt(width) vanishes. Estimate: the mean, times pi.
    Holds if its interval lies in [0.95, 1.05]."""
    limits = []
    for _ in range(instances):
        narrow, wide = (_mean_pair_factor(width, generator) for width in (400, 1600))
        limits.append(math.pi * (2 * wide - narrow))
    return within(limits, 0.95, 1.05, "mean factor of an activation, times pi")


def greedy_is_below(instances: int, generator: torch.Generator) -> Evidence:
    """On random pairs of matrices, greedy search against enumeration. Holds if greedy is never above
    the maximum and below it by more than rounding on some. Estimate: the share where it is below."""
    above, below = [], []
    for _ in range(instances):
        left, right = _normal(generator, 8, 10), _normal(generator, 10, 8)
        exact = exact_pair_factor(left, right, RELU).value
        greedy = greedy_pair_factor(left, right, RELU).value
        above.append(greedy > exact)
        below.append(greedy < exact * (1 - 1e-6))
    found = universal(below)
    verdict: Verdict = "does not hold" if any(above) else "holds" if any(below) else "holds in part"
    return replace(
        found, violations=sum(above), verdict=verdict, unit="share where greedy search is below"
    )


def power_method_from_below(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random convolution the values after 10, 50, 100 and 500 steps never fall and
    never exceed the norm of its matrix, and the last is within one per cent of it (singular values
    that nearly coincide slow the method down)."""
    violated = []
    for _ in range(instances):
        kernel = _normal(generator, 3, 2, 3, 3)

        def convolution(x: Tensor, kernel: Tensor = kernel) -> Tensor:
            return nn.functional.conv2d(x, kernel, padding=1)

        units = torch.eye(50, dtype=torch.float64).view(50, 2, 5, 5)
        true = torch.linalg.matrix_norm(convolution(units).flatten(1), 2).item()
        found = [
            affine_norm(convolution, (1, 2, 5, 5), method="power", steps=steps).value
            for steps in (10, 50, 100, 500)
        ]
        falls = any(b < a * (1 - ROUNDING) for a, b in pairwise(found))
        violated.append(falls or max(found) > true * (1 + ROUNDING) or found[-1] < 0.99 * true)
    return universal(violated)


def pooling_is_one_lipschitz(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if max-pooling over 3 x 3 windows of stride 2 has a Jacobian norm of at most 1 at every
    random image."""
    images = _normal(generator, instances, 1, 9, 9)
    norms = jacobian_norms(nn.MaxPool2d(3, 2), images)
    return universal((norms > 1 + ROUNDING).tolist())


def gram_is_above(instances: int, generator: torch.Generator) -> Evidence:
    """On random matrices of float32 numbers, for T from 0 to 10, in float64 (first case, rounding
    allowed for) and in float32 as released (second case): the value is at least the norm. Holds in
    part if that fails in float32 alone. In float64 it must not rise with T either."""
    double, single = [], []
    for _ in range(instances):
        matrix = _normal(generator, 40, 30).float()
        true = torch.linalg.matrix_norm(matrix.double(), 2).item()
        wide = [gram_norm(matrix.double(), steps=steps).item() for steps in range(11)]
        rises = any(b > a * (1 + 1e-12) for a, b in pairwise(wide))
        double.append(rises or min(wide) < true * (1 - 1e-12))
        values = [gram_norm(matrix, steps=steps).item() for steps in range(11)]
        single.append(min(values) < true)
    return two_cases(double, single)


def gram_is_superlinear(instances: int, generator: torch.Generator) -> Evidence:
    """Ratios of successive errors, while the errors exceed 1e-10, must fall, the last to below 0.3:
    on random matrices (first case) and on orthogonal ones, whose singular values are all equal
    (second case). Holds in part if only one case does."""
    simple, multiple = [], []
    for _ in range(instances):
        matrix = _normal(generator, 30, 20)
        simple.append(not _is_superlinear(matrix))
        multiple.append(not _is_superlinear(torch.linalg.qr(_normal(generator, 20, 20)).Q))
    return two_cases(simple, multiple)


def gram_of_convolutions(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random kernel Gram iteration lies between the largest singular value of all
    symbols and r^(2^-(T+1)) times it (T = 10), and the gradient agrees with plain automatic
    differentiation to a relative 1e-8 (T = 5)."""
    violated = []
    for _ in range(instances):
        kernel = _normal(generator, 4, 3, 3, 3)
        true = sedghi(kernel, 8).value
        value = conv_gram_norm(kernel, 8, steps=10).item()
        between = true * (1 - ROUNDING) <= value <= true * 3 ** (2.0**-11) * (1 + ROUNDING)
        matrix = _normal(generator, 6, 5)
        gradient = gram_norm_and_gradient(matrix, steps=5)[1]
        plain = _plain_gram_gradient(matrix, 5)
        same = (gradient - plain).norm() <= 1e-8 * plain.norm()
        violated.append(not (between and bool(same)))
    return universal(violated)


def gram_is_faster(instances: int, generator: torch.Generator) -> Evidence:
    """Time of the faster of singular values of all symbols and 100 power steps over that of Gram
    iteration (T = 6), 16 channels, kernel 3, input 16, on the processor that runs the test, each the
    best of three. Estimate: the geometric mean. Holds if its interval lies above 1, does not hold if
    below, else holds in part."""
    ratios = []
    kernels = [_normal(generator, 16, 16, 3, 3).float() for _ in range(instances)]
    for kernel in [kernels[0], *kernels]:  # the first is the warm-up
        others = min(_seconds(sedghi, kernel, 16), _seconds(farnia_ryu, kernel, 16))
        ratios.append(math.log(others / _seconds(conv_gram_norm, kernel, 16)))
    found = within(ratios[1:], 0.0, math.inf, "times as fast")
    mean, low, high = (math.exp(value) for value in (found.estimate, found.low, found.high))
    return replace(found, estimate=mean, low=low, high=high)


def circular_bounds_zero_padding(instances: int, generator: torch.Generator) -> Evidence:
    """On kernels near q q^T with q = (1, -1, 1) and inputs 3 x 3 (a search for a counterexample, not
    a typical case). Holds if the norm with circular padding is at least a lower bound of the norm
    with zero padding on each."""
    alternating = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    violated = []
    for _ in range(instances):
        kernel = torch.outer(alternating, alternating) + 0.2 * _normal(generator, 3, 3)
        kernel = kernel[None, None]
        zero = conv2d_norm(kernel, 3, padding=1, method="lanczos").value
        violated.append(zero > sedghi(kernel, 3).value * (1 + ROUNDING))
    return universal(violated)


def norm2toep_is_above(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random kernel, also with unequal sides, norm2toep after 1 to 4 steps is at
    least the norm with circular padding on a 32 x 32 grid, and the norm with zero padding."""
    violated = []
    for index in range(instances):
        sides = ((3, 3), (5, 1), (1, 3), (3, 5))[index % 4]
        kernel = _normal(generator, 2, 3, *sides)
        circular = sedghi(kernel, 32).value
        padding = (sides[0] // 2, sides[1] // 2)
        zero = conv2d_norm(kernel, 8, padding=padding, method="lanczos").value
        least = min(toeplitz_gram_norm(kernel, steps=steps).item() for steps in range(1, 5))
        violated.append(least < max(circular, zero) * (1 - ROUNDING))
    return universal(violated)


def norm2toep_is_quadratic(instances: int, generator: torch.Generator) -> Evidence:
    """Ratio of the last two errors of norm2toep (T = 7 and 8) on random kernels over one axis, which
    tends to 0 where convergence is quadratic. Holds if the interval of its mean lies below 0.1, and
    does not hold if it lies above."""
    ratios = []
    for _ in range(instances):
        kernel = _normal(generator, 3, 3, 1, 3)
        true = sedghi(kernel, (1, 2048)).value
        errors = [toeplitz_gram_norm(kernel, steps=steps).item() - true for steps in (7, 8)]
        ratios.append(errors[1] / errors[0])
    return within(ratios, -math.inf, 0.1, "mean ratio of an error to the one before")


def circular_to_any_size(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random kernel of side 3 or 5 the norm with circular padding on a 64 x 64 grid
    is at most 1 / (1 - 2 floor(k/2) / n) times that on n x n, n = k + 2 or 12."""
    violated = []
    for index in range(instances):
        side = 3 + 2 * (index % 2)
        size = side + 2 if index % 4 < 2 else 12
        kernel = _normal(generator, 2, 2, side, side)
        bound = sedghi(kernel, size).value / (1 - 2 * (side // 2) / size)
        violated.append(sedghi(kernel, 64).value > bound * (1 + ROUNDING))
    return universal(violated)


def rescaling_is_one_lipschitz(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random matrix the rescaled one has a norm of at most 1, to rounding, after 1
    to 6 steps."""
    violated = []
    for _ in range(instances):
        matrix = _normal(generator, 8, 12)
        scaled = [matrix / spectral_rescaling(matrix, steps=t)[:, None] for t in range(1, 7)]
        norms = torch.linalg.matrix_norm(torch.stack(scaled), 2)
        violated.append(norms.max().item() > 1 + ROUNDING)
    return universal(violated)


def order_of_bounds(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net LipSDP by a solver is at most ECLipsE-Fast and at most LipLT, both
    at most AutoLip, to a relative 1e-6. Not tested without a solver."""
    if not has_solver():
        return NOT_TESTED
    violated = []
    for chain in _chains(instances, generator):
        least = lipsdp_neuron(chain).value * (1 - 1e-6)
        middle = [eclipse_fast(chain, search=False).value, liplt(chain).value]
        violated.append(least > min(middle) or max(middle) > product(chain).value)
    return universal(violated)


def lipsdp_below_seqlip(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net of three or four layers LipSDP by a solver is at most exact
    SeqLip, to a relative 1e-6. Not tested without a solver."""
    if not has_solver():
        return NOT_TESTED
    violated = []
    for chain in _chains(instances, generator, SIZES[1:]):
        bound = lipsdp_neuron(chain).value * (1 - 1e-6)
        violated.append(bound > seqlip(chain, pairs="exact").value)
    return universal(violated)


def _chains(
    instances: int, generator: torch.Generator, sizes: Sequence[tuple[int, ...]] = SIZES
) -> list[Chain]:
    return [normal_chain(sizes[index % len(sizes)], generator) for index in range(instances)]


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def _dominated(chain: Chain) -> Chain:
    """The chain with all singular values but the largest of each layer divided by twenty."""
    weights = []
    for weight in chain.weights:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        values[1:] /= 20
        weights.append((left * values) @ right)
    return Chain(tuple(weights), chain.slopes)


def _mean_pair_factor(width: int, generator: torch.Generator) -> float:
    """Mean over 50 pairs of the maximum of |<D u, v>| over vertices D, for uniform directions."""
    directions = nn.functional.normalize(_normal(generator, 2, 50, width), dim=2)
    terms = directions[0] * directions[1]
    return torch.maximum(terms.clamp_min(0).sum(1), -terms.clamp_max(0).sum(1)).mean().item()


def _is_superlinear(matrix: Tensor) -> bool:
    true = torch.linalg.matrix_norm(matrix, 2).item()
    errors = [gram_norm(matrix, steps=steps).item() / true - 1 for steps in range(11)]
    large = [error for error in errors if error > 1e-10]
    ratios = [b / a for a, b in pairwise(large)]
    return len(ratios) > 1 and ratios[-1] < min(ratios[0], 0.3)


def _plain_gram_gradient(matrix: Tensor, steps: int) -> Tensor:
    point = matrix.clone().requires_grad_()
    gram = point / matrix.norm()
    for _ in range(steps):
        gram = gram.T @ gram
    value = gram.norm() ** (2.0**-steps) * matrix.norm()
    return torch.autograd.grad(value, point)[0]


def _seconds(function: Callable[[Tensor, int], object], kernel: Tensor, size: int) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        function(kernel, size)
        times.append(time.perf_counter() - started)
    return min(times)


A = "Virmaux & Scaman 2018"
B = "Delattre et al. 2023"
C = "Delattre et al. 2024"
OWN = "several papers"

CLAIMS = (
    Claim(
        "A1",
        A,
        "AutoLip of a chain is the product of the layers' norms, and above all Jacobian norms",
        "tightness",
        autolip_is_a_bound,
    ),
    Claim(
        "A2",
        A,
        "The largest norm over slopes in [0, 1] is attained with slopes 0 and 1",
        "tightness",
        maximum_is_at_a_vertex,
    ),
    Claim(
        "A3",
        A,
        "SeqLip lies between the exact maximum over slopes and AutoLip",
        "tightness",
        seqlip_lies_between,
    ),
    Claim(
        "A4",
        A,
        "SeqLip is at most the closed form in ratios of singular values and overlaps",
        "seqlip_ideal",
        theorem_is_a_bound,
    ),
    Claim(
        "A5",
        A,
        "SeqLip / AutoLip tends to 1/pi per activation for dominant random directions",
        "seqlip_ideal",
        one_over_pi,
    ),
    Claim(
        "A6",
        A,
        "Greedy SeqLip is never above SeqLip, and sometimes strictly below: it is no upper bound",
        "seqlip_mlp",
        greedy_is_below,
    ),
    Claim(
        "A7",
        A,
        "The power method converges to the norm of an affine map from below",
        "gram_convergence",
        power_method_from_below,
    ),
    Claim(
        "A8",
        A,
        "Max-pooling with overlapping windows is 1-Lipschitz (as used for AlexNet)",
        "alexnet",
        pooling_is_one_lipschitz,
    ),
    Claim(
        "B1",
        B,
        "Gram iteration never falls below the norm, for any number of steps",
        "gram_convergence",
        gram_is_above,
    ),
    Claim("B2", B, "Gram iteration converges superlinearly", "gram_convergence", gram_is_superlinear),
    Claim(
        "B3",
        B,
        "Gram iteration of convolutions gives the largest singular value, and its own gradient is exact",
        "conv_norms",
        gram_of_convolutions,
    ),
    Claim(
        "B4",
        B,
        "Gram iteration is faster than singular values and power iteration (here: on a CPU)",
        "conv_norms",
        gram_is_faster,
    ),
    Claim(
        "B5",
        B,
        "The circular bound also bounds the layer with zero padding and the same input size",
        "padding",
        circular_bounds_zero_padding,
    ),
    Claim(
        "D1",
        C,
        "norm2toep bounds circular and zero padding, for any number of steps",
        "padding",
        norm2toep_is_above,
    ),
    Claim("D2", C, "norm2toep converges quadratically", "padding", norm2toep_is_quadratic),
    Claim(
        "D3",
        C,
        "The circular norm on n x n times 1 / (1 - 2 floor(k/2) / n) bounds every input size",
        "padding",
        circular_to_any_size,
    ),
    Claim(
        "D4",
        C,
        "Spectral rescaling makes a matrix 1-Lipschitz, for any number of steps",
        "bound_claims",
        rescaling_is_one_lipschitz,
    ),
    Claim(
        "X1",
        OWN,
        "LipSDP is at most ECLipsE-Fast and LipLT, and these are at most AutoLip",
        "tightness",
        order_of_bounds,
    ),
    Claim(
        "X2", OWN, "LipSDP is at most SeqLip for three layers and more", "tightness", lipsdp_below_seqlip
    ),
)
"""All claims, in the order of the table."""
