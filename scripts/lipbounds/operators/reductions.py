"""Sums, means, extremes and norms over axes, and soft-max."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lipbounds.graph import Node
from lipbounds.maps import Known, certified
from lipbounds.operators.table import (
    Affine,
    Behaviour,
    Bounded,
    Elementwise,
    LayerConstant,
    Range,
    Slopes,
    operators,
)
from lipbounds.rounding import Extended, product_up, quotient_up, sqrt_up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis


def _group(source: Node, dim: Any) -> int:
    """Entries that are reduced together."""
    rank = len(source.shape)
    axes = range(rank) if dim is None or dim == [] else dim if isinstance(dim, Sequence) else [dim]
    return math.prod(source.shape[a % rank] for a in axes) if rank else 1


def _refuse_whole_numbers(node: Node) -> None:
    if not (node.dtype.is_floating_point or node.dtype.is_complex):
        raise ValueError("converts to whole numbers, which jump")


@operators(
    "sum.default", "sum.dim_IntList", "mean.default", "mean.dim",
    constant="root of the number of entries, over that number for a mean",
    source="norm of a vector of ones",
    tightness="exact",
    complex=True,
)  # fmt: skip
def _sum(q: "Analysis", node: Node, self: Node, dim: Any = None, **options: Any) -> Behaviour:
    _refuse_whole_numbers(node)
    count = _group(self, dim)
    values = {1: 1.0, 2: sqrt_up(count), math.inf: float(count)}
    if ".mean" in node.operator:
        values = {order: quotient_up(value, count) for order, value in values.items()}

    def norms(ord: float) -> Any:
        return certified(values[ord], f"over {count} entries")

    return Affine([(self, (Known(norms, lambda x: node.run({self: x}, wide=True), count),))])


@operators(
    "cumsum.default",
    constant="1 / (2 sin(pi / (4 n + 2))); n for ord=1 and inf",
    source="the inverse is a difference, with known singular values",
    tightness="exact",
)
def _cumsum(q: "Analysis", node: Node, self: Node, dim: int, **options: Any) -> Behaviour:
    _refuse_whole_numbers(node)
    count = self.shape[dim] if self.shape else 1
    smooth = (1 + 1e-12) / (2 * math.sin(math.pi / (4 * count + 2)))

    def norms(ord: float) -> Any:
        return certified(smooth if ord == 2 else float(count), f"over up to {count} entries")

    return Affine([(self, (Known(norms, lambda x: node.run({self: x}, wide=True), count),))])


@operators(
    "amax.default", "amin.default", "max.dim", "min.dim", "max.default", "min.default", "sort.default",
    "sort.stable", "topk.default", "median.dim", "median.default", "kthvalue.default",
    constant="1",
    source="sorting brings no two vectors further apart",
    tightness="exact",
)  # fmt: skip
def _ordered(q: "Analysis", node: Node, self: Node, **options: Any) -> Behaviour:
    if not node.dtype.is_floating_point:
        raise ValueError("the positions of the largest entries jump")
    norm = certified(1.0, "each output is an entry")
    return LayerConstant(norm, norm.how, self, selects=True)


@operators(
    "cummax.default", "cummin.default", "logcumsumexp.default",
    constant="root of the number of entries",
    source="each output changes by no more than the entries before it",
    tightness="exact",
)  # fmt: skip
def _running(q: "Analysis", node: Node, self: Node, dim: int) -> Behaviour:
    if not node.dtype.is_floating_point:
        raise ValueError("the positions of the largest entries jump")
    count = self.shape[dim] if self.shape else 1
    value = {1: float(count), 2: sqrt_up(count), math.inf: 1.0}[q.ord]
    norm = certified(value, f"over up to {count} entries")
    return LayerConstant(norm, norm.how, self, selects="logcumsumexp" not in node.operator)


@operators(
    "logaddexp.default", "logaddexp2.default", "hypot.default",
    constant="norm of the vector of both constants",
    source="both derivatives are at most 1, and so is their norm",
    tightness="exact for parts that depend on different entries",
)  # fmt: skip
def _both(q: "Analysis", node: Node, self: Any, other: Any) -> Behaviour:
    varying = [part for part in (self, other) if isinstance(part, Node)]
    if any(part.shape != node.shape for part in varying):
        raise ValueError("joins tensors of different shapes; expand them first")
    sums = "logaddexp" in node.operator  # derivatives that add up to 1
    slopes = Slopes(0.0, 1.0) if sums else Slopes(-1.0, 1.0)
    values = Range() if sums else Range(0.0, math.inf)
    if len(varying) == 1:
        return Elementwise(varying[0], slopes, values)
    bounds = [q.bound(part, last=True) for part in varying]
    if q.ord == math.inf:
        total = max(bounds) if sums else Extended.of(sqrt_up(2)) * max(bounds)
    elif q.ord == 1:
        total = bounds[0] + bounds[1]
    else:
        total = (bounds[0] * bounds[0] + bounds[1] * bounds[1]).sqrt()
    return Bounded(total, "both derivatives are at most 1", values)


@operators(
    "linalg_vector_norm.default", "norm.ScalarOpt_dim", "norm.Scalar",
    constant="n^max(0, 1/p - 1/ord)",
    source="|v|_p <= n^(1/p - 1/q) |v|_q",
    tightness="exact",
)  # fmt: skip
def _vector_norm(q: "Analysis", node: Node, self: Node, **options: Any) -> Behaviour:
    given = options.get("ord", options.get("p"))
    p = 2.0 if given is None else float(given)
    if p < 1:
        raise ValueError(f"the {p}-norm is not Lipschitz")
    count = _group(self, options.get("dim"))
    power = max(0.0, 1 / p - 1 / q.ord)
    value = 1.0 if power == 0 else count**power * (1 + 1e-12)
    return LayerConstant(certified(value, "triangle inequality"), "", self, Range(0.0, math.inf))


@operators(
    "var.correction",
    constant="sqrt(n) (max x - min x) / (n - c)",
    source="its gradient; Popoviciu",
    tightness="not tight",
)
def _var(q: "Analysis", node: Node, self: Node, dim: Any = None, **options: Any) -> Behaviour:
    count, correction = _group(self, dim), options.get("correction")
    rest = count - (1.0 if correction is None else float(correction))
    known = q.ranges.of(self)
    width = known.high - known.low
    if q.ord != 2 or rest <= 0:
        raise ValueError("the variance is known for ord=2 and more entries than its correction only")
    value = Extended.of(quotient_up(product_up([sqrt_up(count), width]), rest) * (1 + 1e-12))
    how = "on the range of its input" if width < math.inf else "unbounded; give a radius"
    return Bounded(value * q.bound(self, last=True), how, Range(0.0, math.inf))


@operators(
    "prod.default", "prod.dim_int",
    constant="sqrt(n) max |x|^(n-1)",
    source="its gradient, products of n - 1 entries",
    tightness="exact on the range",
)  # fmt: skip
def _prod(q: "Analysis", node: Node, self: Node, dim: Any = None, **options: Any) -> Behaviour:
    _refuse_whole_numbers(node)
    count, peak = _group(self, dim), q.ranges.of(self).peak
    copies = {1: 1.0, 2: sqrt_up(count), math.inf: float(count)}[q.ord]
    value = Extended.of(copies)
    for _ in range(count - 1):
        value = value * Extended.of(peak)
    how = f"products of {count} entries" + ("" if value.value < math.inf else "; give a radius")
    largest = product_up([value.value, peak])
    return Bounded(value * q.bound(self, last=True), how, Range(-largest, largest))


@operators("std.correction", constant="1 / sqrt(n - c)", source="norm of x - mean", tightness="exact")
def _std(q: "Analysis", node: Node, self: Node, dim: Any = None, **options: Any) -> Behaviour:
    correction = options.get("correction")
    rest = _group(self, dim) - (1.0 if correction is None else float(correction))
    if q.ord != 2 or rest <= 0:
        raise ValueError("the deviation is known for ord=2 and more entries than its correction only")
    norm = certified(quotient_up(1.0, math.sqrt(rest)) * (1 + 1e-12), "1 / sqrt(n - c)")
    return LayerConstant(norm, norm.how, self, Range(0.0, math.inf))


@operators(
    "softmax.int", "_softmax.default", "_safe_softmax.default",
    constant="1/2",
    source="|diag(p) - p p^T| <= 1/2",
    tightness="exact",
)  # fmt: skip
def _softmax(q: "Analysis", node: Node, self: Node, dim: int, **options: Any) -> Behaviour:
    along_last = dim in (-1, len(self.shape) - 1)
    token = 1.0 if along_last or not self.shape else sqrt_up(self.shape[-1])
    return LayerConstant(certified(0.5, "1/2"), "1/2", self, Range(0.0, 1.0), token)


@operators(
    "log_softmax.int", "_log_softmax.default",
    constant="sqrt(n); 2 for ord=inf, n - 1 for ord=1",
    source="|I - 1 p^T| = sqrt(n) |p|",
    tightness="exact for n >= 2",
)  # fmt: skip
def _log_softmax(q: "Analysis", node: Node, self: Node, dim: int, **options: Any) -> Behaviour:
    size = self.shape[dim] if self.shape else 1
    value = {1: float(max(1, size - 1)), 2: sqrt_up(size), math.inf: 2.0}[q.ord]
    return LayerConstant(certified(value, "root of the number of classes"), "sqrt(n)", self)


@operators("logsumexp.default", constant="1", source="its gradient is a soft-max", tightness="exact")
def _logsumexp(q: "Analysis", node: Node, self: Node, dim: Any, keepdim: bool = False) -> Behaviour:
    return LayerConstant(certified(1.0, "its gradient is a soft-max"), "", self)
