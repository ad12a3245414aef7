"""What a claim is, what a test of it returns, and how numbers become a verdict."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.stats import beta, t

if TYPE_CHECKING:  # the study does not depend on how claims on trained nets are judged
    from pipeline.claims.findings import Verdict

VIRMAUX_SCAMAN_2018 = "Virmaux & Scaman 2018"
DELATTRE_2023 = "Delattre et al. 2023"
DELATTRE_2024 = "Delattre et al. 2024"
SEVERAL = "several papers"
THIS_PROJECT = "this project"
"""For statements that no paper makes."""

Kind = Literal["theorem", "empirical"]
"""A mathematical statement about all instances, or one on what is found in most, or on a computer."""


@dataclass(frozen=True)
class Evidence:
    """What a test found: ``estimate`` of ``unit`` in its 95 % interval from ``low`` to ``high``."""

    instances: int
    violations: int
    estimate: float
    low: float
    high: float
    verdict: "Verdict"
    unit: str = "share of violations"


NOT_TESTED = Evidence(0, 0, math.nan, math.nan, math.nan, "not tested")
"""For a test that lacks what it needs."""

Test = Callable[[int, torch.Generator], Evidence]
"""From the number of instances and a source of randomness to evidence; its docstring is the rule."""


FIRST = "2026-11-21"
"""The day of the first rules."""

T_INTERVAL = "2026-11-28: a t interval in place of a bootstrap one; the verdict is the same."


@dataclass(frozen=True)
class Claim:
    """A statement that random instances can speak against, and a figure that shows what it is about.

    ``since`` is the day of the rule, ``changes`` what was changed after its result had been seen.
    """

    name: str
    source: str
    statement: str
    figure: str
    test: Test
    kind: Kind = "theorem"
    since: str = FIRST
    changes: str = ""

    @property
    def rule(self) -> str:
        """How the verdict is reached, in words."""
        return " ".join((self.test.__doc__ or "").split())


def claim(
    name: str,
    source: str,
    statement: str,
    *,
    figure: str,
    kind: Kind = "theorem",
    since: str = FIRST,
    changes: str = "",
) -> Callable[[Test], Claim]:
    """Make a claim of its test; the table is in the order of the names, a letter and a number."""

    def of(test: Test) -> Claim:
        return Claim(name, source, statement, figure, test, kind, since, changes)

    return of


def claims_in(modules: Iterable[ModuleType]) -> list[Claim]:
    """All claims of the modules, by letter and number."""
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Claim)]
    return sorted(found, key=lambda one: (one.name[0], int(one.name[1:])))


def share(violations: int, instances: int) -> tuple[float, float, float]:
    """The share of violations with its exact 95 % interval (Clopper & Pearson 1934)."""
    low = beta.ppf(0.025, violations, instances - violations + 1) if violations else 0.0
    high = beta.ppf(0.975, violations + 1, instances - violations) if violations < instances else 1.0
    return violations / instances, float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean with its 95 % t interval, NaN for one value."""
    data = np.asarray(values, dtype=float)
    if len(data) < 2:
        return float(data.mean()), math.nan, math.nan
    margin = t.ppf(0.975, len(data) - 1) * data.std(ddof=1) / math.sqrt(len(data))
    return float(data.mean()), float(data.mean() - margin), float(data.mean() + margin)


def universal(violated: Sequence[bool]) -> Evidence:
    """A statement about all instances holds if none violates it, and does not hold otherwise."""
    count = sum(violated)
    verdict: Verdict = "does not hold" if count else "holds"
    return Evidence(len(violated), count, *share(count, len(violated)), verdict)


def within(values: Sequence[float], least: float, most: float, unit: str) -> Evidence:
    """A statement on a mean holds if its interval lies in [least, most], does not hold if it lies
    outside, and is undecided if it lies across an end. Instances outside count as violations."""
    mean, low, high = mean_interval(values)
    verdict: Verdict = "undecided"
    if least <= low and high <= most:
        verdict = "holds"
    elif high < least or low > most:
        verdict = "does not hold"
    outside = sum(not least <= value <= most for value in values)
    return Evidence(len(values), outside, mean, low, high, verdict, unit)
