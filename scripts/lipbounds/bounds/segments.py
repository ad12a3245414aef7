"""Tighter bounds for the parts of a graph that are chains: matrices and activations in turn.

From a node back to the nearest base with any other way to it, each linear part is held as a matrix
if it is small enough. A bound of the chain times the bound of that base bounds the node.
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
from lipbounds.bounds.chain import Chain
from lipbounds.maps import Filter, Known, Matrix, Scaling, Selection, apply, certified
from lipbounds.operator_norm import OperatorNorm
from lipbounds.operators.analysis import Analysis
from lipbounds.operators.expressions import Base, Expression, Step
from lipbounds.rounding import Extended, gamma, product_up, sqrt_up, squared_frobenius_upper, sum_up

_SMALL = 64
"""Hidden neurons up to which SeqLip takes milliseconds."""


_IF_SMALL = " if small"

CHAIN_BOUNDS = sorted(path.stem for path in Path(chains.__file__).parent.glob("[a-z]*.py"))
"""Certified bounds of a chain, one file each in ``chains/``."""


def chain_bound(name: str) -> Callable[[Chain], OperatorNorm]:
    """The bound of a file in ``chains/``; with ``NAME if small`` for few hidden neurons only."""
    module = importlib.import_module(f"{chains.__name__}.{name.removesuffix(_IF_SMALL)}")
    bound: Callable[[Chain], OperatorNorm] = module.bound
    return partial(_if_small, bound) if name.endswith(_IF_SMALL) else bound


def _if_small(bound: Callable[[Chain], OperatorNorm], chain: Chain) -> OperatorNorm:
    if sum(len(weight) for weight in chain.weights[:-1]) > _SMALL:
        raise ValueError(f"more than {_SMALL} hidden neurons")
    return bound(chain)


_LARGEST_MATRIX = 1 << 24
"""Entries of the largest linear part that is turned into a matrix (128 MiB)."""


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
        started = time.perf_counter()
        parts = parts_of(x)
        if len(parts) < 2:
            return None
        costs = [_cost(parts[start:]) for start in range(len(parts) - 1)]
        start = next((start for start, cost in enumerate(costs) if cost <= self.left), None)
        name = f"{_name(parts[start or 0])} ... {_name(parts[-1])}"
        if start is None:
            how = f"given up: needs {costs[-1]:.2g} multiplications, {self.left:.2g} are left"
            analysis.row(name, "chain", certified(math.inf, how), how, time.perf_counter() - started)
            return None
        self.left -= costs[start]
        segment = segment_of(parts[start:])
        if segment is None:
            return None
        return self._least(analysis, segment, name, started)

    def _least(self, analysis: Analysis, segment: Segment, name: str, started: float) -> Extended | None:
        extra = _perturbation(segment)
        found: dict[str, Extended] = {}
        tried = []
        for method in self.methods:
            try:
                norm = chain_bound(method)(segment.chain)
            except ValueError as reason:
                tried.append(f"{method} given up: {reason}")
                continue
            if not (norm.kind == "upper" and norm.certified):
                raise ArithmeticError(f"the chain bound {method} is not certified")
            found[method] = Extended.of(norm.value) + extra
            tried.append(f"{method} {norm.value:.6g}")
        if not found:
            analysis.row(
                name, "chain", certified(math.inf, ""), "; ".join(tried), time.perf_counter() - started
            )
            return None
        best = min(found, key=lambda method: found[method].sort_key)
        self.used.append(best)
        spent = time.perf_counter() - started
        analysis.row(name, "chain", certified(found[best].value, best), "; ".join(tried), spent)
        return segment.start.bound * found[best]


def _name(part: Part) -> str:
    return next((step.name for step in reversed(part.steps) if step.name), "input")


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
        size = math.prod(expression.shape), math.prod(term.base.shape)
        if not 0 < math.prod(size) <= _LARGEST_MATRIX:
            break
        parts.insert(0, Part(term.base, term.steps, size))
        base = term.base
        if base.argument is None or base.slopes is None or base.slopes.largest == math.inf:
            break
        expression = base.argument
    return parts


def segment_of(parts: list[Part]) -> Segment | None:
    """The chain of the parts, None where one is not known as a function."""
    weights: list[Tensor] = []
    deviations: list[float] = []
    for part in parts:
        found = _as_matrix(part)
        if found is None:
            return None
        weights.append(found[0])
        deviations.append(found[1])
    slopes = [(part.base.slopes.low, part.base.slopes.high) for part in parts[1:] if part.base.slopes]
    return Segment(parts[0].base, Chain(tuple(weights), tuple(slopes)), tuple(deviations))


def _as_matrix(part: Part) -> tuple[Tensor, float] | None:
    """The matrix of a part and its deviation."""
    shape = part.base.shape
    if part.cost == 0:
        (step,) = part.steps
        assert isinstance(step.map, Matrix)
        return step.map.weight, step.map.deviation
    matrix = _matrix(part.steps, shape, moduli=False)
    return None if matrix is None else (matrix, _deviation(part.steps, shape, matrix))


def _matrix(steps: tuple[Step, ...], shape: tuple[int, ...], *, moduli: bool) -> Tensor | None:
    """The steps applied to all unit vectors: (out, in). With ``moduli`` those of all weights."""
    batch = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    for step in steps:
        map_ = step.map
        if moduli and isinstance(map_, Scaling):
            map_ = Scaling(map_.factors.abs())
        if moduli and isinstance(map_, Matrix):
            map_ = Matrix(map_.weight.abs(), axis=map_.axis)
        if moduli and isinstance(map_, Filter):
            map_ = Filter(map_.kernel.abs(), map_.geometry, map_.transposed)
        if moduli and isinstance(map_, Known) and map_.moduli is not None:
            map_ = replace(map_, apply=map_.moduli)
        result = apply(map_, batch)
        if result is None:
            return None
        batch = result
    return batch.reshape(len(batch), -1).T.contiguous()


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
