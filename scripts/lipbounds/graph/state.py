"""What calls leave behind in a model, outside of its parameters and buffers."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[str, str]
"""The path of a module and the name of an attribute of it."""

_DEEP = 3
"""Levels of lists, dictionaries and own objects that are looked into."""

_WIDE = 100
"""Items of a list that are looked at, its last ones."""

_LONGEST = 1000
"""Times that what a list holds is repeated in it."""


class State:
    """What the modules of a model hold as plain attributes, at the time that this is made."""

    def __init__(self, model: nn.Module) -> None:
        self.values = {
            (path, name): value
            for path, module in model.named_modules()
            if not isinstance(module, torch.jit.ScriptModule)
            for name, value in vars(module).items()
            if not name.startswith("_")
        }
        self.marks = {place: _mark(value, _DEEP) for place, value in self.values.items()}
        self.amounts = {
            place: amount
            for place, value in self.values.items()
            if (amount := _amount(value)) is not None
        }

    def is_that_of(self, model: nn.Module) -> bool:
        """Whether the model still holds the same."""
        return State(model).marks == self.marks

    def moved_to(self, other: "State") -> dict[Place, Any]:
        """By how much numbers, tensors and lengths of lists are other in a later state."""
        steps = {}
        for place, after in other.amounts.items():
            before = self.amounts.get(place, 0)
            if isinstance(after, Tensor):
                if isinstance(before, Tensor) and before.shape == after.shape:
                    step: Any = after - before
                    if step.isfinite().all() and bool((step != 0).any()):
                        steps[place] = step
            elif not isinstance(before, Tensor) and after != before:
                steps[place] = after - before
        return steps

    def put_ahead(self, model: nn.Module, steps: dict[Place, Any], calls: int) -> None:
        """Makes the model hold what this state becomes by ``calls`` more ``steps``."""
        for (path, name), step in steps.items():
            value = self.values[path, name]
            if isinstance(value, list | deque):
                ahead: Any = value * min(calls, _LONGEST)
            else:
                ahead = self.amounts[path, name] + calls * step
            setattr(model.get_submodule(path), name, ahead)

    def put_back(self, model: nn.Module, places: Iterable[Place]) -> None:
        """Makes the model hold what this state has there."""
        for path, name in places:
            setattr(model.get_submodule(path), name, self.values[path, name])


def _amount(value: Any) -> Any:
    """What may grow: a number, a tensor of numbers (a copy of it), the length of a list."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | deque):
        return len(value)
    if type(value) is Tensor and value.is_floating_point():
        return value.detach().clone()
    return None


def _mark(value: Any, depth: int) -> Any:
    """Equal where the same objects hold the same."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, Tensor):
        return _Same(value), value._version
    if depth == 0 or callable(value):
        return _Same(value)
    if isinstance(value, dict):
        held = list(value.items())
    elif isinstance(value, list | tuple | deque | set | frozenset):
        held = list(enumerate(value))
    else:
        held = list(getattr(value, "__dict__", {}).items())
    items = [(_mark(key, 0), _mark(item, depth - 1)) for key, item in held[-_WIDE:]]
    return _Same(value), len(held), items


class _Same:
    """Equal where the very same object is held; it is kept alive, so no other one takes its place."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]
