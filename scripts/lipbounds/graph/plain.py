"""The graph of a plain chain of torch's own layers, without the time that torch.export takes.

Training runs bound hundreds of such nets. It is only for layers of exactly the types below, whose
calls do nothing else, and gives the same graph.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lipbounds.graph.program import Graph, Node, Shape
from lipbounds.hooks import has_hooks

_aten = torch.ops.aten

_Call: TypeAlias = tuple[Any, dict[str, Any]]
"""An operator and its arguments."""


def plain(model: nn.Module, input_shape: Shape) -> Graph | None:
    """The graph for one input of ``input_shape``, None for any other model and for shapes that do not
    fit, about which an export has more to say."""
    if type(model) is not nn.Sequential or any(map(has_hooks, model.modules())):
        return None
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors}
    if len(kinds) != 1:
        return None
    ((dtype, device),) = kinds
    nodes = [Node("input", "input", None, {}, (1, *input_shape), dtype, layer="input")]
    for path, layer in model._modules.items():  # each as often as it is called
        if not _does_something(layer):
            continue
        node = _node(path, layer, nodes[-1], device)
        if node is None:
            return None
        nodes.append(node)
    return Graph(nodes[0], tuple(nodes), (nodes[-1],), device)


def _does_something(layer: nn.Module) -> bool:
    dropped = type(layer) is nn.Dropout and not (layer.training and layer.p)
    return not (dropped or type(layer) is nn.Identity)


def _node(path: str, layer: nn.Module, before: Node, device: torch.device) -> Node | None:
    """The call of ``layer`` on the result of ``before``; None where it is not among those below."""
    found = _CALLS[type(layer)](layer, before) if type(layer) in _CALLS else None
    if found is None:
        return None
    operator, arguments = found
    kind = type(layer).__name__
    several = operator in _SEVERAL
    node = Node(
        f"{kind.lower()}_{path}",
        str(operator),
        operator,
        arguments,
        (),
        before.dtype,
        0 if several else None,
        path,
        kind,
    )
    zeros = torch.zeros(before.shape, dtype=before.dtype, device=device)
    try:  # not on the meta device, for which torch first takes two seconds to import more of itself
        with torch.no_grad():
            result = operator(**{k: zeros if v is before else v for k, v in arguments.items()})
    except (RuntimeError, TypeError):
        return None
    result = result[0] if several else result
    return replace(node, shape=tuple(result.shape)) if result.dtype == before.dtype else None


def _values(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _linear(layer: nn.Linear, before: Node) -> _Call:
    weights = {"weight": layer.weight.detach(), "bias": _values(layer.bias)}
    return _aten.linear.default, {"input": before, **weights}


def _convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, before: Node) -> _Call | None:
    axes = layer.weight.dim() - 2
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    if len(before.shape) != axes + 2:  # the first axis would be taken for channels
        return None
    operator = (_aten.conv1d, _aten.conv2d, _aten.conv3d)[axes - 1].default
    return operator, {
        "input": before,
        "weight": layer.weight.detach(),
        "bias": _values(layer.bias),
        "stride": list(layer.stride),
        "padding": list(layer.padding),
        "dilation": list(layer.dilation),
        "groups": layer.groups,
    }


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, before: Node) -> _Call | None:
    fits = len(before.shape) in {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,)}.get(type(layer), (5,))
    if layer.training or layer.running_mean is None or layer.running_var is None or not fits:
        return None
    return _aten._native_batch_norm_legit_no_training.default, {
        "input": before,
        "weight": _values(layer.weight),
        "bias": _values(layer.bias),
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
        "momentum": layer.momentum if layer.momentum is not None else 0.0,
        "eps": layer.eps,
    }


_SEVERAL = {_aten._native_batch_norm_legit_no_training.default}
"""Operators that return a tuple, of which the first is meant."""


def _max_pool(layer: nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d, before: Node) -> _Call | None:
    axes = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d).index(type(layer)) + 1
    if layer.return_indices or len(before.shape) != axes + 2:
        return None
    operator = (_aten.max_pool1d, _aten.max_pool2d, _aten.max_pool3d)[axes - 1].default
    return operator, {
        "self": before,
        "kernel_size": _each(layer.kernel_size, axes),
        "stride": _each(layer.stride, axes),
        "padding": _each(layer.padding, axes),
        "dilation": _each(layer.dilation, axes),
        "ceil_mode": layer.ceil_mode,
    }


def _average_pool(layer: nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d, before: Node) -> _Call | None:
    axes = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d).index(type(layer)) + 1
    if len(before.shape) != axes + 2:
        return None
    operator = (_aten.avg_pool1d, _aten.avg_pool2d, _aten.avg_pool3d)[axes - 1].default
    divisor = {} if axes == 1 else {"divisor_override": layer.divisor_override}
    return operator, {
        "self": before,
        "kernel_size": _each(layer.kernel_size, axes),
        "stride": _each(layer.stride, axes),
        "padding": _each(layer.padding, axes),
        "ceil_mode": layer.ceil_mode,
        "count_include_pad": layer.count_include_pad,
        **divisor,
    }


def _each(value: int | tuple[int, ...], axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else list(value)


def _flatten(layer: nn.Flatten, before: Node) -> _Call | None:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        return None
    return _aten.view.default, {"self": before, "size": [1, math.prod(before.shape[1:])]}


def _unflatten(layer: nn.Unflatten, before: Node) -> _Call | None:
    sizes = list(layer.unflattened_size)
    if layer.dim != 1 or not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    return _aten.view.default, {"self": before, "size": [1, *sizes, *before.shape[2:]]}


def _entries(operator: Any) -> Callable[[nn.Module, Node], _Call]:
    return lambda layer, before: (operator, {"self": before})


_CALLS: dict[type[nn.Module], Callable[[Any, Node], _Call | None]] = {
    nn.Linear: _linear,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _max_pool),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _average_pool),
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.ReLU: _entries(_aten.relu.default),
    nn.Tanh: _entries(_aten.tanh.default),
    nn.Sigmoid: _entries(_aten.sigmoid.default),
}
