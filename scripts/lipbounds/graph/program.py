"""A functional graph of operators over one input: no views, no writes, no modules, no batch axis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One call of an operator, or the input.

    ``arguments`` holds every argument of the operator by the name in its schema: nodes for what
    depends on the input, tensors and numbers for what does not. ``output`` is the number of the result
    that is meant, where an operator returns several. ``path``, ``layer`` and ``line`` say where the
    call stands: the innermost module, its type if it is one of torch's own layers (or kept whole), and
    the user's line of code.
    """

    name: str
    operator: str
    call: Callable[..., Any] | None
    arguments: Mapping[str, Any]
    shape: Shape
    dtype: torch.dtype
    output: int | None = None
    path: str = ""
    layer: str = ""
    line: str = ""

    @property
    def inputs(self) -> list["Node"]:
        """The nodes among the arguments, in order, each as often as it occurs."""
        return [leaf for leaf in tree_flatten(dict(self.arguments))[0] if isinstance(leaf, Node)]

    def run(self, values: Mapping["Node", Tensor], *, wide: bool = False) -> Tensor:
        """The result for ``values`` of its inputs; with ``wide`` all in float64.

        A conversion from one floating type to another is then left out, since it only rounds, and an
        option of an operator to sum or return another type is one to do it in float64.
        """
        assert self.call is not None
        call = kernel(self.call)

        def value(leaf: Any) -> Any:
            found = values[leaf] if isinstance(leaf, Node) else leaf
            if wide and isinstance(found, torch.dtype) and found.is_floating_point:
                return torch.float64
            if not (wide and isinstance(found, Tensor)):
                return found
            if found.is_complex():
                return found.to(torch.complex128).cpu()
            return found.double().cpu() if found.is_floating_point() else found

        if wide and self.operator in _CONVERSIONS and not self.dtype.is_complex:
            return value(self.inputs[0])
        arguments = tree_map(value, dict(self.arguments))
        with torch.no_grad():
            result = call(**arguments)
        return result if self.output is None else result[self.output]

    @property
    def place(self) -> str:
        """Where the call stands, for messages: path, operator and the line of code."""
        module = (
            (f"{self.path} ({self.layer})" if self.layer else self.path) or self.layer or "the model"
        )
        return f"{self.operator} in {module}" + (f", {self.line}" if self.line else "")


_CONVERSIONS = ("aten._to_copy.default", "aten.to.dtype", "aten.type_as.default")


def kernel(call: Callable[..., Any]) -> Callable[..., Any]:
    """What computes a call. A view is copied where it must be: values may lie otherwise in memory than
    what was exported, in channels-last models or where constants were written into transposed views."""
    return _viewed if call is torch.ops.aten.view.default else call


def _viewed(self: Tensor, size: Sequence[int]) -> Tensor:
    return self.reshape(size)


@dataclass(frozen=True, eq=False)
class Graph:
    """``nodes`` in order of execution, the input first.

    ``results`` holds what the model returns, in the order of its tensors: nodes, and tensors that do
    not depend on the input.
    """

    input: Node
    nodes: tuple[Node, ...]
    results: tuple[Node | Tensor, ...]
    device: torch.device

    @property
    def outputs(self) -> list[Node]:
        """The results that depend on the input."""
        return [result for result in self.results if isinstance(result, Node)]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def run(self, x: Tensor, *, wide: bool = False) -> dict[Node, Tensor]:
        """The value of every node at ``x``, which has the shape of the input."""
        values = {self.input: x.double() if wide else x}
        for node in self.nodes[1:]:
            values[node] = node.run(values, wide=wide)
        return values
