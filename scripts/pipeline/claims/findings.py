"""How intervals become findings, and findings on parts of a claim one finding.

A number holds if its interval lies within the limits of the rule, does not hold if it lies outside of
them, and is undecided if it lies across one. The parts of a claim are judged at once by Holm's
procedure (Scandinavian Journal of Statistics 6, 1979): the chance that any part with an interval is
wrongly said to hold, or wrongly not to, is no larger than for one. A claim of several parts holds if
all do, does not hold if none that was tested does, holds in part if at least one does, and is undecided
if none does and one at least is undecided. The number of a claim is that of its weakest part.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.statistics.intervals import AT_ONCE, Interval

Verdict = Literal["holds", "holds in part", "undecided", "does not hold", "not tested"]

Tables = Mapping[str, pd.DataFrame]
"""Tidy tables by the names of their files."""


class UntestedError(Exception):
    """What a claim needs is not there; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """A verdict, the number behind it with its 95 % interval, and what a reader has to know.

    ``margin`` is the distance from the interval to the nearer limit, in half-lengths of the interval
    and negative across it; ``at_once`` is how many parts may be judged at once with this verdict,
    infinite where there is no interval. ``limits`` are those of the rule. ``part`` names the part whose
    number it is, where there are several, and ``parts`` has them all.
    """

    verdict: Verdict
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reason: str = ""
    margin: float = math.inf
    part: str = ""
    at_once: float = math.inf
    limits: tuple[float, float] = (-math.inf, math.inf)
    parts: Mapping[str, "Finding"] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """The estimate with its interval, in three digits."""
        if math.isnan(self.estimate):
            return ""
        interval = "" if math.isnan(self.low) else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.estimate:.3g}{interval}"


def attempt(test: Callable[..., Finding], *arguments: object) -> Finding:
    """What a test finds, or that it could not find anything and why."""
    try:
        return test(*arguments)
    except UntestedError as error:
        return Finding("not tested", reason=str(error))
    except KeyError as error:
        return Finding("not tested", reason=f"a table lacks {error}")
    except ValueError as error:  # of pipeline.statistics, which say what is missing
        return Finding("not tested", reason=str(error))


def measured(test: Callable[..., Interval | float], *arguments: object) -> dict[str, Any]:
    """What a function finds, as JSON: ``estimate`` with its interval from ``low`` to ``high``.

    ``wider`` has the ends for several parts at once. A number without an interval has an ``estimate``
    alone, and what could not be found is ``untested``, with the reason.
    """
    try:
        found = test(*arguments)
    except UntestedError as error:
        return {"untested": str(error)}
    except KeyError as error:
        return {"untested": f"a table lacks {error}"}
    except ValueError as error:  # of pipeline.statistics, which say what is missing
        return {"untested": str(error)}
    if isinstance(found, Interval):
        return found.fact() | {"wider": [list(ends) for ends in found.wider]}
    return {"estimate": float(found)}


def judge_fact(fact: Mapping[str, Any], least: float = -math.inf, most: float = math.inf) -> Finding:
    """The finding on a fact that :func:`measured` has written and a statement wants in [least, most]."""
    if "untested" in fact:
        return Finding("not tested", reason=fact["untested"])
    if "low" in fact:
        return attempt(judge, interval_of(fact), least, most)
    return attempt(judge_exact, fact["estimate"], least, most)


def interval_of(fact: Mapping[str, Any]) -> Interval:
    """The interval of a fact that :func:`measured` has written.

    Raises :class:`UntestedError` if there is none.
    """
    if "untested" in fact:
        raise UntestedError(fact["untested"])
    wider = tuple((float(low), float(high)) for low, high in fact.get("wider", []))
    return Interval(fact["estimate"], fact["low"], fact["high"], wider)


def judge(interval: Interval, least: float = -math.inf, most: float = math.inf) -> Finding:
    """The finding on a number that a statement wants in [least, most]."""
    if math.isnan(interval.estimate):
        raise UntestedError("no number comes out of the tables")
    if math.isnan(interval.low) or math.isnan(interval.high):
        raise UntestedError(f"one seed only ({interval.estimate:.3g}), so that there is no interval")
    verdict = _verdict(interval.low, interval.high, least, most)
    half = max((interval.high - interval.low) / 2, 1e-9 * abs(interval.estimate), 1e-300)
    margin = min(interval.low - least, most - interval.high) / half
    same = [n for n in AT_ONCE if _verdict(*interval.among(n), least, most) == verdict]
    return Finding(
        verdict,
        interval.estimate,
        interval.low,
        interval.high,
        margin=margin,
        at_once=0 if verdict == "undecided" else max(same),
        limits=(least, most),
    )


def judge_between(worse: Finding, better: Finding) -> Finding:
    """The finding on a number that lies between two others, from those on the ends.

    It holds if even the worse end does, does not hold if not even the better one does, and else the
    ends leave it open: that too is one of the parts that are judged at once.
    """
    if worse.verdict in ("holds", "not tested"):
        return worse
    if better.verdict in ("does not hold", "not tested"):
        return better
    return replace(worse, verdict="undecided", at_once=0)


def _verdict(low: float, high: float, least: float, most: float) -> Verdict:
    if least <= low and high <= most:
        return "holds"
    return "does not hold" if high < least or low > most else "undecided"


def judge_exact(value: float, least: float = -math.inf, most: float = math.inf) -> Finding:
    """:func:`judge` for a number that is not an estimate over seeds, and has no interval."""
    if math.isnan(value):
        raise UntestedError("no number comes out of the tables")
    return Finding("holds" if least <= value <= most else "does not hold", value, limits=(least, most))


def combine(parts: Mapping[str, Finding]) -> Finding:
    """One finding for all parts, judged at once, with the number of the weakest one."""
    parts = _at_once(_single(parts))
    tested = {name: part for name, part in parts.items() if part.verdict != "not tested"}
    if not tested:
        reasons = dict.fromkeys(part.reason for part in parts.values())
        return Finding(
            "not tested", reason="; ".join(reasons) or "no rows that can be used", parts=parts
        )
    weakest = min(tested, key=lambda name: (_WEAKEST.index(tested[name].verdict), tested[name].margin))
    return replace(
        tested[weakest],
        verdict=_together([part.verdict for part in parts.values()]),
        reason="; ".join(_in_words(name, part) for name, part in parts.items()),
        part=weakest if len(parts) > 1 else "",
        parts=parts,
    )


_WEAKEST: tuple[Verdict, ...] = ("does not hold", "undecided", "holds in part", "holds")


def _single(parts: Mapping[str, Finding]) -> dict[str, Finding]:
    """The parts of parts in their place."""
    single: dict[str, Finding] = {}
    for name, part in parts.items():
        if len(part.parts) > 1:
            single |= {f"{name}, {inner}": one for inner, one in part.parts.items()}
        else:
            single[name] = part
    return single


def _at_once(parts: Mapping[str, Finding]) -> dict[str, Finding]:
    """Parts whose verdict does not outlast Holm's procedure are undecided.

    The surest of n is to be sure among n, the next among n - 1, and so on up to the first that is not.
    """
    chance = [name for name, part in parts.items() if part.at_once < math.inf]
    surest = sorted(chance, key=lambda name: -parts[name].at_once)
    needed = range(len(surest), 0, -1)
    sure = takewhile(lambda pair: parts[pair[0]].at_once >= pair[1], zip(surest, needed, strict=True))
    open_ = set(surest) - {name for name, _ in sure}
    return {name: _open(part) if name in open_ else part for name, part in parts.items()}


def _open(part: Finding) -> Finding:
    if part.verdict == "undecided":
        return part
    return replace(part, verdict="undecided", at_once=0, reason=f"alone: {part.verdict}")


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    if all(verdict == "holds" for verdict in verdicts):
        return "holds"
    if all(verdict in ("does not hold", "not tested") for verdict in verdicts):
        return "does not hold"
    some = any(verdict in ("holds", "holds in part") for verdict in verdicts)
    return "holds in part" if some else "undecided"


def _in_words(name: str, part: Finding) -> str:
    number = f" {part.number}" if part.number else ""
    why = f" ({part.reason})" if part.reason else ""
    return f"{name}: {part.verdict}{number}{why}"


def select(tables: Tables, table: str, **where: object) -> pd.DataFrame:
    """Rows of a table with these values, and the upper bound itself beside its logarithm.

    Raises :class:`UntestedError` if there are none.
    """
    if table not in tables:
        raise UntestedError(f"the table {table} is not there")
    rows = tables[table]
    if "log10_c_upper" in rows:
        rows = rows.assign(c_upper=10.0 ** rows["log10_c_upper"])
    for column, value in where.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        asked = ", ".join(f"{column} = {value}" for column, value in where.items())
        raise UntestedError(f"the table {table} has no rows" + (f" with {asked}" if asked else ""))
    return rows


def nearest(rows: pd.DataFrame, column: str, value: float) -> pd.DataFrame:
    """The rows whose ``column`` is nearest to ``value``, by ratio."""
    values = rows[column].dropna().unique()
    if len(values) == 0:
        raise UntestedError(f"{column} has no values")
    return rows[rows[column] == min(values, key=lambda v: abs(math.log(v / value)))]


def by_seed(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Values of a column by seed, which must be one each."""
    values = rows.set_index("seed")[column].sort_index()
    if values.index.has_duplicates:
        raise UntestedError(f"several values of {column} for one seed")
    return values


def paired(above: "pd.Series[float]", below: "pd.Series[float]") -> tuple[np.ndarray, np.ndarray]:
    """The values of the seeds that both have."""
    shared = above.index.intersection(below.index)
    if len(shared) == 0:
        raise UntestedError("no seed is in both groups")
    return above[shared].to_numpy(float), below[shared].to_numpy(float)


def readable(column: str) -> str:
    """The name of a quantity as it stands in a report."""
    known = {"c_lower": "C_lower", "c_upper": "C_upper", "c_avg": "C_avg"}
    return known.get(column, column.replace("_", " "))
