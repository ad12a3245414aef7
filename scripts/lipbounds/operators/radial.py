"""Vectors times a function of their own length, such as ``x / (x.norm(dim=-1, keepdim=True) + 1)``.

Root mean square and layer normalisation are written so too. Operator by operator that is a product
without a constant. With the radial profile p(r) = r h(r) of x h(|x|) the squared distance of two
images, at lengths a and b and an angle t, is (p(a) - p(b))^2 + 2 p(a) p(b) (1 - cos t), that of the
vectors the same with a and b for p(a) and p(b): the constant in the 2-norm is that of p, since
p(0) = 0. Where lengths are taken over the root of a number m, x h(|x| / sqrt(m)), it is the same; and
with vectors less their mean it is no larger, since that is a projection.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from lipbounds.curves import Curve, Found, slopes
from lipbounds.graph import Node
from lipbounds.maps import certified
from lipbounds.operators.entrywise import Builder, Number, Unread, largest, reader_of, rounds
from lipbounds.operators.ranges import library_error
from lipbounds.operators.table import LayerConstant, Range
from lipbounds.rounding import product_up, quotient_up, sqrt_up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

_SPARE = 2.0**10
"""How many times as long as its largest entry a vector may be, over the root of m."""


@dataclass(frozen=True)
class Radial:
    """A node that is ``source`` times a function of its lengths along ``axes``, or so of the source less
    its means along these.

    ``profile`` is the curve of rho h(rho), where rho is the length over the root of ``scale``.
    """

    source: Node
    axes: tuple[int, ...]
    scale: float
    profile: Curve

    @property
    def count(self) -> int:
        """Entries of a vector."""
        return math.prod(self.source.shape[axis] for axis in self.axes)


def read(node: Node, radius: float) -> Radial | None:
    """What a product or a quotient is, None if it is nothing of the kind, or jumps."""
    for vector, factors in _products(node):
        try:
            found = _Reading(vector).times(factors)
        except Unread:
            continue
        line = slopes(found.profile, 0.0, largest(vector) * _SPARE, library_error(vector))
        finite = max(map(abs, line.slopes)) < math.inf
        return found if line.jump is None and (finite or radius < math.inf) else None
    return None


_Factor: TypeAlias = tuple[Any, str]
"""What a vector is multiplied with, or divided by, and which of both."""

_DEEP = 4
"""Factors of a product, at most."""


def _products(
    node: Node, factors: tuple[_Factor, ...] = ()
) -> Iterator[tuple[Node, tuple[_Factor, ...]]]:
    """All ways to read a node as a vector of its shape times factors, few factors first."""
    name = {"aten.mul.Tensor": "multiply", "aten.div.Tensor": "divide"}.get(node.operator)
    if name is None or len(factors) == _DEEP or rounds(node):
        return
    one, other = node.arguments["self"], node.arguments["other"]
    ways = [
        (vector, (*factors, (factor, name)))
        for vector, factor in [(one, other), (other, one)][: 2 if name == "multiply" else 1]
        if isinstance(vector, Node) and vector.dtype.is_floating_point and vector.shape == node.shape
    ]
    yield from (way for way in ways if any(isinstance(factor, Node) for factor, _ in way[1]))
    for vector, further in ways:
        yield from _products(vector, further)


def behaviour(q: "Analysis", found: Radial) -> LayerConstant:
    """Its constant for vectors of the lengths that the source's range admits."""
    source, last = found.source, _is_last(found)
    token = q.ranges.proved_token(source) if last else math.inf
    result = _slopes(found, q.ranges.proved(source), token)
    if not max(map(abs, result.slopes)) < math.inf:
        token = q.ranges.token(source) if last else math.inf
        result = _slopes(found, q.ranges.of(source), token)
    constant = max(map(abs, result.slopes))
    how = "largest slope of |f(x)| in |x|" + ("" if constant < math.inf else "; unbounded")
    peak = product_up([sqrt_up(found.scale), max(map(abs, result.values))])
    token = peak if last else math.inf
    return LayerConstant(certified(constant, how), how, source, Range(-peak, peak), token)


def _slopes(found: Radial, entries: Range, length: float) -> Found:
    """Those of the profile, where the source has such entries and vectors no longer than ``length``."""
    length = min(length, product_up([sqrt_up(found.count), entries.peak]))
    rho = quotient_up(length, math.sqrt(found.scale)) * (1 + 1e-15)
    end = min(rho, largest(found.source) * _SPARE)
    return slopes(found.profile, 0.0, end, library_error(found.source))


def _is_last(found: Radial) -> bool:
    return found.axes == (len(found.source.shape) - 1,)


class _Reading:
    """From factors back to the lengths of the ``vector`` that they are multiplied with."""

    def __init__(self, vector: Node) -> None:
        self.vector = vector
        self.build = Builder()
        self.axes: tuple[int, ...] | None = None
        self.scale = 1.0

    def times(self, factors: Sequence[_Factor]) -> Radial:
        """The product as a radial function. Raises ``Unread`` if it is none."""
        profile = 0
        for factor, name in reversed(factors):
            step = self._factor(factor)
            if name == "divide":
                profile = self.build.quotient(profile, step)
            else:
                profile = self.build(name, profile, step)
        assert self.axes is not None
        source = uncentred(self.vector, self.axes) or self.vector
        return Radial(source, self.axes, self.scale, self.build.up_to(profile))

    def _factor(self, factor: Any) -> int:
        if not isinstance(factor, Node):
            return self.build.constant(factor)
        step = self._step(factor)
        if factor.shape not in (self._kept, self.vector.shape):
            raise Unread
        return step

    def _step(self, node: Node, *, spread: bool = True) -> int:
        """Where ``spread`` allows it the node may be what is computed once a vector, expanded."""
        if node.operator == "aten.expand.default":
            if not spread or node.shape != self.vector.shape:
                raise Unread
            step = self._step(node.inputs[0])
            if node.inputs[0].shape not in (self._kept, self.vector.shape):
                raise Unread
            return step
        if node.operator in _RESHAPING:
            return self._step(node.inputs[0], spread=False)
        if node.operator in _LENGTHS:
            return _LENGTHS[node.operator](self, node, **node.arguments)
        reader = reader_of(node)
        if reader is None or not (node.dtype.is_floating_point or node.dtype == torch.bool):
            raise Unread

        def number(value: Any) -> Any:
            return Number(self._step(value, spread=spread)) if isinstance(value, Node) else value

        return reader(self.build, **{name: number(value) for name, value in node.arguments.items()})

    @property
    def _kept(self) -> tuple[int, ...]:
        """The shape with one entry a vector."""
        axes = self.axes or ()
        return tuple(1 if axis in axes else n for axis, n in enumerate(self.vector.shape))

    def lengths(self, of: Any, axes: Any, scale: float, *, squared: bool, dtype: Any) -> int:
        """The step of the lengths of ``of`` along the axes, or of their squares, over ``scale``."""
        if not isinstance(of, Node) or not same(of, self.vector) or dtype not in (None, of.dtype):
            raise Unread
        along = _axes(axes, len(of.shape))
        if self.axes is None:
            self.axes, self.scale = along, scale
        count = math.prod(self.vector.shape[axis] for axis in along)
        if along != self.axes or not 0 < scale < math.inf or count > _SPARE**2 * self.scale:
            raise Unread
        return self._rescaled(scale, squared=squared)

    def _rescaled(self, scale: float, *, squared: bool) -> int:
        """The length over the root of the scale, or its square, from that over the root of the first."""
        if squared:
            square = self.build("multiply", 0, 0)
            if scale == self.scale:
                return square
            whole = self.build("multiply", square, self.build.constant(self.scale))
            return self.build("divide", whole, self.build.constant(scale))
        if scale != self.scale:
            raise Unread
        return 0

    def deviations(self, of: Node, axes: Any, correction: Any, *, squared: bool) -> int:
        """The same of variances, which are those of the vector if this is ``of`` less its means."""
        along = _axes(axes, len(of.shape))
        if not same(uncentred(self.vector, along), of):
            raise Unread
        spare = 1 if correction is None else float(correction)
        number = math.prod(of.shape[axis] for axis in along) - spare
        return self.lengths(self.vector, axes, number, squared=squared, dtype=None)


_MEANS = (
    ("aten.mean.dim", None),
    ("aten.var_mean.correction", 1),
    ("aten.std_mean.correction", 1),
)


def uncentred(vector: Node, axes: tuple[int, ...]) -> Node | None:
    """What the vector is without its means along the axes, None for another one."""
    if vector.operator != "aten.sub.Tensor" or vector.arguments.get("alpha", 1) != 1:
        return None
    whole, means = vector.arguments["self"], vector.arguments["other"]
    if (
        not isinstance(whole, Node)
        or not isinstance(means, Node)
        or (means.operator, means.output) not in _MEANS
    ):
        return None
    own = means.arguments
    if not own.get("keepdim") or _axes(own.get("dim"), len(whole.shape)) != axes:
        return None
    if not same(own["self"], whole) or rounds(means) or rounds(vector):
        return None
    return whole


def _axes(axes: Any, rank: int) -> tuple[int, ...]:
    chosen = [axes] if isinstance(axes, int) else list(axes or range(rank))
    return tuple(sorted(axis % rank for axis in chosen))


def same(one: Any, other: Any, depth: int = 4) -> bool:
    """Whether two nodes compute the same from the same."""
    if one is other:
        return True
    if not (isinstance(one, Node) and isinstance(other, Node)) or depth == 0:
        return _is_plain(one) and _is_plain(other) and repr(one) == repr(other)
    if (one.operator, one.output, one.shape) != (other.operator, other.output, other.shape):
        return False
    if one.call is None or one.arguments.keys() != other.arguments.keys():
        return False
    return all(same(one.arguments[name], other.arguments[name], depth - 1) for name in one.arguments)


def _is_plain(value: Any) -> bool:
    """Whether a value is told by its text: no node, and no tensor."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


_RESHAPING = tuple(
    f"aten.{name}.default"
    for name in ("unsqueeze", "view", "_unsafe_view", "reshape", "clone", "alias")
)  # fmt: skip

_LENGTHS: dict[str, Callable[..., int]] = {}
"""By operator: a function of a reading, the node and its arguments, to the number of the step."""


def _lengths(*names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    def register(reader: Callable[..., int]) -> Callable[..., int]:
        _LENGTHS.update({f"aten.{name}": reader for name in names})
        return reader

    return register


def _root(node: Any) -> Node:
    """What is squared."""
    if not isinstance(node, Node) or rounds(node):
        raise Unread
    arguments = node.arguments
    if node.operator == "aten.square.default" or (
        node.operator == "aten.pow.Tensor_Scalar" and arguments["exponent"] == 2
    ):
        return arguments["self"]
    if node.operator == "aten.mul.Tensor" and same(arguments["self"], arguments["other"]):
        return arguments["self"]
    raise Unread


@_lengths("sum.dim_IntList", "mean.dim")
def _squares(
    reading: _Reading, node: Node, self: Node, dim: Any, keepdim: bool = False, dtype: Any = None
) -> int:
    root, count = _root(self), 1
    if node.operator == "aten.mean.dim":
        count = math.prod(self.shape[axis] for axis in _axes(dim, len(self.shape)))
    return reading.lengths(root, dim, float(count), squared=True, dtype=dtype)


@_lengths("linalg_vector_norm.default")
def _norm(
    reading: _Reading,
    node: Node,
    self: Node,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> int:
    if ord != 2:
        raise Unread
    return reading.lengths(self, dim, 1.0, squared=False, dtype=dtype)


@_lengths("var.correction", "std.correction", "var_mean.correction", "std_mean.correction")
def _variance(
    reading: _Reading,
    node: Node,
    self: Node,
    dim: Any = None,
    correction: Any = None,
    keepdim: bool = False,
) -> int:
    if node.output not in (None, 0):
        raise Unread
    squared = node.operator.startswith("aten.var")
    return reading.deviations(self, dim, correction, squared=squared)
