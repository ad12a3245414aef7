"""Products and quotients of nodes that both depend on the input: Lipschitz where these are bounded."""

import math
from typing import TYPE_CHECKING, Any

import torch

from lipbounds.graph import Node
from lipbounds.operators.table import (
    Behaviour,
    Bounded,
    Elementwise,
    Range,
    Slopes,
    weight_of,
)
from lipbounds.rounding import Extended, product_up, quotient_up, sqrt_up, up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis


def product(q: "Analysis", node: Node, a: Node, b: Node) -> Behaviour:
    """Elementwise, with broadcasting: |a| db + |b| da."""
    first, second = q.ranges.of(a), q.ranges.of(b)
    if a is b:
        low, high = 2 * first.low, 2 * first.high
        return Elementwise(a, Slopes(low, high, _how(high - low)), Range(0.0, math.inf), first)
    bound = Extended.of(second.peak) * _spread_bound(q, node, a)
    bound = bound + Extended.of(first.peak) * _spread_bound(q, node, b)
    ends = [x * y for x in (first.low, first.high) for y in (second.low, second.high)]
    finite = all(map(math.isfinite, ends))
    reach = Range(_down(min(ends)), up(max(ends))) if finite else Range()
    return Bounded(bound, _how(bound.value), reach)


def quotient(q: "Analysis", node: Node, a: Any, b: Node) -> Behaviour:
    """Elementwise a / b for a divisor that keeps away from 0: da / b + a db / b^2."""
    known = q.ranges.of(b)
    least = max(known.low, -known.high)
    if not least > 0:
        return Bounded(Extended.of(math.inf), "the divisor may be 0; give a radius, or clamp it")
    inverse = Extended.of(quotient_up(1.0, least))
    if isinstance(a, Node):
        peak = q.ranges.of(a).peak
        bound = inverse * _spread_bound(q, node, a)
    else:
        peak = weight_of(a, "a constant").abs().max().item()
        bound = Extended.of(0.0)
    bound = bound + Extended.of(peak) * inverse * inverse * _spread_bound(q, node, b)
    reach = product_up([peak, inverse.value])
    return Bounded(bound, _how(bound.value), Range(-reach, reach))


def matrix_product(q: "Analysis", node: Node, a: Node, b: Node) -> Behaviour:
    """a @ b with |a| and |b| bounded by their tokens (rows): |A| |dB| + |B| |dA|, in the 2-norm.

    A vector is a matrix of one row on the left, and of one column on the right.
    """
    if q.ord != 2:
        raise ValueError(f"the bound of a product of varying matrices is for ord=2 only, not {q.ord}")
    tokens = q.ranges.token(a), q.ranges.token(b)
    sizes = [
        Extended.of(product_up([sqrt_up(part.shape[-2] if len(part.shape) > 1 else 1), token]))
        for part, token in zip((a, b), tokens, strict=True)
    ]
    copies = math.prod(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    factors = [Extended.of(sqrt_up(copies // max(1, math.prod(part.shape[:-2])))) for part in (a, b)]
    bound = sizes[1] * factors[0] * q.bound(a, last=True) + sizes[0] * factors[1] * q.bound(b, last=True)
    # of the rows of a, each of which gives an entry where b is a vector
    token = product_up([sizes[0].value if len(b.shape) == 1 else tokens[0], sizes[1].value])
    return Bounded(bound, _how(bound.value), Range(-token, token), token)


def _spread_bound(q: "Analysis", node: Node, part: Node) -> Extended:
    """The bound of an argument after it was broadcast."""
    count = math.prod(node.shape) // max(1, math.prod(part.shape))
    factor = {1: float(count), 2: sqrt_up(count), math.inf: 1.0}[q.ord]
    return Extended.of(factor) * q.bound(part, last=True)


def _how(value: float) -> str:
    return "product of two varying nodes" + ("" if value < math.inf else "; unbounded, give a radius")


def _down(value: float) -> float:
    return math.nextafter(value, -math.inf)
