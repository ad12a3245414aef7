"""Operator norms or Lipschitz constants of single layers, by module type.

A rule takes the module, the shape of its input without the batch dimension, and the order of the
norm, and returns the layer's constant with how it was obtained. A type without a rule raises
:class:`UnknownLayerError`; it is never counted as 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from lipschitz.operator_norm import OperatorNorm, linear_norm


@dataclass(frozen=True)
class LayerConstant:
    """A layer's Lipschitz constant and a few words on how it was obtained."""

    norm: OperatorNorm
    how: str


Rule = Callable[[nn.Module, tuple[int, ...], float], LayerConstant]

RULES: dict[type[nn.Module], Rule] = {}

_AnyRule = TypeVar("_AnyRule", bound=Callable[..., LayerConstant])


def register_rule(*types: type[nn.Module]) -> Callable[[_AnyRule], _AnyRule]:
    """Decorator that makes a function the rule of the given module types (exact type match).

    Example
    -------
    >>> @register_rule(MyLayer)
    ... def my_layer(module, input_shape, ord):
    ...     return LayerConstant(OperatorNorm(2.0, "upper", certified=True), "|f'| <= 2")
    """

    def register(rule: _AnyRule) -> _AnyRule:
        for module_type in types:
            RULES[module_type] = rule
        return rule

    return register


class UnknownLayerError(LookupError):
    """A module whose Lipschitz constant is not known."""

    def __init__(self, path: str, module: nn.Module) -> None:
        name = type(module).__qualname__
        super().__init__(
            f"the Lipschitz constant of {path or 'the model itself'} ({name}) is not known. "
            f"Register a rule for it: @lipschitz.bounds.register_rule({name})"
        )
        self.path = path
        self.module = module


def layer_constant(
    path: str, module: nn.Module, input_shape: tuple[int, ...], ord: float
) -> LayerConstant:
    """The constant of one layer. Raises :class:`UnknownLayerError` for a type without a rule."""
    rule = RULES.get(type(module))
    if rule is None:
        raise UnknownLayerError(path, module)
    return rule(module, input_shape, ord)


@register_rule(nn.Linear)
def _linear(module: nn.Linear, input_shape: tuple[int, ...], ord: float) -> LayerConstant:
    return LayerConstant(linear_norm(module.weight, ord=ord), "induced norm of the weight")


@register_rule(nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout)
def _nonexpansive(module: nn.Module, input_shape: tuple[int, ...], ord: float) -> LayerConstant:
    return LayerConstant(OperatorNorm(1.0, "upper", certified=True), "1 by definition")


@register_rule(nn.LeakyReLU)
def _leaky_relu(module: nn.LeakyReLU, input_shape: tuple[int, ...], ord: float) -> LayerConstant:
    slope = max(1.0, abs(module.negative_slope))
    return LayerConstant(OperatorNorm(slope, "upper", certified=True), "largest slope")
