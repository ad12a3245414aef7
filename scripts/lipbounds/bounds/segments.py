"""Tighter bounds for the parts of a graph that are chains: matrices and activations in turn.

From a node back to the nearest base with any other way to it, each linear part is held as a matrix
if it is small enough. A bound of the chain times the bound of that base bounds the node. A part alone
is a chain of one matrix, whose norm is exact where that of a convolution is not.
"""

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lipbounds.bounds import chains
from lipbounds.bounds.chain import Chain, product
from lipbounds.maps import Filter, Known, LinearMap, Matrix, Scaling, Selection, apply, certified
from lipbounds.operator_norm import OperatorNorm
from lipbounds.operators.analysis import Analysis
from lipbounds.operators.expressions import Base, Expression, Step
from lipbounds.rounding import Extended, gamma, product_up, sqrt_up, squared_frobenius_upper, sum_up

_SMALL = 64
"""Hidden neurons up to which SeqLip takes milliseconds."""

_IF_SMALL = " if small"

_ONE_MATRIX = "one matrix"
"""The bound of a chain without activations: the norm of its matrix."""

CHAIN_BOUNDS = sorted(path.stem for path in Path(chains.__file__).parent.glob("[a-z]*.py"))
"""Certified bounds of a chain, one file each in ``chains/``."""


def chain_bound(name: str) -> Callable[[Chain], OperatorNorm]:
    """The bound of a file in ``chains/``; with ``NAME if small`` for few hidden neurons only."""
    if name == _ONE_MATRIX:
        return product
    module = importlib.import_module(f"{chains.__name__}.{name.removesuffix(_IF_SMALL)}")
    bound: Callable[[Chain], OperatorNorm] = module.bound
    return partial(_if_small, bound) if name.endswith(_IF_SMALL) else bound


def _if_small(bound: Callable[[Chain], OperatorNorm], chain: Chain) -> OperatorNorm:
    if sum(len(weight) for weight in chain.weights[:-1]) > _SMALL:
        raise ValueError(f"more than {_SMALL} hidden neurons")
    return bound(chain)


_LARGEST_MATRIX = 1 << 24
"""Entries of the largest linear part that is turned into a matrix (128 MiB)."""

_AT_ONCE = 1 << 22
"""Entries of the tensors that unit vectors are turned into at a time (32 MiB)."""


@dataclass(frozen=True)
class Part:
    """The linear maps ``steps`` from ``base``, not yet a matrix; (rows, columns) is its size."""

    base: Base
    steps: tuple[Step, ...]
    size: tuple[int, int]

    @property
    def cost(self) -> float:
        """Multiplications that turn it into a matrix and bound its rounding."""
        if len(self.steps) == 1 and isinstance(self.steps[0].map, Matrix) and self._is_vector:
            return 0.0
        return 2.0 * self.size[1] * sum(_multiplications(step) for step in self.steps) + math.prod(
            self.size
        )

    @property
    def is_exact(self) -> bool:
        """Whether the product of its steps' norms is its norm, so that a matrix has nothing to add."""
        return len(self.steps) < 2 and not any(isinstance(step.map, Filter) for step in self.steps)

    @property
    def _is_vector(self) -> bool:
        return self.base.shape[-1:] == (math.prod(self.base.shape),)


@dataclass(frozen=True)
class Segment:
    """A chain from ``start``; ``deviations`` bound the spectral norms by which its weights differ
    from those that are meant."""

    start: Base
    chain: Chain
    deviations: tuple[float, ...]


class Tightening:
    """Chain bounds ``methods`` of one analysis, within a ``budget`` of multiplications for all."""

    def __init__(self, methods: tuple[str, ...], budget: float) -> None:
        self.methods = methods
        self.left = budget
        self.used: list[str] = []

    def __call__(self, analysis: Analysis, x: Expression) -> Extended | None:
        """The least of the chain bounds of an expression, None where there is none.

        What was tried, and what was given up, becomes a row of the table.
        """
        parts = parts_of(x)
        if not parts or (len(parts) == 1 and parts[0].is_exact):
            return None
        return self._bound(analysis, parts)

    def _bound(self, analysis: Analysis, parts: list[Part]) -> Extended:
        """From the input to the end of the parts: as many of the last as the budget allows are one
        segment, and so on with those before it."""
        started = time.perf_counter()
        costs = [_cost(parts[start:]) for start in range(len(parts))]
        start = next((start for start, cost in enumerate(costs) if cost <= self.left), None)
        if start is None:
            how = f"given up: needs {costs[-1]:.2g} multiplications, {self.left:.2g} are left"
            analysis.row(_name(parts[-1:]), "chain", certified(math.inf, how), how, 0.0)
        if start is None or (start == len(parts) - 1 and parts[start].is_exact):
            start = len(parts) - 1
            norm = analysis.norm(parts[start].steps)
        else:
            self.left -= costs[start]
            norm = self._least(analysis, parts[start:], started)
        base = parts[start].base
        before = base.bound
        if start > 0:
            assert base.slopes is not None
            steepest = Extended.of(base.slopes.largest)
            before = min(before, self._bound(analysis, parts[:start]) * steepest)
        return before * norm

    def _least(self, analysis: Analysis, parts: list[Part], started: float) -> Extended:
        """The least bound of a segment, and the row that says what was tried."""
        segment = segment_of(parts)
        extra = _perturbation(segment)
        found: dict[str, Extended] = {}
        tried = []
        for method in self.methods if len(parts) > 1 else [_ONE_MATRIX]:
            try:
                norm = chain_bound(method)(segment.chain)
            except ValueError as reason:
                tried.append(f"{method} given up: {reason}")
                continue
            if not (norm.kind == "upper" and norm.certified):
                raise ArithmeticError(f"the chain bound {method} is not certified")
            found[method] = Extended.of(norm.value) + extra
            tried.append(f"{method} {norm.value:.6g}")
        best = min(found, key=lambda method: found[method].sort_key, default="")
        least = found.get(best, Extended.of(math.inf))
        self.used += [best] if best else []
        spent = time.perf_counter() - started
        analysis.row(_name(parts), "chain", certified(least.value, best), "; ".join(tried), spent)
        return least


def _name(parts: list[Part]) -> str:
    ends = [next((s.name for s in reversed(p.steps) if s.name), "input") for p in parts]
    return f"{ends[0]} ... {ends[-1]}" if len(parts) > 1 else ends[0]


def _multiplications(step: Step) -> float:
    """Of a map applied to one tensor."""
    size = math.prod(step.shape)
    match step.map:
        case Matrix(weight=weight):
            return len(weight) * size
        case Filter(kernel=kernel, geometry=geometry):
            return kernel.numel() * math.prod(geometry.output_size)
        case Known(terms=terms):
            return size * (terms or size)
    return size


def _cost(parts: list[Part]) -> float:
    """Multiplications of the matrices, and of bounds by norms of the products of neighbours."""
    total = sum(part.cost for part in parts)
    for k, last in enumerate(parts):
        rows, inner = last.size
        for j, first in enumerate(parts[: k + 1]):
            columns = first.size[1]
            short, long = sorted((rows, columns))
            total += short * short * (long + 4 * short) + (rows * inner * columns if j < k else 0)
    return total


def parts_of(x: Expression) -> list[Part]:
    """The longest chain that ends in ``x``, first part first; none is turned into a matrix yet."""
    parts: list[Part] = []
    expression = x
    while len(expression.terms) == 1:
        term = expression.terms[0]
        base, size = term.base, (math.prod(expression.shape), math.prod(term.base.shape))
        functions = all(not isinstance(step.map, Known) or step.map.apply for step in term.steps)
        if not (functions and 0 < math.prod(size) <= _LARGEST_MATRIX):
            break
        parts.insert(0, Part(base, term.steps, size))
        if base.argument is None or base.slopes is None or base.slopes.largest == math.inf:
            break
        expression = base.argument
    return parts


def segment_of(parts: list[Part]) -> Segment:
    """The chain of the parts."""
    weights, deviations = zip(*map(_as_matrix, parts), strict=True)
    slopes = [(part.base.slopes.low, part.base.slopes.high) for part in parts[1:] if part.base.slopes]
    return Segment(parts[0].base, Chain(weights, tuple(slopes)), deviations)


def _as_matrix(part: Part) -> tuple[Tensor, float]:
    """The matrix of a part and its deviation."""
    shape = part.base.shape
    if part.cost == 0:
        (step,) = part.steps
        assert isinstance(step.map, Matrix)
        return step.map.weight, step.map.deviation
    matrix = _matrix(part.steps, shape, moduli=False)
    return matrix, _deviation(part.steps, shape, matrix)


def _matrix(steps: tuple[Step, ...], shape: tuple[int, ...], *, moduli: bool) -> Tensor:
    """The steps applied to all unit vectors: (out, in). With ``moduli`` those of all weights."""
    maps = [_with_moduli(step.map) if moduli else step.map for step in steps]
    columns = math.prod(shape)
    count = max(1, _AT_ONCE // max([columns, *(math.prod(step.shape) for step in steps)]))
    matrix: Tensor | None = None
    for start in range(0, columns, count):
        batch = torch.zeros(min(count, columns - start), columns, dtype=torch.float64)
        batch.diagonal(start).fill_(1)
        batch = batch.view(-1, *shape)
        for map_ in maps:
            image = apply(map_, batch)
            assert image is not None  # parts_of takes maps that are known as functions only
            batch = image
        rows = batch.reshape(len(batch), -1)
        if matrix is None:
            matrix = rows.new_empty(rows.shape[1], columns)
        matrix[:, start : start + count] = rows.T  # a copy, so that no image stays in memory
    assert matrix is not None
    return matrix


def _with_moduli(map_: LinearMap) -> LinearMap:
    match map_:
        case Scaling(factors=factors):
            return Scaling(factors.abs())
        case Matrix(weight=weight, axis=axis):
            return Matrix(weight.abs(), axis=axis)
        case Filter(kernel=kernel):
            return Filter(kernel.abs(), map_.geometry, map_.transposed)
        case Known(moduli=moduli) if moduli is not None:
            return replace(map_, apply=moduli)
    return map_


def _deviation(steps: tuple[Step, ...], shape: tuple[int, ...], matrix: Tensor) -> float:
    """Bound of the spectral norm of what the matrix differs by from the product that is meant.

    Rounding in the evaluation is at most gamma_k times the product of the moduli of the maps (all
    with non-negative weights besides those), k the number of operations; a single map of a unit
    vector does not round, unless padding copies entries. Deviations of the maps add to it.
    """
    rounding = 0.0
    weights = [step for step in steps if not isinstance(step.map, Selection)]
    if len(weights) > 1 or any(map(_rounds, weights)):
        absolute = _matrix(steps, shape, moduli=True)
        assert absolute is not None  # the same steps as before
        terms = sum(_terms(step) for step in weights)
        size = sqrt_up(squared_frobenius_upper(absolute))
        rounding = product_up([2 * gamma(terms), size])
    norms = [step.map.norm(2).value for step in steps] if any(_own(s) for s in steps) else []
    inherited = 0.0
    for index, step in enumerate(steps):
        if _own(step):
            others = [n for j, n in enumerate(norms) if j != index]
            # norms include the deviations, so products of several deviations are covered
            inherited = sum_up([inherited, product_up([_own(step), *others])])
    return sum_up([rounding, inherited])


def _rounds(step: Step) -> bool:
    """Whether the image of a unit vector is rounded, or may be."""
    if isinstance(step.map, Filter):
        return step.map.geometry.padding_mode != "zeros"
    return not isinstance(step.map, Scaling | Matrix)


def _own(step: Step) -> float:
    if isinstance(step.map, Filter):
        return step.map.operator_deviation
    return getattr(step.map, "deviation", 0.0)


def _terms(step: Step) -> int:
    if isinstance(step.map, Matrix):
        return step.map.weight.shape[1] + 2
    if isinstance(step.map, Filter):
        return step.map.kernel.numel() + 2
    return math.prod(step.shape) + 2


def _perturbation(segment: Segment) -> Extended:
    """What the largest product can change by when every weight changes by its deviation."""
    if not any(segment.deviations):
        return Extended.of(0.0)
    exact, larger = Extended.of(1.0), Extended.of(0.0)
    for norm, deviation in zip(segment.chain.norms, segment.deviations, strict=True):
        # the product of (norm + deviation) minus the product of norms, term by term
        larger = larger * Extended.of(sum_up([norm, deviation])) + exact * Extended.of(deviation)
        exact = exact * Extended.of(norm)
    for steepest in segment.chain.steepest:
        larger = larger * Extended.of(steepest)
    return larger
