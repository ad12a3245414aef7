"""How often a claim's intervals cover, and how often its rule says "holds" where nothing is there.

The facts of a figure are measured again on simulated tables (:mod:`pipeline.statistics.simulation`), by
the figure's own code, and the claim is judged on them by its own rule. The truth is what comes out of a
table with many seeds: an interval covers that has it inside, and a part would wrongly hold, if its truth
were just outside of a limit, where the interval lies wholly on the other side of the truth. On flat
tables nothing has an effect, and a rule that wants one is wrong whenever it holds.
"""

import gzip
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd

from pipeline.claims.claim import Claim, Facts
from pipeline.claims.findings import Finding
from pipeline.provenance.files import DamagedFileError, write_bytes
from pipeline.statistics.simulation import Simulator

Measure = Callable[[Mapping[str, pd.DataFrame]], Mapping[str, Any]]

LEAST_SHARE = 0.5
"""Of the simulated tables in which a part is tested, for its intervals to count."""

COPIES = 30
"""How many times as many seeds a table has whose numbers are taken to be the truth."""


@dataclass(frozen=True)
class Simulated:
    """Facts of one figure on simulated tables; none where seeds are no part of its tables."""

    truth: Facts
    around: Sequence[Facts]
    flat: Sequence[Facts]


@dataclass(frozen=True)
class Calibration:
    """The least coverage of the parts' intervals, and the largest chance of a false "holds"; or NaN."""

    coverage: float = math.nan
    false_holds: float = math.nan


def simulate(
    measure: Measure, tables: Mapping[str, pd.DataFrame], number: int, *, flat: bool
) -> Simulated:
    """The facts of ``number`` tables around these, and if asked for of as many flat ones."""
    simulators = {name: Simulator(table) for name, table in tables.items()}
    if not any(simulator.has_chance for simulator in simulators.values()):
        return Simulated({}, [], [])

    def drawn(kind: str, place: int, *copies: int) -> Facts:
        generators = {name: np.random.default_rng([place, crc32(name.encode())]) for name in tables}
        return _facts(
            measure,
            {name: getattr(simulators[name], kind)(generators[name], *copies) for name in tables},
        )

    return Simulated(
        drawn("population", number, COPIES),
        [drawn("around", place) for place in range(number)],
        [drawn("flat", place) for place in range(number if flat else 0)],
    )


def _facts(measure: Measure, tables: Mapping[str, pd.DataFrame]) -> Facts:
    """As JSON would have them; without any where a simulated table has nothing to measure."""
    try:
        facts: Facts = json.loads(json.dumps(measure(tables)))
    except ValueError:
        return {}
    return facts


def write_simulated(path: Path, simulated: Simulated) -> None:
    """Equal facts give equal bytes."""
    content = json.dumps(asdict(simulated), separators=(",", ":"))
    write_bytes(path, gzip.compress(content.encode(), compresslevel=3, mtime=0))


def read_simulated(path: Path) -> Simulated:
    """Raises :class:`DamagedFileError` for a file that is not whole."""
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        return Simulated(content["truth"], content["around"], content["flat"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged ({error}); delete it and call again") from None


def calibrate(
    claim: Claim, own: str, facts: Mapping[str, Facts], simulated: Mapping[str, Simulated]
) -> Calibration:
    """The coverage and false verdicts of one claim; ``own`` is the figure in whose room it stands."""
    around = [claim.judged(own, other) for other in _worlds(own, claim, facts, simulated, "around")]
    population = {name: of.truth for name, of in simulated.items() if of.truth}
    truth = _parts(claim.judged(own, {**facts, **population}))
    tested = {name: _of_part(around, name) for name in truth}
    often = [name for name in truth if len(tested[name]) >= LEAST_SHARE * len(around)]
    found = [_calibrated(truth[name], tested[name]) for name in often]
    found = [one for one in found if not math.isnan(one.coverage)]
    if not found:
        return Calibration()
    false_holds = [one.false_holds for one in found if not math.isnan(one.false_holds)]
    if claim.of_a_change:
        flat = [claim.judged(own, other) for other in _worlds(own, claim, facts, simulated, "flat")]
        false_holds += [float(np.mean([one.verdict == "holds" for one in flat]))] if flat else []
    return Calibration(min(one.coverage for one in found), max(false_holds, default=math.nan))


def _worlds(
    own: str, claim: Claim, facts: Mapping[str, Facts], simulated: Mapping[str, Simulated], kind: str
) -> Iterable[Mapping[str, Facts]]:
    needed = {
        name: getattr(simulated[name], kind)
        for name in dict.fromkeys([own, *claim.also])
        if name in simulated and getattr(simulated[name], kind)
    }
    number = min((len(of) for of in needed.values()), default=0)
    return ({**facts, **{name: of[place] for name, of in needed.items()}} for place in range(number))


def _parts(finding: Finding) -> Mapping[str, Finding]:
    return finding.parts or {"": finding}


def _of_part(findings: Iterable[Finding], name: str) -> list[Finding]:
    found = [_parts(finding).get(name) for finding in findings]
    return [one for one in found if one is not None and not math.isnan(one.low)]


def _calibrated(truth: Finding, found: Sequence[Finding]) -> Calibration:
    """Nothing for a part without an interval, or whose number does not change from draw to draw."""
    if math.isnan(truth.low) or len({one.estimate for one in found}) < 2:
        return Calibration()
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
    sides = [
        float(np.mean(wrong))
        for wrong, limit in zip((low > truth.estimate, high < truth.estimate), truth.limits, strict=True)
        if math.isfinite(limit)
    ]
    covered = float(np.mean((low <= truth.estimate) & (truth.estimate <= high)))
    return Calibration(covered, max(sides, default=math.nan))
