"""Upper bounds of the Lipschitz constant of a whole network."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipschitz.bounds.rules import layer_constant
from lipschitz.hooks import has_hooks
from lipschitz.operator_norm import Kind, OperatorNorm
from lipschitz.rounding import up


@dataclass(frozen=True)
class Layer:
    """One factor of a product bound: module path, module type, its norm, and how it was obtained."""

    name: str
    kind: str
    norm: OperatorNorm
    how: str


@dataclass(frozen=True)
class UpperBound:
    """An upper bound of a Lipschitz constant, in logits per unit of input.

    ``log10`` never overflows; ``value`` is inf when it does not fit into a float. ``certified`` is
    True only when the number is proved to be at least the true constant, rounding included.
    """

    log10: float
    value: float
    kind: Kind
    certified: bool
    layers: tuple[Layer, ...]
    method: str


def upper_bound(
    model: nn.Module, input_shape: tuple[int, ...], *, method: str = "autolip", ord: float = 2
) -> UpperBound:
    """Upper bound of the Lipschitz constant of ``model`` on its whole input space, in eval mode.

    Parameters
    ----------
    model
        A layer with a rule, or nested ``nn.Sequential`` of such layers.
    input_shape
        Shape of one input, without the batch dimension.
    method
        ``autolip``: the product of the layers' constants (Virmaux & Scaman, NeurIPS 2018,
        algorithm 1; C_upper of Khromov & Singh, ICLR 2024).
    ord
        2, 1 or inf: the norm on inputs and outputs.

    Raises
    ------
    UnknownLayerError
        For a module without a rule; the message names it and says how to register one.
    ValueError
        For an unknown method or order, weights that are not finite, forward hooks, or an input shape
        that a layer rejects (named in the message).
    """
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if method not in METHODS:
        raise ValueError(f"unknown upper bound {method!r}; known: {', '.join(METHODS)}")
    return METHODS[method](model, tuple(input_shape), ord)


def _autolip(model: nn.Module, input_shape: tuple[int, ...], ord: float) -> UpperBound:
    layers = []
    for path, module, shape in _leaves(model, input_shape):
        constant = layer_constant(path, module, shape, ord)
        layers.append(Layer(path, type(module).__name__, constant.norm, constant.how))
    log10, value = 0.0, 1.0
    for layer in layers:
        log10 = up(log10 + _log10_up(layer.norm.value))
        value = up(value * layer.norm.value) if layer.norm.value != 1 else value
    certified = all(layer.norm.kind == "upper" and layer.norm.certified for layer in layers)
    return UpperBound(
        log10=log10,
        value=value,
        kind="upper" if all(layer.norm.kind == "upper" for layer in layers) else "estimate",
        certified=certified,
        layers=tuple(layers),
        method="autolip",
    )


METHODS: dict[str, Callable[[nn.Module, tuple[int, ...], float], UpperBound]] = {"autolip": _autolip}


def _log10_up(value: float) -> float:
    """log10 rounded up (the library's own rounding is within one unit in the last place)."""
    if value == 0:
        return -math.inf
    return 0.0 if value == 1 else up(up(math.log10(value)))


def _leaves(
    model: nn.Module, input_shape: tuple[int, ...]
) -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Path, module and input shape of the layers of nested Sequentials, in order of execution."""
    like = next(model.parameters(), torch.empty(0))
    point = like.new_zeros(1, *input_shape)
    for path, module in _flatten("", model):
        yield path, module, tuple(point.shape[1:])
        point = _forward(path, module, point)


def _flatten(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if any(map(has_hooks, module.modules())):
        raise ValueError(
            f"{path or 'the model'} has forward hooks, whose effect on the Lipschitz constant is not "
            "known; remove them, or fold what they do into the weights"
        )
    if type(module) is not nn.Sequential:
        yield path, module
        return
    # not named_children(), which leaves out a module that occurs a second time
    for name, child in module._modules.items():
        if child is not None:
            yield from _flatten(f"{path}.{name}" if path else name, child)


def _forward(path: str, module: nn.Module, point: Tensor) -> Tensor:
    """Output of a layer in eval mode; tells the shape that the next one gets."""
    try:
        with torch.no_grad():
            return copy.deepcopy(module).eval()(point)
    except RuntimeError as error:
        shape = tuple(point.shape[1:])
        raise ValueError(
            f"layer {path or 'model'} rejects an input of shape {shape}: {error}"
        ) from error
