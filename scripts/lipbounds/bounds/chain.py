"""Networks seen as matrices with elementwise activations between them."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.rounding import product_up, up


@dataclass(frozen=True, eq=False)
class Chain:
    """f = W_K rho_{K-1} ... rho_1 W_1: matrices with elementwise activations between them.

    Biases are left out: they change no difference f(x) - f(y). For every x and y there are diagonal
    matrices D_k with entries in ``slopes[k - 1]`` such that f(x) - f(y) = W_K D_{K-1} ... D_1 W_1
    (x - y). So the largest norm of these products bounds the Lipschitz constant in l2, and every
    function of a chain bounds or estimates this largest norm.

    Parameters
    ----------
    weights
        W_1 to W_K, K >= 1: float64 matrices (n_k, n_{k-1}) on the CPU, taken as exact.
    slopes
        K - 1 intervals (alpha, beta): all slopes (rho(s) - rho(t)) / (s - t) of the activation lie
        in it. (0, 1) for ReLU; alpha may be negative (GELU) and beta greater than 1.

    Raises
    ------
    ValueError
        For no weights, empty or non-matrix weights, NaN or infinite entries, another dtype or
        device, sizes that do not follow on each other, another number of intervals than K - 1, or
        intervals that are empty or not finite.
    """

    weights: tuple[Tensor, ...]
    slopes: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        object.__setattr__(self, "slopes", tuple((float(a), float(b)) for a, b in self.slopes))
        if not self.weights:
            raise ValueError("a chain needs at least one weight matrix")
        for index, weight in enumerate(self.weights):
            _check_weight(index, weight)
        for index in range(1, len(self.weights)):
            _check_neighbours(index, self.weights[index - 1], self.weights[index])
        if len(self.slopes) != len(self.weights) - 1:
            raise ValueError(
                f"{len(self.weights)} weights have {len(self.weights) - 1} activations between them,"
                f" but slopes has {len(self.slopes)} intervals"
            )
        for index, (low, high) in enumerate(self.slopes):
            _check_interval(index, low, high)

    @cached_property
    def norms(self) -> tuple[float, ...]:
        """Certified upper bounds of the weights' spectral norms."""
        return tuple(linear_norm(weight).value for weight in self.weights)

    @cached_property
    def centred(self) -> tuple[tuple[float, float], ...]:
        """Each interval as (c, r), such that [c - r, c + r] contains it."""
        return tuple(centre_and_radius(low, high) for low, high in self.slopes)

    @cached_property
    def steepest(self) -> tuple[float, ...]:
        """The largest absolute slope of each activation."""
        return tuple(max(abs(low), abs(high)) for low, high in self.slopes)

    @cached_property
    def normalised(self) -> tuple["Chain", tuple[int, ...]]:
        """The chain with weights of norm about one, and exponents e: W_k = 2**e_k times the new W_k.

        The new weights are exact: one that would lose digits to underflow is left as it is.
        """
        pairs = [_normalise(weight, norm) for weight, norm in zip(self.weights, self.norms, strict=True)]
        chain = Chain(tuple(weight for weight, _ in pairs), self.slopes)
        norms = tuple(scaled_up(norm, -e) for norm, (_, e) in zip(self.norms, pairs, strict=True))
        chain.__dict__["norms"] = norms  # known already, so not computed again
        return chain, tuple(e for _, e in pairs)

    def transposed(self) -> "Chain":
        """The chain W_1^T D_1 ... D_{K-1} W_K^T, whose products have the same norms."""
        return Chain(tuple(weight.T for weight in reversed(self.weights)), self.slopes[::-1])


def _check_weight(index: int, weight: Tensor) -> None:
    if weight.dim() != 2 or weight.numel() == 0:
        raise ValueError(
            f"weight {index} must be a non-empty matrix, not of shape {tuple(weight.shape)}"
        )
    if weight.dtype != torch.float64 or weight.device.type != "cpu":
        raise ValueError(
            f"weight {index} must be float64 on the CPU, not {weight.dtype} on {weight.device}:"
            " convert it with .detach().cpu().double()"
        )
    if weight.requires_grad:
        raise ValueError(f"weight {index} requires a gradient: bounds have none, so detach it")
    if not weight.isfinite().all():
        raise ValueError(f"weight {index} has NaN or infinite entries")


def _check_neighbours(index: int, before: Tensor, after: Tensor) -> None:
    if after.shape[1] != before.shape[0]:
        raise ValueError(
            f"weight {index - 1} returns {before.shape[0]} numbers but weight {index} takes"
            f" {after.shape[1]}: weights are (out, in), from the input to the output"
        )


def _check_interval(index: int, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"slope interval {index} is not finite: ({low}, {high})")
    if low > high:
        raise ValueError(f"slope interval {index} is empty: {low} > {high}; write (lower, upper)")


def centre_and_radius(low: float, high: float) -> tuple[float, float]:
    """Floats c and r with [low, high] inside [c - r, c + r], r as small as c allows."""
    centre = low / 2 + high / 2
    exact = max(Fraction(high) - Fraction(centre), Fraction(centre) - Fraction(low))
    radius = float(exact)
    return centre, radius if Fraction(radius) >= exact else up(radius)


def _normalise(weight: Tensor, norm: float) -> tuple[Tensor, int]:
    exponent = math.frexp(norm if norm < math.inf else weight.abs().max().item())[1]
    scaled = times_power_of_two(weight, -exponent)
    if norm == 0 or not torch.equal(times_power_of_two(scaled, exponent), weight):
        return weight, 0
    return scaled, exponent


def times_power_of_two(tensor: Tensor, exponent: int) -> Tensor:
    """``tensor * 2**exponent``, in two steps because one power of two alone may overflow."""
    half = exponent // 2
    return tensor * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)


def scaled_up(value: float, exponent: int) -> float:
    """Upper bound of ``value * 2**exponent``; inf where it does not fit."""
    try:
        scaled = math.ldexp(value, exponent)
    except OverflowError:
        return math.inf
    return scaled if scaled == math.inf or math.ldexp(scaled, -exponent) == value else up(scaled)


def product(chain: Chain) -> OperatorNorm:
    """AutoLip: the product of the weights' norms and the steepest slopes.

    Source: Virmaux & Scaman (NeurIPS 2018), algorithm 1. Certified: every factor is an upper bound
    and the product is rounded up.
    """
    return OperatorNorm(product_up([*chain.norms, *chain.steepest]), "upper", True, "product of norms")
