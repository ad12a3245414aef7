"""Where the values of nodes lie, for what is Lipschitz on bounded sets only, such as products.

Two ways are followed, and what both say holds: the range of each operator from those of its
arguments, and, on a ball, the value at its centre plus the Lipschitz bound times the radius. The first
is proved; the second is not, because the value at the centre is computed with rounding errors that are
not bounded. Sums and products are those of exact arithmetic, as everywhere; functions of a library may
be wrong by some units of the dtype of the model.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lipbounds.graph import Node
from lipbounds.maps import Matrix, Scaling, Selection
from lipbounds.operators.table import (
    Affine,
    Bounded,
    Elementwise,
    Joined,
    LayerConstant,
    Range,
)
from lipbounds.rounding import gamma, product_up, sqrt_up, sum_up, up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

_DEPTH = 64
"""Nodes that a bound of tokens is followed back through."""


class Ranges:
    """Ranges of entries, and of the 2-norms of tokens (vectors along the last axis), by node."""

    def __init__(self, analysis: "Analysis") -> None:
        self._analysis = analysis
        self._proved: dict[Node, Range] = {}
        self._centres: dict[Node, Tensor] | None = None

    def proved(self, node: Node) -> Range:
        """Of all entries of ``node``, operator by operator: what is made of it is certified."""
        return self._structural(node)

    def proved_token(self, node: Node) -> float:
        """As :meth:`token`, operator by operator."""
        return self._token(node, _DEPTH)

    def of(self, node: Node) -> Range:
        """Of all entries of ``node``."""
        proved = self._structural(node)
        centre = self._around_centre(node)
        if centre is None or proved.within(centre) == proved:
            return proved
        self._analysis.certified = False
        return proved.within(centre)

    def token(self, node: Node) -> float:
        """Bound of the 2-norm of every vector along the last axis, inf where there is none."""
        proved = self._token(node, _DEPTH)
        found = self._token_around_centre(node)
        if not found < proved:
            return proved
        self._analysis.certified = False
        return found

    # Operator by operator

    def _structural(self, node: Node) -> Range:
        waiting = [node]
        while waiting:
            top = waiting[-1]
            missing = [n for n in self._sources(top) if n not in self._proved]
            if missing:
                waiting += missing
            else:
                self._proved[top] = self._from_sources(top)
                waiting.pop()
        return self._proved[node]

    def _sources(self, node: Node) -> list[Node]:
        match self._analysis.behaviours.get(node):
            case Affine(parts=parts):
                return [source for source, _ in parts]
            case Elementwise(range=known) | LayerConstant(range=known) if known.peak < math.inf:
                return []
            case Elementwise(input=source):
                return [source]
            case LayerConstant(input=source, selects=True):
                return [source] if source is not None else []
            case Joined(inputs=inputs):
                return list(inputs)
        return []

    def _from_sources(self, node: Node) -> Range:
        behaviour = self._analysis.behaviours.get(node)
        ranges = [self._proved[source] for source in self._sources(node)]
        match behaviour:
            case None:
                radius = self._analysis.radius
                return Range(-radius, radius) if node is self._analysis.graph.input else Range()
            case Affine():
                return self._of_affine(node, behaviour, ranges)
            case Elementwise():
                return behaviour.range.within(self._of_elementwise(node, behaviour, ranges))
            case LayerConstant() if behaviour.selects:
                return behaviour.range.within(_hull(ranges))
            case Joined():
                return _hull([*ranges, behaviour.constants])
            case LayerConstant() | Bounded():
                return behaviour.range
        return Range()

    def _of_affine(self, node: Node, behaviour: Affine, ranges: list[Range]) -> Range:
        if any(not r.peak < math.inf for r in ranges):
            return ranges[0].hull(Range(0.0, 0.0)) if behaviour.silent else Range()
        centres = {s: r.low / 2 + r.high / 2 for (s, _), r in zip(behaviour.parts, ranges, strict=True)}
        value = node.run(_filled(node, centres), wide=True)
        offset = node.run(_filled(node, dict.fromkeys(centres, 0.0)), wide=True)
        reach, size, terms = [], [offset.abs().max().item()], 4
        for (source, maps), r in zip(behaviour.parts, ranges, strict=True):
            norm = product_up([map_.norm(math.inf).value for map_ in maps])
            radius = up(r.high / 2 - r.low / 2) * (1 + 1e-15)
            reach.append(product_up([norm, radius]))
            size.append(product_up([norm, abs(centres[source])]))
            terms += math.prod(source.shape)
        # what the evaluation at the centres, and of the offset, may be wrong by
        error = product_up([2 * gamma(2 * terms), sum_up(size)])
        radius = sum_up([*reach, error])
        return Range(value.min().item() - up(radius), value.max().item() + up(radius))

    def _of_elementwise(self, node: Node, behaviour: Elementwise, ranges: list[Range]) -> Range:
        if not ranges or not behaviour.alone:
            return Range()
        known, slopes = ranges[0].within(behaviour.domain), behaviour.slopes
        if not known.peak < math.inf or not slopes.largest < math.inf:
            if slopes.low >= 0 and known.low > -math.inf and slopes.high < math.inf:
                low = node.run(_filled(node, {behaviour.input: known.low}), wide=True).min().item()
                return Range(low - library_error(node) * (1 + abs(low)), math.inf)
            return Range()
        ends = [
            node.run(_filled(node, {behaviour.input: end}), wide=True) for end in (known.low, known.high)
        ]
        width = up(known.high - known.low)
        monotone = slopes.low >= 0 or slopes.high <= 0
        spread = 0.0 if monotone else product_up([slopes.largest, width])
        low = min(end.min().item() for end in ends) - spread
        high = max(end.max().item() for end in ends) + spread
        spare = library_error(node) * (1 + max(abs(low), abs(high)))
        return Range(low - spare, high + spare)

    def _token(self, node: Node, depth: int) -> float:
        behaviour, shape = self._analysis.behaviours.get(node), node.shape
        last = sqrt_up(shape[-1]) if shape else 1.0
        found = product_up([last, self._structural(node).peak])
        if node is self._analysis.graph.input:
            return min(found, self._analysis.radius if self._analysis.ord != math.inf else math.inf)
        match behaviour:
            case LayerConstant(token=token) | Bounded(token=token):
                found = min(found, token)
            case Elementwise(input=source, slopes=slopes) if depth and self._passes_zero(behaviour):
                zero = node.run(_filled(node, {source: 0.0}), wide=True).abs().max().item()
                inner = product_up([slopes.largest, self._token(source, depth - 1)])
                found = min(found, sum_up([product_up([last, zero * (1 + library_error(node))]), inner]))
            case Affine(parts=[(source, [map_])]) if depth:
                gain = _token_gain(map_, source.shape, shape)
                if gain < math.inf:
                    offset = node.run(_filled(node, {source: 0.0}), wide=True)
                    size = _largest_token(offset) * (1 + 1e-9)
                    found = min(
                        found, sum_up([product_up([gain, self._token(source, depth - 1)]), size])
                    )
        return found

    def _passes_zero(self, behaviour: Elementwise) -> bool:
        """Whether the slopes hold on the way from every argument to 0, and the value there is known."""
        if not behaviour.alone:
            return False
        known = self._structural(behaviour.input).within(behaviour.domain)
        return behaviour.slopes.largest < math.inf and known.low <= 0 <= known.high

    # Around the centre of the ball

    def _around_centre(self, node: Node) -> Range | None:
        if self._analysis.radius == math.inf or node not in self._analysis.values:
            return None
        reach = product_up([self._analysis.bound(node).value, self._analysis.radius])
        value = self._at_centre(node)
        if not reach < math.inf or not value.isfinite().all():
            return None
        return Range(value.min().item() - up(reach), value.max().item() + up(reach))

    def _token_around_centre(self, node: Node) -> float:
        if self._analysis.radius == math.inf or node not in self._analysis.values:
            return math.inf
        last = sqrt_up(node.shape[-1]) if self._analysis.ord == math.inf and node.shape else 1.0
        reach = product_up([last, self._analysis.bound(node).value, self._analysis.radius])
        return sum_up([_largest_token(self._at_centre(node)), reach])

    def _at_centre(self, node: Node) -> Tensor:
        if self._centres is None:
            graph = self._analysis.graph
            self._centres = graph.run(torch.zeros(graph.input.shape, dtype=torch.float64), wide=True)
        return self._centres[node]


def library_error(node: Node) -> float:
    """What exp, tanh, erf and so on may be wrong by in the dtype of the model, relative to values or
    to 1: some units in the last place, of the largest intermediate result."""
    return max(1e-12, 8 * torch.finfo(node.dtype).eps) if node.dtype.is_floating_point else 0.0


def _hull(ranges: list[Range]) -> Range:
    return Range(min(r.low for r in ranges), max(r.high for r in ranges)) if ranges else Range()


def _filled(node: Node, values: dict[Node, float]) -> dict[Node, Tensor]:
    return {
        source: torch.full(source.shape, values.get(source, 0.0), dtype=torch.float64)
        for source in node.inputs
    }


def _largest_token(value: Tensor) -> float:
    if value.numel() == 0:
        return 0.0
    wide = value.double()
    return (torch.linalg.vector_norm(wide, dim=-1) if wide.dim() else wide.abs()).max().item()


def _token_gain(map_: object, before: tuple[int, ...], after: tuple[int, ...]) -> float:
    """What a map multiplies the norms of tokens by at most, inf where it does not act on tokens."""
    if isinstance(map_, Matrix) and map_.axis == -1:
        return map_.norm(2).value
    if isinstance(map_, Scaling):
        return map_.norm(2).value
    if isinstance(map_, Selection) and before and after:
        if map_.positions is None:
            return 1.0 if before[-1] % max(1, after[-1]) == 0 else math.inf
        rows = map_.positions.view(-1, after[-1])
        owners = rows // before[-1]
        kept = rows >= 0
        first = owners.amax(1, keepdim=True)
        if not ((owners == first) | ~kept).all():
            return math.inf
        return 1.0 if not map_.copies else sqrt_up(after[-1])
    return math.inf
