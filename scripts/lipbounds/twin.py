"""A copy of a model that shares its weights, to be run and changed in place of it."""

import copy
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def twin(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with the same parameters, buffers of its own and attributes of its own.

    Calling it, changing its mode or its modules leaves ``model`` as it is. A model that cannot be
    copied (it holds a lock, a file, ...) is returned itself if all of it is in eval mode.

    Raises
    ------
    ValueError
        For one that cannot be copied and is in train mode, and for weights that have no values yet.
    """
    refuse_missing_weights(model)
    shared: dict[int, Tensor] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                shared[id(parameter)] = parameter
        for buffer in module._buffers.values():
            if buffer is not None:
                shared[id(buffer)] = buffer.detach().clone()
        for value in vars(module).values():
            if isinstance(value, Tensor):  # such as the weight that the old weight_norm computes
                shared[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, dict(shared))
    except Exception as error:
        if any(module.training for module in model.modules()):
            raise ValueError(
                f"{type(model).__name__} cannot be copied ({error}) and is in train mode; call "
                "model.eval() first"
            ) from error
        return model


def refuse_missing_weights(model: nn.Module) -> None:
    """Raises ``ValueError`` for weights of lazy modules that never ran, and on the meta device."""
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(tensor) or tensor.is_meta:
            raise ValueError(f"{path} has no values yet; run or load the model first")


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Leaves random states and ``model`` as they were, whatever calls of it do.

    A copy may still lead to the model itself: through functions that were set on it, hooks among them.
    Raises ValueError for what is no module, and as :func:`refuse_missing_weights` does.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model is an nn.Module, not {type(model).__name__}; put it into one")
    refuse_missing_weights(model)
    python, numbers, before = random.getstate(), np.random.get_state(), _states(model)
    try:
        with torch.random.fork_rng(_cuda_devices(model)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        _restore(before)


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    tensors = [*model.parameters(), *model.buffers()]
    return list({tensor.device for tensor in tensors if tensor.is_cuda})


Store = dict[str, Any]

_States = list[tuple[nn.Module, set[str], dict[str, Any], list[tuple[Store, str, Tensor, Tensor]]]]
"""Modules, the names of their attributes, plain attributes with copies of lists, and their parameters
and buffers with copies of the values."""


def _states(model: nn.Module) -> _States:
    modules = _python_modules(model)
    return [(module, set(vars(module)), _plain(module), _tensors(module)) for module in modules]


def _python_modules(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]


def _plain(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Attributes that calls may exchange, and what is in them if it is a list."""
    kinds = type(None), bool, int, float, str, list, deque, Tensor
    return {
        name: (value, list(value) if isinstance(value, list | deque) else None)
        for name, value in vars(module).items()
        if isinstance(value, kinds)
    }


def _tensors(module: nn.Module) -> list[tuple[Store, str, Tensor, Tensor]]:
    return [
        (store, name, tensor, tensor.detach().clone())
        for store in (module._parameters, module._buffers)
        for name, tensor in store.items()
        if tensor is not None
    ]


def _restore(states: _States) -> None:
    for module, names, attributes, tensors in states:
        for name in set(vars(module)) - names:
            vars(module).pop(name)
        for name, (value, items) in attributes.items():
            vars(module)[name] = value
            if items is not None and list(map(id, value)) != list(map(id, items)):
                value.clear()
                value.extend(items)
        for store, name, tensor, values in tensors:
            store[name] = tensor
            if not torch.equal(tensor, values):
                with torch.no_grad():
                    tensor.copy_(values)
