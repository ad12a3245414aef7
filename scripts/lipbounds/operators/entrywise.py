"""Several operators that together are one function of each entry, such as ``x * (x > 0)``.

Operator by operator ``x * sigmoid(x)`` is a product without a constant, and a comparison jumps. Where
all that an operator takes comes from one node, entry by entry and with the same numbers for all entries,
the operators are read as a curve (:mod:`lipbounds.curves`), and the node is bounded as that.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lipbounds.curves import ARGUMENT, COMPARISONS, SMOOTH, Curve, Found, Step, enclosure, slopes
from lipbounds.graph import Graph, Node
from lipbounds.intervals import Interval
from lipbounds.operators.ranges import library_error
from lipbounds.operators.table import OPERATORS, Elementwise, Range, Slopes

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis


@dataclass(frozen=True)
class Entrywise:
    """A node that is the ``curve`` of each entry of ``source``."""

    source: Node
    curve: Curve


def behaviour(q: "Analysis", found: Entrywise) -> Elementwise:
    """What the node is on its source's range."""
    domain = q.ranges.proved(found.source)
    result = _slopes(found, domain)
    if not max(map(abs, result.slopes)) < math.inf:
        domain = q.ranges.of(found.source)
        result = _slopes(found, domain)
    finite = max(map(abs, result.slopes)) < math.inf
    how = "largest slope" if finite else "unbounded slopes; give a radius"
    bounds = Slopes(*result.slopes, how)
    return Elementwise(found.source, bounds, Range(*result.values), domain, alone=False)


def _slopes(found: Entrywise, domain: Range) -> Found:
    end = largest(found.source)
    low, high = (min(max(x, -end), end) for x in (domain.low, domain.high))
    return slopes(found.curve, low, high, library_error(found.source))


def is_better(node: Node, found: Entrywise, radius: float) -> bool:
    """Whether the operators one by one would not do, and the curve does not jump."""
    if set(node.inputs) == {found.source} and node.operator in OPERATORS:
        return False
    names = {step.name for step in found.curve}
    compares = not names.isdisjoint(COMPARISONS)
    if not compares and names.isdisjoint(_UNBOUNDED) and not _joins(found.curve):
        return False
    end = largest(found.source)
    line = slopes(found.curve, -end, end, library_error(found.source))
    if line.jump is not None:
        return False
    finite = max(map(abs, line.slopes)) < math.inf
    return finite or radius < math.inf or compares


_UNBOUNDED = ("exp", "expm1", "log", "log1p", "sqrt", "power")
"""Steps that have no constant on the whole line."""


def largest(source: Node) -> float:
    """The largest number that an entry may be: any float32, or 2^500 (3e150), whose square is a float64.

    A float64 beyond that meets no other constants, see ``_CONSTANTS``: what rises or falls there does so
    before.
    """
    return 2.0**500 if source.dtype == torch.float64 else torch.finfo(torch.float32).max


_CONSTANTS = 1e-100, 1e100
"""Moduli of the constants that a curve may have, besides 0."""


_AFFINE = ("argument", "constant", "add", "negate", "multiply")
"""Steps that bend nothing, if no two that vary are multiplied."""


def _joins(curve: Curve) -> bool:
    """Whether there are products, quotients, or sums with something bent, of what varies."""
    bent = any(step.name not in _AFFINE for step in curve)
    varying: list[bool] = []
    for step in curve:
        of = [varying[i] for i in step.of]
        varying.append(step.name == "argument" or any(of))
        several = len(of) == 2 and all(of)
        if (step.name == "multiply" and several) or (step.name == "divide" and of[1]):
            return True
        if step.name == "add" and several and bent:
            return True
    return False


# From operators to steps


class Unread(Exception):  # noqa: N818 - no error: the operator is then bounded by its own rule
    """An operator, or an argument, that no step stands for."""


class Builder:
    """Steps of a curve, each once."""

    def __init__(self) -> None:
        self.steps: dict[Step, int] = {ARGUMENT: 0}

    def __call__(self, name: str, *of: int, value: float = 0.0) -> int:
        """The number of a step."""
        return self.steps.setdefault(Step(name, of, value), len(self.steps))

    def constant(self, value: Any) -> int:
        """Of a number, or of a tensor of equal ones."""
        if isinstance(value, Tensor):
            if value.is_complex() or not value.numel() or not (value == value.flatten()[0]).all():
                raise Unread
            value = value.flatten()[0].item()
        low, high = _CONSTANTS
        if not isinstance(value, int | float) or not (value == 0 or low <= abs(value) <= high):
            raise Unread
        return self("constant", value=float(value))

    def quotient(self, above: int, below: int) -> int:
        """One that is cut off, u / max(u, c), is min(u / c, 1), of which more is known."""
        steps = list(self.steps)
        cut = steps[below]
        if cut.name == "maximum" and above in cut.of:
            (least,) = [i for i in cut.of if i != above] or [above]
            if steps[least].name == "constant" and steps[least].value > 0:
                return self("minimum", self("divide", above, least), self.constant(1.0))
        return self("divide", above, below)

    def include(self, curve: Curve, argument: int = 0) -> int:
        """The number of the last step of a curve of the step with this number."""
        numbers: list[int] = []
        for step in curve:
            of = (numbers[i] for i in step.of)
            numbers.append(argument if step == ARGUMENT else self(step.name, *of, value=step.value))
        return numbers[-1]

    def up_to(self, last: int) -> Curve:
        """The steps that the one with this number needs."""
        steps, needed = list(self.steps), {0, last}
        for number in range(last, -1, -1):
            if number in needed:
                needed.update(steps[number].of)
        order = {number: place for place, number in enumerate(sorted(needed))}
        return tuple(
            steps[number]._replace(of=tuple(order[i] for i in steps[number].of)) for number in order
        )


def candidates(graph: Graph) -> dict[Node, Entrywise]:
    """All nodes that are curves of an earlier one, of the earliest if there are several."""
    found: dict[Node, Entrywise] = {}
    for node in graph.nodes[1:]:
        read, inputs = reader_of(node), list(dict.fromkeys(node.inputs))
        if read is None:
            continue
        sources = {found[one].source if one in found else one for one in inputs}
        if len(sources) > 1:  # one of them may be made of another
            sources &= set(inputs)
        if len(sources) != 1:
            continue
        source = sources.pop()
        if not source.dtype.is_floating_point:
            continue
        curve = _curve(node, read, source, found)
        if curve is not None and _fits(node.dtype, curve, largest(source)):
            found[node] = Entrywise(source, curve)
    return found


def reader_of(node: Node) -> Callable[..., int] | None:
    """What makes steps of a node, entry by entry, from those of its inputs; None if nothing does."""
    inputs = node.inputs
    if not inputs or any(one.shape != node.shape for one in inputs):
        return None
    if not _reads_as_numbers(node) or rounds(node):
        return None
    return _READERS.get(node.operator)


_LOGICAL = ("logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not")


def _reads_as_numbers(node: Node) -> bool:
    """Whether truths are what logic takes, and sums and powers are those of numbers, not of truths."""
    name = node.operator.split(".")[1]
    types = {one.dtype for one in node.inputs}
    if name in _LOGICAL:
        return types == {torch.bool}
    if node.dtype == torch.bool:
        return name in ("gt", "ge", "lt", "le", "eq", "ne", "mul", "where", "clone", "alias")
    return True


def _fits(dtype: torch.dtype, curve: Curve, end: float) -> bool:
    """Whether whole numbers neither leave their type nor become other floats."""
    if dtype.is_floating_point or dtype == torch.bool:
        return True
    values = enclosure(curve, Interval(*torch.tensor([[-end], [end]], dtype=torch.float64)))[-1].value
    type_ = torch.iinfo(dtype)
    low, high = max(type_.min, -(2**53)), min(type_.max, 2**53)
    return bool((values.low >= low) & (values.high <= high))


def rounds(node: Node) -> bool:
    """Whether a node has a floating type that is less precise than what it takes."""
    types = [one.dtype for one in (node, *node.inputs) if one.dtype.is_floating_point]
    return node.dtype in types and any(
        torch.finfo(node.dtype).eps > torch.finfo(one).eps for one in types
    )


def _curve(
    node: Node, read: Callable[..., int], source: Node, found: Mapping[Node, Entrywise]
) -> Curve | None:
    build = Builder()

    def number(value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        if value is source:
            return Number(0)
        if value not in found or found[value].source is not source:
            raise Unread
        return Number(build.include(found[value].curve))

    try:
        arguments = {name: number(value) for name, value in node.arguments.items()}
        return build.up_to(read(build, **arguments))
    except Unread:
        return None


class Number(int):
    """Of a step, in place of a node among the arguments of an operator."""


def _of(build: Builder, value: Any) -> int:
    return value if isinstance(value, Number) else build.constant(value)


_READERS: dict[str, Callable[..., int]] = {}
"""By operator: a function of a builder and the operator's arguments, to the number of the result."""


def _reads(*names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    def register(reader: Callable[..., int]) -> Callable[..., int]:
        for name in names:
            _READERS[f"aten.{name}"] = reader
        return reader

    return register


def _smooth(name: str) -> Callable[..., int]:
    return lambda build, self: build(name, _of(build, self))


for _name in set(SMOOTH) - {"softplus"}:
    _reads(f"{_name}.default")(_smooth(_name))


@_reads("add.Tensor", "add.Scalar")
def _add(build: Builder, self: Any, other: Any, alpha: Any = 1) -> int:
    return build("add", _of(build, self), _scaled(build, _of(build, other), alpha))


@_reads("sub.Tensor", "sub.Scalar")
def _subtract(build: Builder, self: Any, other: Any, alpha: Any = 1) -> int:
    return build("add", _of(build, self), build("negate", _scaled(build, _of(build, other), alpha)))


@_reads("rsub.Tensor", "rsub.Scalar")
def _subtract_from(build: Builder, self: Any, other: Any, alpha: Any = 1) -> int:
    return _subtract(build, other, self, alpha)


@_reads("mul.Tensor", "mul.Scalar")
def _multiply(build: Builder, self: Any, other: Any) -> int:
    return build("multiply", _of(build, self), _of(build, other))


@_reads("addcmul.default")
def _add_product(build: Builder, self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> int:
    product = _multiply(build, tensor1, tensor2)
    return build("add", _of(build, self), _scaled(build, product, value))


@_reads("div.Tensor", "div.Scalar")
def _divide(build: Builder, self: Any, other: Any) -> int:
    return build.quotient(_of(build, self), _of(build, other))


@_reads("reciprocal.default")
def _reciprocal(build: Builder, self: Any) -> int:
    return build("divide", build.constant(1.0), _of(build, self))


@_reads("rsqrt.default")
def _inverse_root(build: Builder, self: Any) -> int:
    return build("divide", build.constant(1.0), build("sqrt", _of(build, self)))


@_reads("square.default")
def _square(build: Builder, self: Any) -> int:
    return build("multiply", _of(build, self), _of(build, self))


@_reads("pow.Tensor_Scalar")
def _power(build: Builder, self: Any, exponent: Any) -> int:
    if exponent == 2:
        return _square(build, self)
    if not isinstance(exponent, int | float) or not math.isfinite(exponent) or exponent in (0, 1):
        raise Unread
    return build("power", _of(build, self), value=float(exponent))


@_reads("neg.default")
def _negate(build: Builder, self: Any) -> int:
    return build("negate", _of(build, self))


@_reads("abs.default")
def _modulus(build: Builder, self: Any) -> int:
    return build("modulus", _of(build, self))


@_reads("maximum.default", "max.other")
def _maximum(build: Builder, self: Any, other: Any) -> int:
    return build("maximum", _of(build, self), _of(build, other))


@_reads("minimum.default", "min.other")
def _minimum(build: Builder, self: Any, other: Any) -> int:
    return build("minimum", _of(build, self), _of(build, other))


@_reads("clamp.default", "clamp.Tensor", "clamp_min.default", "clamp_max.default")
def _clamp(build: Builder, self: Any, min: Any = None, max: Any = None) -> int:
    found = _of(build, self)
    if min is not None:
        found = build("maximum", found, _of(build, min))
    return found if max is None else build("minimum", found, _of(build, max))


@_reads("hardtanh.default")
def _hardtanh(build: Builder, self: Any, min_val: Any, max_val: Any) -> int:
    return _clamp(build, self, min_val, max_val)


@_reads("relu.default")
def _relu(build: Builder, self: Any) -> int:
    return _clamp(build, self, 0.0)


@_reads("relu6.default")
def _relu6(build: Builder, self: Any) -> int:
    return _clamp(build, self, 0.0, 6.0)


@_reads("leaky_relu.default")
def _leaky(build: Builder, self: Any, negative_slope: Any) -> int:
    below = build("minimum", _of(build, self), build.constant(0.0))
    return build("add", _relu(build, self), _scaled(build, below, negative_slope))


@_reads("elu.default")
def _elu(build: Builder, self: Any, alpha: Any, scale: Any, input_scale: Any) -> int:
    below = _scaled(build, build("minimum", _of(build, self), build.constant(0.0)), input_scale)
    below = _scaled(build, build("expm1", below), alpha)
    return _scaled(build, build("add", _relu(build, self), below), scale)


@_reads("silu.default")
def _silu(build: Builder, self: Any) -> int:
    return build("multiply", _of(build, self), build("sigmoid", _of(build, self)))


@_reads("gelu.default")
def _gelu(build: Builder, self: Any, approximate: Any = "none") -> int:
    x = _of(build, self)
    if approximate == "none":
        gate = build("erf", _scaled(build, x, math.sqrt(0.5)))
    else:
        cube = _scaled(build, build("power", x, value=3.0), 0.044715)
        gate = build("tanh", _scaled(build, build("add", x, cube), math.sqrt(2 / math.pi)))
    return build("multiply", _scaled(build, x, 0.5), build("add", gate, build.constant(1.0)))


@_reads("mish.default")
def _mish(build: Builder, self: Any) -> int:
    x = _of(build, self)
    return build("multiply", x, build("tanh", build("softplus", x)))


@_reads("hardsigmoid.default")
def _hardsigmoid(build: Builder, self: Any) -> int:
    above = build("maximum", build("add", _of(build, self), build.constant(3.0)), build.constant(0.0))
    return build("divide", build("minimum", above, build.constant(6.0)), build.constant(6.0))


@_reads("hardswish.default")
def _hardswish(build: Builder, self: Any) -> int:
    return build("multiply", _of(build, self), _hardsigmoid(build, self))


@_reads("softplus.default")
def _softplus(build: Builder, self: Any, beta: Any, threshold: Any) -> int:
    if beta != 1 or threshold != 20:
        raise Unread
    return build("softplus", _of(build, self))


@_reads("gt.Scalar", "gt.Tensor")
def _greater(build: Builder, self: Any, other: Any) -> int:
    return build("greater", _of(build, self), _of(build, other))


@_reads("lt.Scalar", "lt.Tensor")
def _less(build: Builder, self: Any, other: Any) -> int:
    return build("greater", _of(build, other), _of(build, self))


@_reads("ge.Scalar", "ge.Tensor")
def _at_least(build: Builder, self: Any, other: Any) -> int:
    return build("at_least", _of(build, self), _of(build, other))


@_reads("le.Scalar", "le.Tensor")
def _at_most(build: Builder, self: Any, other: Any) -> int:
    return build("at_least", _of(build, other), _of(build, self))


@_reads("eq.Scalar", "eq.Tensor")
def _equal(build: Builder, self: Any, other: Any) -> int:
    return build("equal", _of(build, self), _of(build, other))


@_reads("ne.Scalar", "ne.Tensor")
def _unequal(build: Builder, self: Any, other: Any) -> int:
    return build("not", _equal(build, self, other))


@_reads("logical_and.default", "bitwise_and.Tensor")
def _and(build: Builder, self: Any, other: Any) -> int:
    return build("and", *_truths(self, other))


@_reads("logical_or.default", "bitwise_or.Tensor")
def _or(build: Builder, self: Any, other: Any) -> int:
    return build("or", *_truths(self, other))


@_reads("logical_not.default", "bitwise_not.default")
def _not(build: Builder, self: Any) -> int:
    return build("not", *_truths(self))


@_reads("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _where(build: Builder, condition: Any, self: Any, other: Any) -> int:
    return build("where", *_truths(condition), _of(build, self), _of(build, other))


@_reads("masked_fill.Scalar", "masked_fill.Tensor")
def _filled(build: Builder, self: Any, mask: Any, value: Any) -> int:
    return _where(build, mask, value, self)


@_reads("sign.default", "sgn.default")
def _sign(build: Builder, self: Any) -> int:
    zero = build.constant(0.0)
    above, below = build("greater", _of(build, self), zero), build("greater", zero, _of(build, self))
    return build("add", above, build("negate", below))


@_reads("_to_copy.default", "to.dtype", "clone.default", "alias.default")
def _same(build: Builder, self: Any, dtype: Any = None, **_: Any) -> int:
    if dtype is not None and not dtype.is_floating_point:
        raise Unread
    return _of(build, self)


def _truths(*values: Any) -> tuple[int, ...]:
    """Numbers of steps that are 0 or 1."""
    if not all(isinstance(value, Number) for value in values):
        raise Unread
    return values


def _scaled(build: Builder, number: int, factor: Any) -> int:
    return number if factor == 1 else build("multiply", number, build.constant(factor))
