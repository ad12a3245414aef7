"""The vocabulary: what is known of each operator, by its qualified name.

A rule takes the analysis that asks, the node, and the operator's arguments by name, and says what the
node is: affine in its varying arguments (:class:`Affine`), elementwise (:class:`Elementwise`),
something with a constant (:class:`LayerConstant`), or something that has one only on bounded sets
(:class:`Bounded`, :class:`Local`). An operator without a rule is refused, never counted as 1.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from lipbounds.graph import Node, Shape
from lipbounds.graph.kept import type_of
from lipbounds.maps import LinearMap
from lipbounds.operator_norm import OperatorNorm
from lipbounds.rounding import Extended

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Range:
    """All entries of a tensor lie in [low, high], for every input in question."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def peak(self) -> float:
        """The largest modulus."""
        return max(abs(self.low), abs(self.high))

    def within(self, other: "Range") -> "Range":
        """What both say."""
        return Range(max(self.low, other.low), min(self.high, other.high))

    def hull(self, other: "Range") -> "Range":
        """The least that contains both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Affine:
    """The sum of linear images of nodes, plus a constant that no bound depends on.

    Each part is a node and the maps that are applied to it, first map first. ``silent`` says that
    entries are only moved, which is no layer of the model.
    """

    parts: Sequence[tuple[Node, Sequence[LinearMap]]]
    silent: bool = False


@dataclass(frozen=True)
class Slopes:
    """All slopes of an elementwise function lie in [low, high]; units of output per input."""

    low: float
    high: float
    how: str = "largest slope"

    @property
    def largest(self) -> float:
        """The Lipschitz constant, in every order of the norm."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Elementwise:
    """A function that acts on each entry of ``input`` alone; its values lie in ``range``.

    The slopes hold on ``domain``, which contains all entries of the input. The operator of the node
    takes nothing else that varies if it stands ``alone``; else it is the last of several.
    """

    input: Node
    slopes: Slopes
    range: Range = Range()
    domain: Range = Range()
    alone: bool = True


@dataclass(frozen=True)
class LayerConstant:
    """A Lipschitz constant and a few words on how it was obtained.

    ``input`` may be left out by rules of modules. ``selects`` says that all values are among those of
    the input; otherwise ``range`` holds all that occur. ``token`` bounds the 2-norm of every vector
    along the last axis.
    """

    norm: OperatorNorm
    how: str = ""
    input: Node | None = None
    range: Range = Range()
    token: float = math.inf
    selects: bool = False


@dataclass(frozen=True)
class Local:
    """A module that is Lipschitz only where its input is bounded.

    ``constant`` maps the largest 2-norm of a token (a vector along the last axis) to a constant in
    the 2-norm.
    """

    constant: Callable[[float], OperatorNorm]
    how: str


@dataclass(frozen=True)
class Joined:
    """Tensors side by side: the norm of the result is that of the vector of their norms, or less.

    The values of those that do not depend on the input lie in ``constants``.
    """

    inputs: Sequence[Node]
    constants: Range = Range(math.inf, -math.inf)


@dataclass(frozen=True)
class Bounded:
    """A bound of the Lipschitz constant from the input, from bounds and ranges of the arguments."""

    bound: Extended
    how: str
    range: Range = Range()
    token: float = math.inf


Behaviour: TypeAlias = (
    Affine | Elementwise | LayerConstant | Joined | Bounded | Local | LinearMap | Slopes
)
"""What rules return; those of modules may also return a linear map or slopes."""


@dataclass(frozen=True)
class Operator:
    """``rule`` and, for the table in the docs, the constant, its source and how tight it is."""

    rule: Callable[..., Behaviour]
    constant: str = ""
    source: str = ""
    tightness: str = ""
    complex: bool = False
    """Whether the rule also holds for complex numbers."""


OPERATORS: dict[str, Operator] = {}
"""By the name of the overload, such as ``aten.linear.default``."""

MODULES: dict[type[nn.Module], Operator] = {}
"""By the type of a module that is kept whole."""

_AnyRule = TypeVar("_AnyRule", bound=Callable[..., Behaviour])


def operators(
    *names: str, constant: str = "", source: str = "", tightness: str = "", complex: bool = False
) -> Callable[[_AnyRule], _AnyRule]:
    """Decorator that makes a function the rule of operators of torch, named as ``linear.default``.

    Only rules with ``complex`` are asked about complex numbers.

    Raises
    ------
    ValueError
        For a name without overload, and for an operator that has a rule already.
    """

    def register(rule: _AnyRule) -> _AnyRule:
        for name in names:
            key = name if name.startswith("lipbounds.") else f"aten.{name}"
            if key.count(".") != 2:
                raise ValueError(f"{name} names no overload; write {name}.default")
            if key in OPERATORS:
                raise ValueError(f"{key} has a rule already")
            OPERATORS[key] = Operator(rule, constant, source, tightness, complex)
        return rule

    return register


def register_rule(
    *types: type[nn.Module], constant: str = "", source: str = "", tightness: str = ""
) -> Callable[[_AnyRule], _AnyRule]:
    """Decorator that makes a function the rule of the given module types (exact type match).

    A module with a rule stays whole in the graph, whatever it computes inside. It takes one tensor
    and returns one. The function takes (module, input_shape, ord), with the shape of one sample, and
    returns a :class:`LayerConstant`, :class:`Slopes`, :class:`Local` or a map of
    :mod:`lipbounds.maps`. The keywords are for the table in the docs.

    Example
    -------
    >>> @register_rule(MyLayer)
    ... def my_layer(module, input_shape, ord):
    ...     return LayerConstant(OperatorNorm(2.0, "upper", certified=True), "|f'| <= 2")
    """

    def register(rule: _AnyRule) -> _AnyRule:
        for module_type in types:
            MODULES[module_type] = Operator(rule, constant, source, tightness)
        return rule

    return register


class UnknownLayerError(LookupError):
    """Operators whose Lipschitz constant is not known. ``nodes`` are their calls."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = tuple(nodes)
        calls: dict[str, list[Node]] = {}
        for node in self.nodes:
            calls.setdefault(node.operator, []).append(node)
        reasons = {name: "of complex numbers" for name in calls if is_complex(calls[name][0])}
        reasons |= _NOT_LIPSCHITZ
        lines = [f"{name} ({reasons[name]})" if name in reasons else name for name in calls]
        places = [
            found[0].place.split(" in ", 1)[1]
            + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            for found in calls.values()
        ]
        listed = "; ".join(f"{line} in {place}" for line, place in zip(lines, places, strict=True))
        layers = {node.layer for node in self.nodes}
        whole = len(layers) == 1 and "" not in layers
        advice = (
            f"Register a rule for the layer: @lipbounds.register_rule({layers.pop()})"
            if whole
            else "Put the call into a module of its own and register a rule for that: "
            "@lipbounds.register_rule(YourModule)"
        )
        super().__init__(f"no Lipschitz constant is known for {listed}. {advice}")


_CHANCE = dict.fromkeys(
    [
        "aten.native_dropout.default", "aten.bernoulli.default", "aten.bernoulli.p", "aten.rand.default",
        "aten.randn.default", "aten.rand_like.default", "aten.randn_like.default",
        "aten.dropout.default", "aten.normal_functional.default", "aten.rrelu_with_noise.default",
        "aten.rrelu_with_noise_functional.default", "aten.randint.low", "aten.multinomial.default",
    ],
    "random",
)  # fmt: skip
_COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne")
_STEPS = ("sign", "round", "floor", "ceil", "argmax", "argmin", "trunc")
_NOT_LIPSCHITZ = _CHANCE | {
    "aten.item.default": "a number taken out of a tensor",
    "aten._local_scalar_dense.default": "a number taken out of a tensor",
    **{f"aten.{name}.{kind}": "jumps" for name in _COMPARISONS for kind in ("Scalar", "Tensor")},
    **{f"aten.{name}.default": "jumps" for name in _STEPS},
}  # fmt: skip


def rule_of(node: Node, modules: Callable[[int], nn.Module]) -> Operator | None:
    """The rule of a node, None where there is none."""
    if node.operator == "lipbounds.module.default":
        return MODULES.get(type_of(modules(node.arguments["number"])))
    found = OPERATORS.get(node.operator)
    return None if found is not None and is_complex(node) and not found.complex else found


def is_complex(node: Node) -> bool:
    """Whether a node takes or gives complex numbers."""
    return any(one.dtype.is_complex for one in (node, *node.inputs))


def weight_of(value: Tensor | float, name: str = "a weight") -> Tensor:
    """A constant as float64 on the CPU. Raises ``ValueError`` for complex, NaN or infinite entries."""
    if isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex()):
        raise ValueError(f"{name} is complex")
    wide = torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
    if not wide.isfinite().all():
        raise ValueError(f"{name} has NaN or infinite entries")
    return wide


Arguments: TypeAlias = Mapping[str, Any]
__all__ = [
    "MODULES", "OPERATORS", "Affine", "Arguments", "Behaviour", "Bounded", "Elementwise", "Joined",
    "LayerConstant", "Local", "Operator", "Range", "Shape", "Slopes", "UnknownLayerError", "is_complex",
    "operators", "register_rule", "rule_of", "weight_of",
]  # fmt: skip
