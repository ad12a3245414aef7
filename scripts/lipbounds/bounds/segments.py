"""Tighter bounds for the parts of a graph that are chains: matrices and activations in turn.

From a node back to the nearest base with any other way to it, each linear part is held as a matrix
if it is small enough. A bound of the chain times the bound of that base bounds the node.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lipbounds.bounds import chains
from lipbounds.bounds.chain import Chain
from lipbounds.maps import Filter, Known, Matrix, Scaling, Selection, apply
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
class Tightened:
    """The least of some chain bounds, and which one it was."""

    bound: Extended
    method: str


@dataclass(frozen=True)
class Segment:
    """A chain from ``start``; ``deviations`` bound the spectral norms by which its weights differ
    from those that are meant."""

    start: Base
    chain: Chain
    deviations: tuple[float, ...]


def tightened(analysis: Analysis, x: Expression, methods: tuple[str, ...]) -> Tightened | None:
    """The least of the chain bounds ``methods`` of an expression, None where there is no chain."""
    segment = segment_of(x)
    if segment is None:
        return None
    extra = _perturbation(segment)
    best: Tightened | None = None
    for name in methods:
        try:
            norm = chain_bound(name)(segment.chain)
        except ValueError:  # too large for this method
            continue
        if not (norm.kind == "upper" and norm.certified):
            raise ArithmeticError(f"the chain bound {name} is not certified")
        bound = segment.start.bound * (Extended.of(norm.value) + extra)
        if best is None or bound < best.bound:
            best = Tightened(bound, name)
    return best


def segment_of(x: Expression) -> Segment | None:
    """The longest chain that ends in ``x``, of two linear parts or more; None if there is none."""
    weights: list[Tensor] = []
    slopes: list[tuple[float, float]] = []
    deviations: list[float] = []
    expression, start = x, None
    while (part := _linear_part(expression)) is not None:
        base, matrix, deviation = part
        weights.insert(0, matrix)
        deviations.insert(0, deviation)
        start = base
        if base.argument is None or base.slopes is None or base.slopes.largest == math.inf:
            break
        slopes.insert(0, (base.slopes.low, base.slopes.high))
        expression = base.argument
    if len(weights) < 2 or start is None:
        return None
    # an activation that the chain could not be continued through belongs to its start
    return Segment(start, Chain(tuple(weights), tuple(slopes[-len(weights) + 1 :])), tuple(deviations))


def _linear_part(x: Expression) -> tuple[Base, Tensor, float] | None:
    """Base, matrix and deviation of an expression of one term, if small enough."""
    if len(x.terms) != 1:
        return None
    term = x.terms[0]
    size_in, size_out = math.prod(term.base.shape), math.prod(x.shape)
    if size_in * size_out > _LARGEST_MATRIX or not size_in * size_out:
        return None
    steps = term.steps
    if term.base.shape[-1:] == (size_in,) and len(steps) == 1 and isinstance(steps[0].map, Matrix):
        return term.base, steps[0].map.weight, steps[0].map.deviation
    matrix = _matrix(steps, term.base.shape, moduli=False)
    if matrix is None:
        return None
    return term.base, matrix, _deviation(steps, term.base.shape, matrix)


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


__all__ = ["CHAIN_BOUNDS", "Segment", "Tightened", "chain_bound", "segment_of", "tightened"]
