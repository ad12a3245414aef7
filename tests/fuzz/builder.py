"""Source of a random module, written line by line while it runs.

Every line is executed on a batch of two at once, so that shapes are known and lines that do not run
are left out. The finished source is a module that stands on its own.
"""

import math
import random
import types
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, ...]

_LARGEST = 48
"""Entries of a sample; graphs of more only take longer."""

_NUMBERS = (0.25, -0.5, 0.5, 1.0, -1.5, 2.0, 3.0, -4.0, 10.0)
"""Exact in every floating type, so that a copy in float64 is the same function."""


class UnfitError(Exception):
    """A line that does not run, or leads to what is no value here."""


def names() -> dict[str, object]:
    """What the source may refer to."""
    return {"torch": torch, "nn": nn, "F": functional, "math": math, "types": types}


@dataclass
class Builder:
    """``setup`` are lines of ``__init__``, ``lines`` of ``forward``, ``after`` of what follows."""

    random: random.Random
    shape: Shape
    helpers: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    traits: set[str] = field(default_factory=set)
    defaults: str = ""

    def __post_init__(self) -> None:
        self.module = nn.Module().eval()
        self.space = {**names(), "self": self.module, "x": torch.randn(2, *self.shape)}
        self.variables: list[str] = ["x"]
        self._count = 0

    # Choices

    def number(self) -> float:
        return self.random.choice(_NUMBERS)

    def whole(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def one(self, choices: Sequence[str]) -> str:
        return self.random.choice(choices)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def variable(self, *ranks: int) -> str:
        """A value whose samples have one of these ranks, a late one rather than an early one."""
        found = [v for v in self.variables if not ranks or len(self.size(v)) in ranks]
        if not found:
            raise UnfitError
        return found[-1] if self.chance(0.6) else self.random.choice(found)

    def size(self, name: str) -> Shape:
        """Shape of one sample."""
        value = self.space[name]
        assert isinstance(value, Tensor)
        return tuple(value.shape[1:])

    # Lines

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def layer(self, expression: str) -> str:
        """A submodule in eval mode, as an expression of forward."""
        name = f"self.{self.fresh('m')}"
        line = f"{name} = {expression}"
        self._run(line)
        self._run(f"{name}.eval()")
        self.setup.append(line)
        return name

    def buffer(self, expression: str) -> str:
        name = self.fresh("c")
        line = f"self.register_buffer({name!r}, {expression})"
        self._run(line)
        self.setup.append(line)
        return f"self.{name}"

    def arrange(self, line: str) -> None:
        """One more line of ``__init__``."""
        self._run(line)
        self.setup.append(line)

    def helper(self, source: str) -> None:
        """A definition before the module."""
        self._run(source)
        self.helpers.append(source)

    def do(self, line: str) -> None:
        """A line without a value."""
        self._run(line)
        self.lines.append(line)

    def let(self, expression: str) -> str:
        """A value that later lines may use."""
        name = self.fresh("v")
        self.do(f"{name} = {expression}")
        return self.admit(name)

    def admit(self, name: str) -> str:
        value = self.space.get(name)
        fit = (
            isinstance(value, Tensor)
            and value.is_floating_point()
            and value.dim() >= 2
            and value.shape[0] == 2
            and 0 < value.numel() <= 2 * _LARGEST
            and bool(value.isfinite().all())
            and value.abs().max().item() < 1e6
        )
        if not fit:
            raise UnfitError
        self.variables.append(name)
        return name

    def runs(self, expression: str) -> bool:
        """Whether it has a value, which is not kept."""
        try:
            self._run(expression)
        except UnfitError:
            return False
        return True

    def _run(self, line: str) -> None:
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(line, self.space)
        except Exception as error:
            raise UnfitError(str(error)) from error

    # Attempts that may fail

    def mark(self) -> tuple[int, ...]:
        return tuple(map(len, (self.helpers, self.setup, self.lines, self.after, self.variables)))

    def back_to(self, mark: tuple[int, ...]) -> None:
        for kept, count in zip(
            (self.helpers, self.setup, self.lines, self.after, self.variables), mark, strict=True
        ):
            del kept[count:]

    def source(self, returned: str, seed: int, dtype: str) -> str:
        """The module, and a function ``build`` that makes one."""
        inner = "".join(f"\n        {row}" for line in self.lines for row in line.splitlines())
        return (
            "".join(f"{helper}\n\n" for helper in self.helpers)
            + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            + f"        torch.manual_seed({seed})"
            + "".join(f"\n        {line}" for line in self.setup)
            + f"\n\n    def forward(self, x{self.defaults}):{inner}\n        return {returned}\n\n"
            + f"def build():\n    model = Net().to(torch.{dtype}).eval()"
            + "".join(f"\n    {row}" for line in self.after for row in line.splitlines())
            + "\n    return model\n"
        )
