"""How much there is to compute: counted on the meta device, where tensors have shapes and no numbers.

A net is built as a run would build it, and every operation of torch that its passes call is counted, so
that a new family needs no entry here.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lipbounds.graph.plain import plain
from nets import parts
from nets.settings import Family

NUMBER = 4
"""Bytes of a float32."""


BLOCK = 8
"""Channels that a convolution on a processor computes at once, whether there are as many or not."""


class Work(NamedTuple):
    """What some computation needs of a machine.

    ``flop``: operations of products and convolutions, two for a multiplication with an addition;
    ``padded``: with the channels of convolutions rounded up to whole blocks; ``calls``: operations of
    torch; ``bytes``: of their results.
    """

    flop: float = 0
    padded: float = 0
    calls: float = 0
    bytes: float = 0

    def __add__(self, other: "Work") -> "Work":  # type: ignore[override]
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> "Work":
        """The same again and again."""
        return Work(*(factor * part for part in self))

    def side_by_side(self, count: float) -> "Work":
        """Of ``count`` nets or points in the same calls."""
        return self.times(count)._replace(calls=self.calls)


class _Counter(TorchDispatchMode):
    """Adds up the work of what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            made = [part for part in tree_leaves(found) if isinstance(part, Tensor)]
            formula = flop_registry.get(func.overloadpacket)
            flop = formula(*args, **(kwargs or {}), out_val=found) if formula else 0
            size = sum(part.numel() * part.element_size() for part in made)
            self.work += Work(flop, flop * _padding(func, args), 1, size)
        return found


def _padding(func: Any, args: Any) -> float:
    """How many times as much a convolution computes as it needs."""
    place = _WEIGHTS.get(func.overloadpacket)
    if place is None:
        return 1.0
    outputs, inputs = args[place].shape[:2]
    return math.prod(BLOCK * math.ceil(count / BLOCK) / count for count in (outputs, inputs))


_WEIGHTS = {torch.ops.aten.convolution: 1, torch.ops.aten.convolution_backward: 2}
"""Which argument of a convolution has its weights (outputs, inputs, ...)."""


@dataclass(frozen=True)
class Net:
    """A net of a family at a width, for points of ``shape``."""

    model: Any
    width: int
    shape: tuple[int, ...]
    classes: int

    @cached_property
    def module(self) -> nn.Module:
        """The net without numbers."""
        family: Family = parts.made("model", self.model)
        with torch.device("meta"):
            return family.build(self.width, self.shape, self.classes).eval()

    @cached_property
    def parameters(self) -> int:
        """How many there are."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @cached_property
    def checkpoint_bytes(self) -> int:
        """Of its state in a file."""
        state = self.module.state_dict().values()
        return sum(tensor.numel() * tensor.element_size() for tensor in state)

    @cached_property
    def _passes(self) -> tuple[Work, Work]:
        """A point forth, and forth and back."""
        with _Counter() as counter:
            logits = self.module(torch.empty(1, *self.shape, device="meta"))
            forward = counter.work
            logits.sum().backward()
        return forward, counter.work

    def forward(self, points: float) -> Work:
        """A pass of ``points`` together, in eval mode."""
        return self._passes[0].side_by_side(points)

    def update(self, points: float) -> Work:
        """A pass, its derivatives by the parameters, and a step of plain descent."""
        weights = NUMBER * self.parameters
        # gradients are as large as the weights, however many points there are
        both = self._passes[1]
        per_point = both._replace(bytes=max(0.0, both.bytes - weights))
        steps = Work(calls=2 * len(list(self.module.parameters())), bytes=3 * weights)
        return per_point.side_by_side(points) + steps

    def jacobians(self, points: float) -> Work:
        """The Jacobian at each point, a pass back for each class."""
        return self.forward(points).times(1 + self.classes)

    @cached_property
    def gram(self) -> Work:
        """Products of each weight with itself, from which the norms of layers are found."""
        sizes = [(p.shape[0], p[0].numel()) for p in self.module.parameters() if p.ndim > 1]
        flop = sum(2.0 * math.prod(size) * min(size) for size in sizes)
        return Work(flop, flop, len(sizes), NUMBER * sum(min(size) ** 2 for size in sizes))

    @cached_property
    def exported(self) -> float:
        """Calls of torch that an upper bound has to trace, none in a plain chain of layers."""
        return 0.0 if plain(self.module, self.shape) is not None else self._passes[0].calls


@cache
def net(model: Any, width: int, shape: tuple[int, ...], classes: int) -> Net:
    """The net of a set-up, the same for all that state the same."""
    return Net(model, width, shape, classes)
