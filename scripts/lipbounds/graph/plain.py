"""The graph of a plain fully connected net, without the time that torch.export takes.

Training runs bound hundreds of such nets. It is only for layers of exactly the types below, whose
calls do nothing else, and gives the same graph.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lipbounds.graph.program import Graph, Node, Shape
from lipbounds.hooks import has_hooks

_aten = torch.ops.aten

_ENTRIES: dict[type[nn.Module], Callable[..., Any]] = {
    nn.ReLU: _aten.relu.default,
    nn.Tanh: _aten.tanh.default,
    nn.Sigmoid: _aten.sigmoid.default,
}


def plain(model: nn.Module, input_shape: Shape) -> Graph | None:
    """The graph for one input of ``input_shape``, None for any other model and for shapes that do not
    fit, about which an export has more to say."""
    if type(model) is not nn.Sequential or any(map(has_hooks, model.modules())):
        return None
    layers = list(model._modules.items())  # each as often as it is called
    weights = [layer.weight for layer in model._modules.values() if type(layer) is nn.Linear]
    kinds = {(weight.dtype, weight.device) for weight in weights}
    if len(kinds) != 1:
        return None
    ((dtype, device),) = kinds
    nodes = [Node("input", "input", None, {}, (1, *input_shape), dtype, layer="input")]
    for path, layer in layers:
        call = _call_of(layer, nodes[-1])
        if call is None:
            return None
        operator, arguments, shape = call
        if operator is not None:
            kind = type(layer).__name__
            node = Node(
                f"{kind.lower()}_{path}",
                str(operator),
                operator,
                arguments,
                shape,
                dtype,
                None,
                path,
                kind,
            )
            nodes.append(node)
    return Graph(nodes[0], tuple(nodes), (nodes[-1],), device)


def _call_of(layer: nn.Module, before: Node) -> tuple[Any, dict[str, Any], Shape] | None:
    """The operator of a layer (None where it does nothing), its arguments, and the shape it gives."""
    shape = before.shape
    if type(layer) is nn.Linear:
        if shape[-1] != layer.in_features or layer.weight.dtype != before.dtype:
            return None
        bias = None if layer.bias is None else layer.bias.detach()
        arguments = {"input": before, "weight": layer.weight.detach(), "bias": bias}
        return _aten.linear.default, arguments, (*shape[:-1], layer.out_features)
    if type(layer) in _ENTRIES:
        return _ENTRIES[type(layer)], {"self": before}, shape
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        flat = (1, math.prod(shape[1:]))
        return _aten.view.default, {"self": before, "size": list(flat)}, flat
    if type(layer) is nn.Identity or (type(layer) is nn.Dropout and not (layer.training and layer.p)):
        return None, {}, shape
    return None
