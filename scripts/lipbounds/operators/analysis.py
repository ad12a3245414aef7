"""AutoLip on the graph of operators: bounds of every node from the rules of the operators.

Affine nodes extend the sums of linear images that their arguments are (:mod:`.expressions`); a
nonlinear node costs its constant times the bound of its argument. For a chain of layers that is the
product of their norms.

Source: Virmaux & Scaman, NeurIPS 2018, algorithm 1; constant nodes count 0.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lipbounds.graph import Graph, Node, Shape
from lipbounds.graph.kept import module_of
from lipbounds.maps import Filter, LinearMap, Scaling, Selection, apply, certified, image_shape, is_zero
from lipbounds.operator_norm import Kind, OperatorNorm, affine_norm
from lipbounds.operators.composed import Composed, behaviour, composed
from lipbounds.operators.expressions import Base, Expression, Step, Term, merged_sum
from lipbounds.operators.ranges import Ranges
from lipbounds.operators.table import (
    Affine,
    Behaviour,
    Bounded,
    Elementwise,
    Joined,
    LayerConstant,
    Local,
    Slopes,
    UnknownLayerError,
    rule_of,
)
from lipbounds.rounding import Extended, sqrt_up

_MOST_TERMS = 16
"""Terms of a sum from which on it becomes a base of its own."""


@dataclass(frozen=True)
class Layer:
    """A row of the table: module path or paths, type, norm, how it was obtained, and seconds spent.

    ``lower`` approaches the same norm from below, where that was asked for and the layer is linear.
    """

    name: str
    kind: str
    norm: OperatorNorm
    how: str
    seconds: float = 0.0
    lower: float | None = None


Tighten: TypeAlias = Callable[["Analysis", Expression], Extended | None]


@dataclass
class Analysis:
    """Bounds of a graph. ``ord`` is the norm; inputs lie within ``radius`` of zero."""

    graph: Graph
    ord: float = 2
    radius: float = math.inf
    grid: int | None = None
    tighten: Tighten | None = None
    gaps: bool = False
    layers: list[Layer] = field(default_factory=list)
    kind: Kind = "upper"
    certified: bool = True
    behaviours: dict[Node, Behaviour] = field(default_factory=dict)
    values: dict[Node, Expression] = field(default_factory=dict)
    _composed: dict[Node, Composed] = field(default_factory=dict)
    _needed: set[Node] = field(default_factory=set)
    _bounds: dict[tuple[Node, bool], Extended] = field(default_factory=dict)
    _norms: dict[int, tuple[Any, Extended]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._composed, self._needed = composed(self.graph, self.ord, self.radius)
        ruled = [n for n in self.graph.nodes[1:] if n in self._needed and n not in self._composed]
        unknown = [node for node in ruled if rule_of(node, module_of) is None]
        if unknown:
            raise UnknownLayerError(unknown)

    def run(self) -> Extended:
        """The Lipschitz bound of the model's outputs side by side."""
        source = self.graph.input
        base = Base(Extended.of(1.0), source.shape)
        self.values[source] = Expression((Term(base),), source.shape)
        for node in self.graph.nodes[1:]:
            if node not in self._needed:
                continue
            started = time.perf_counter()
            behaviour = self._behaviour(node)
            self.behaviours[node] = behaviour
            self.values[node] = self._value(node, behaviour, started)
        outputs = self.graph.outputs
        if len(outputs) == 1:
            return self.bound(outputs[0], last=True)
        return self._side_by_side(outputs)

    # What a node is

    def _behaviour(self, node: Node) -> Behaviour:
        if node in self._composed:
            return behaviour(self, self._composed[node])
        operator = rule_of(node, module_of)
        assert operator is not None
        try:
            if node.operator == "lipbounds.module.default":
                return self._module(node, operator.rule)
            return operator.rule(self, node, **node.arguments)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"{node.place}: {error}") from error

    def _module(self, node: Node, rule: Callable[..., Behaviour]) -> Behaviour:
        module, source = module_of(node.arguments["number"]), node.arguments["input"]
        found = rule(module, source.shape[1:], self.ord)
        if isinstance(found, Local):
            norm = found.constant(self.ranges.token(source))
            return LayerConstant(norm, norm.how, source)
        if isinstance(found, Slopes):
            return Elementwise(source, found)
        if isinstance(found, LayerConstant):
            return replace(found, input=source)
        if not isinstance(found, LinearMap):
            raise ValueError(
                f"its rule returned {found!r}, and not a LayerConstant, Slopes, Local or linear map"
            )
        return Affine([(source, (found,))])

    def _value(self, node: Node, behaviour: Behaviour, started: float) -> Expression:
        name, kind = names(node)
        if isinstance(behaviour, Affine):
            return self._affine(node, behaviour, name, kind)
        if isinstance(behaviour, Elementwise):
            slopes, x = behaviour.slopes, self.values[behaviour.input]
            bound = self.bound(behaviour.input) * Extended.of(slopes.largest)
            self.row(name, kind, certified(slopes.largest, slopes.how), slopes.how, 0.0)
            if node.shape != behaviour.input.shape:  # an option that is larger broadcasts it
                count = math.prod(node.shape) // max(1, math.prod(behaviour.input.shape))
                copies = {1: float(count), 2: sqrt_up(count), math.inf: 1.0}[self.ord]
                return Expression((Term(Base(bound * Extended.of(copies), node.shape)),), node.shape)
            base = Base(bound, node.shape, argument=x, slopes=slopes)
            return Expression((Term(base),), node.shape)
        if isinstance(behaviour, LayerConstant):
            assert behaviour.input is not None
            bound = self.bound(behaviour.input, last=True) * Extended.of(behaviour.norm.value)
            how = behaviour.how or behaviour.norm.how
            self.row(name, kind, behaviour.norm, how, time.perf_counter() - started)
        elif isinstance(behaviour, Joined):
            bound = self._side_by_side(behaviour.inputs)
        else:
            assert isinstance(behaviour, Bounded)
            bound = behaviour.bound
            self.row(name, kind, certified(1.0, behaviour.how), behaviour.how, 0.0)
        return Expression((Term(Base(bound, node.shape)),), node.shape)

    def _affine(self, node: Node, behaviour: Affine, name: str, kind: str) -> Expression:
        terms: list[Term] = []
        for source, maps in behaviour.parts:
            images, shape = list(self.values[source].terms), source.shape
            for place, map_ in enumerate(maps):
                if isinstance(map_, Filter) and self.grid is not None:
                    map_ = replace(map_, grid=self.grid)
                silent = behaviour.silent or isinstance(map_, Selection) or _is_sign(map_)
                step = Step(map_, "" if silent else name, "" if silent else kind, shape)
                if not (isinstance(map_, Selection) and map_.index is None and map_.shape == shape):
                    images = [term.then(step) for term in images]
                shape = image_shape(map_, shape) if place < len(maps) - 1 else node.shape
            terms += images
        value = Expression(tuple(terms), node.shape)
        if len(terms) > _MOST_TERMS:
            value = Expression((Term(Base(self._sum_over_bases(value), node.shape)),), node.shape)
        return value

    def row(
        self,
        name: str,
        kind: str,
        norm: OperatorNorm,
        how: str,
        seconds: float,
        lower: float | None = None,
    ) -> None:
        """One more row of the table; a chain is no layer, and counts only where it was better."""
        self.layers.append(Layer(name, kind, norm, how, seconds, lower))
        self.certified &= norm.certified and norm.kind == "upper"
        if norm.kind != "upper":
            self.kind = "estimate"

    # Bounds

    def bound(self, node: Node, *, last: bool = False) -> Extended:
        """Lipschitz constant of a node from the input.

        ``last`` says that no activation follows, so that tighter bounds of the chain of layers
        behind it may be tried.
        """
        key = node, last and self.tighten is not None
        if key not in self._bounds:
            x = self.values[node]
            found = self._sum_over_bases(x)
            if last and self.tighten is not None:
                found = min(found, self._tightened(x))
            self._bounds[key] = found
        return self._bounds[key]

    def _tightened(self, x: Expression) -> Extended:
        """The chain that ends in an expression; an activation at its end is a factor."""
        assert self.tighten is not None
        factor = Extended.of(1.0)
        while len(x.terms) == 1 and not x.terms[0].steps:
            base = x.terms[0].base
            if base.argument is None or base.slopes is None:
                break
            factor, x = factor * Extended.of(base.slopes.largest), base.argument
        found = self.tighten(self, x)
        return Extended.of(math.inf) if found is None else found * factor

    def _side_by_side(self, nodes: Any) -> Extended:
        total = Extended.of(0.0)
        for bound in [self.bound(node, last=True) for node in nodes]:
            if self.ord == math.inf:
                total = max(total, bound)
            else:
                total = total + (bound * bound if self.ord == 2 else bound)
        return total.sqrt() if self.ord == 2 else total

    def _sum_over_bases(self, x: Expression) -> Extended:
        total = Extended.of(0.0)
        for base in dict.fromkeys(term.base for term in x.terms):
            # the norms come first, so that rows stand in order of execution
            norm = self._norm_of_sum([t.steps for t in x.terms if t.base is base], base.shape)
            total = total + base.bound * norm
        return total

    def _norm_of_sum(self, ways: list[tuple[Step, ...]], shape: Shape) -> Extended:
        """Norm of the sum of several ways from a base of ``shape``, merged where possible."""
        merged = merged_sum(ways, shape)
        if merged is not None:
            return Extended.of(0.0) if is_zero(merged.map) else self.norm((merged,))
        total = Extended.of(0.0)
        for steps in ways:
            total = total + self.norm(steps)
        return total

    def norm(self, steps: tuple[Step, ...]) -> Extended:
        """The product of the norms of steps that follow on each other."""
        product = Extended.of(1.0)
        for step in steps:
            product = product * self._step_norm(step)
        return product

    def _step_norm(self, step: Step) -> Extended:
        key = id(step.map)
        if key not in self._norms:
            started = time.perf_counter()
            try:
                norm = step.map.norm(self.ord)
            except (ValueError, ArithmeticError) as error:
                raise ValueError(f"layer {step.name} ({step.kind}): {error}") from error
            if step.kind:
                spent = time.perf_counter() - started
                lower = self._from_below(step) if self.gaps else None
                self.row(step.name, step.kind, norm, norm.how, spent, lower)
            # the map is kept so that its id is not given to another
            self._norms[key] = (step.map, Extended.of(norm.value))
        return self._norms[key][1]

    def _from_below(self, step: Step) -> float | None:
        """The norm of a linear layer by Lanczos, None where the map is not known as a function."""
        if self.ord != 2 or apply(step.map, torch.zeros(1, *step.shape, dtype=torch.float64)) is None:
            return None

        def run(x: Tensor) -> Tensor:
            image = apply(step.map, x)
            assert image is not None
            return image

        return affine_norm(run, (1, *step.shape)).value

    @cached_property
    def ranges(self) -> Ranges:
        """Ranges of the nodes seen so far, computed when a rule asks."""
        return Ranges(self)


def _is_sign(map_: LinearMap) -> bool:
    return isinstance(map_, Scaling) and map_.factors.numel() == 1 and abs(map_.factors.item()) == 1


def names(node: Node) -> tuple[str, str]:
    """What a node is called in tables: its module's path and type, or the operator's own name."""
    if node.layer:
        return node.path, node.layer
    own = node.operator.split(".")[1].strip("_")
    return (f"{node.path}.{node.name}" if node.path else node.name), own
