"""Values of nodes as sums of linear images of bases, and how neighbours on the way merge.

A base is the input, or the output of something that is not linear. A batch normalisation merges into
the convolution before it, parallel branches of one base into one map.
"""

from dataclasses import dataclass

from lipbounds.graph import Shape
from lipbounds.maps import LinearMap, Selection, add, compose
from lipbounds.operators.table import Slopes
from lipbounds.rounding import Extended


@dataclass(frozen=True)
class Step:
    """A linear map on the way from a base, with the path and type of its layer and the shape that it
    is applied to. ``kind`` is empty for what is no layer of the model."""

    map: LinearMap
    name: str
    kind: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Base:
    """The input, or the output of something nonlinear; ``bound`` is a Lipschitz constant from the
    input. For an elementwise function ``argument`` and ``slopes`` say what of."""

    bound: Extended
    shape: Shape
    argument: "Expression | None" = None
    slopes: Slopes | None = None


@dataclass(frozen=True)
class Term:
    """The image of a base under linear steps, first step first."""

    base: Base
    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> "Term":
        """With one more step, merged into the last one where the two merge."""
        if not self.steps:
            return Term(self.base, (step,))
        before = self.steps[-1]
        merged = compose(before.map, step.map, step.shape)
        if merged is None:
            return Term(self.base, (*self.steps, step))
        names = " + ".join(name for name in (before.name, step.name) if name)
        kinds = " + ".join(kind for kind in (before.kind, step.kind) if kind)
        return Term(self.base, (*self.steps[:-1], Step(merged, names, kinds, before.shape)))


@dataclass(frozen=True, eq=False)
class Expression:
    """A sum of terms plus a constant."""

    terms: tuple[Term, ...]
    shape: Shape


def merged_sum(ways: list[tuple[Step, ...]], shape: Shape) -> Step | None:
    """Several ways from a base of ``shape`` as one step, None where they do not merge."""
    if len(ways) == 1 or any(len(steps) > 1 for steps in ways):
        return None
    steps = [s[0] if s else Step(Selection(shape), "", "", shape) for s in ways]
    total: LinearMap = steps[0].map
    for step in steps[1:]:
        together = add(total, step.map, shape)
        if together is None:
            return None
        total = together
    return Step(total, " + ".join(step.name or "skip" for step in steps), "merged branches", shape)
