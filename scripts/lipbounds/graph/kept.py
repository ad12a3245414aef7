"""What stays whole in a graph: modules with a rule of their own, and functions that torch breaks up.

Each becomes an operator of this library, which runs the real thing and is not looked into.
"""

import itertools
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations
from torch.overrides import TorchFunctionMode

_RUNNING: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()
"""The modules that operators of graphs stand for, by number."""

_NUMBERS = itertools.count()


@torch.library.custom_op("lipbounds::module", mutates_args=())
def _module(number: int, input: Tensor) -> Tensor:
    with torch.no_grad():
        return type(_RUNNING[number]).forward(_RUNNING[number], input).clone()


@_module.register_fake
def _(number: int, input: Tensor) -> Tensor:
    with unset_fake_temporarily(), torch.no_grad():
        zeros = torch.zeros(input.shape, dtype=input.dtype, device=input.device)
        result = type(_RUNNING[number]).forward(_RUNNING[number], zeros)
    if not isinstance(result, Tensor):
        name = type_of(_RUNNING[number]).__name__
        raise ValueError(f"{name} has a rule, and must return a tensor, not a {type(result).__name__}")
    return input.new_empty(result.shape, dtype=result.dtype)


def module_of(number: int) -> nn.Module:
    """The module of a call."""
    return _RUNNING[number]


def type_of(module: nn.Module) -> type[nn.Module]:
    """The module's type; that of the layer itself where its weight is parametrized."""
    return type_before_parametrizations(module) if is_parametrized(module) else type(module)


@contextmanager
def modules(model: nn.Module, whole: Container[type[nn.Module]]) -> Iterator[None]:
    """Calls of the modules of ``model`` whose type is in ``whole`` are recorded whole.

    The operators refer to these modules, which must be kept.
    """
    found = [
        module
        for module in model.modules()
        # a forward that was replaced on the instance is not what the rule is for
        if type_of(module) in whole and "forward" not in vars(module)
    ]
    for module in found:
        number = next(_NUMBERS)
        _RUNNING[number] = module
        module.forward = _recorded(module, number)
    try:
        yield
    finally:
        for module in found:
            del module.forward


def _recorded(module: nn.Module, number: int) -> Callable[[Tensor], Any]:
    def forward(*inputs: Any, **named: Any) -> Any:
        given = [*inputs, *named.values()]
        if len(given) != 1 or not isinstance(given[0], Tensor):
            raise ValueError(
                f"{type_of(module).__name__} has a rule, and must take one tensor and nothing else"
            )
        return torch.ops.lipbounds.module(number, given[0])

    return forward


def _function(name: str, function: Callable[..., Tensor], schema: str) -> Callable[..., Tensor]:
    """An operator that computes ``function``, elementwise or over one axis: shapes do not change."""
    torch.library.define(f"lipbounds::{name}", schema)
    torch.library.impl(f"lipbounds::{name}", "CompositeExplicitAutograd")(function)
    torch.library.register_fake(f"lipbounds::{name}")(lambda x, *rest: torch.empty_like(x))
    return getattr(torch.ops.lipbounds, name)


_softsign, _tanhshrink = functional.softsign, functional.tanhshrink
_softshrink, _hardshrink = functional.softshrink, functional.hardshrink
_WHOLE: dict[Any, Callable[..., Tensor]] = {
    functional.softsign: _function("softsign", lambda x: _softsign(x), "(Tensor x) -> Tensor"),
    functional.tanhshrink: _function("tanhshrink", lambda x: _tanhshrink(x), "(Tensor x) -> Tensor"),
}
for _name, _shrink in (("softshrink", _softshrink), ("hardshrink", _hardshrink)):
    _WHOLE[_shrink] = _function(
        _name,
        lambda x, lambd=0.5, shrink=_shrink: shrink(x, lambd),
        "(Tensor x, float lambd=0.5) -> Tensor",
    )
_WHOLE[torch.hardshrink] = _WHOLE[functional.hardshrink]


class _Functions(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = _WHOLE.get(func, func)
        return found(*args, **(kwargs or {}))


def functions() -> TorchFunctionMode:
    """A context in which functions that torch.export breaks up badly are recorded whole."""
    return _Functions()
