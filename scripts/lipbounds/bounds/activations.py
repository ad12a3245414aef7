"""Activations that act on each entry alone: the interval that holds all their slopes.

The extreme slopes of the smooth ones are rounded outward in the last digit given; a test compares
them with 30-digit arithmetic.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

_GELU = 1.1289041452
_GELU_TANH = 1.1289930687
_SILU = 1.0998393202
_MISH_LOW, _MISH_HIGH = -0.1125261224, 1.0884981613
_SELU_HIGH = 1.7580993408473773


@dataclass(frozen=True)
class Slopes:
    """An elementwise function all of whose slopes lie in [low, high]; units of output per input."""

    low: float
    high: float
    how: str = "largest slope"

    @property
    def largest(self) -> float:
        """The Lipschitz constant, in every order of the norm."""
        return max(abs(self.low), abs(self.high))


def _hull(*slopes: float) -> Slopes:
    return Slopes(min(slopes), max(slopes))


def _elu(module: nn.Module) -> Slopes:
    return _hull(0.0, 1.0, float(module.alpha))  # type: ignore[arg-type]


def _gelu(module: nn.Module) -> Slopes:
    largest = _GELU_TANH if module.approximate == "tanh" else _GELU
    return Slopes(1 - largest - 1e-10, largest)


def _prelu(module: nn.Module) -> Slopes:
    weight = module.weight.detach().double()  # type: ignore[operator]
    return _hull(1.0, weight.min().item(), weight.max().item())


def _rrelu(module: nn.Module) -> Slopes:
    slope = (module.lower + module.upper) / 2  # type: ignore[operator]
    return _hull(1.0, math.nextafter(slope, -math.inf), math.nextafter(slope, math.inf))


def _jump(module: nn.Module) -> Slopes:
    return Slopes(0.0, math.inf, "jumps")


def _threshold(module: nn.Module) -> Slopes:
    continuous = module.threshold == module.value
    return Slopes(0.0, 1.0) if continuous else _jump(module)


ACTIVATIONS: dict[type[nn.Module], Callable[[nn.Module], Slopes]] = {
    nn.ReLU: lambda m: Slopes(0.0, 1.0),
    nn.ReLU6: lambda m: Slopes(0.0, 1.0),
    nn.LeakyReLU: lambda m: _hull(1.0, float(m.negative_slope)),  # type: ignore[arg-type]
    nn.PReLU: _prelu,
    nn.RReLU: _rrelu,
    nn.ELU: _elu,
    nn.CELU: lambda m: Slopes(0.0, 1.0),
    nn.SELU: lambda m: Slopes(0.0, _SELU_HIGH),
    nn.GELU: _gelu,
    nn.SiLU: lambda m: Slopes(1 - _SILU - 1e-10, _SILU),
    nn.Mish: lambda m: Slopes(_MISH_LOW, _MISH_HIGH),
    nn.Hardswish: lambda m: Slopes(-0.5, 1.5),
    nn.Sigmoid: lambda m: Slopes(0.0, 0.25),
    nn.Hardsigmoid: lambda m: Slopes(0.0, math.nextafter(1 / 6, 1)),
    nn.Tanh: lambda m: Slopes(0.0, 1.0),
    nn.Hardtanh: lambda m: Slopes(0.0, 1.0),
    nn.Tanhshrink: lambda m: Slopes(0.0, 1.0),
    nn.Softplus: lambda m: Slopes(0.0, 1.0),
    nn.Softsign: lambda m: Slopes(0.0, 1.0),
    nn.Softshrink: lambda m: Slopes(0.0, 1.0),
    nn.Hardshrink: _jump,
    nn.LogSigmoid: lambda m: Slopes(0.0, 1.0),
    nn.Threshold: _threshold,
}
"""Slopes of the activations of torch, by module type."""
