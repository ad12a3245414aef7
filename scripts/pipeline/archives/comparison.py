"""Which numbers of two runs differ, by how much, and which verdicts.

A number that is measured with an interval differs by so many half-widths of it: less than 1 is less than
chance may do.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from pipeline.archives.sides import Side

TIMES = re.compile(r"(.*_)?(s|seconds)")
"""Names of what is measured by a clock, and never comes out the same."""

_ROWS = ("experiment", "variant", "noise", "width", "seed", "epoch", "points")
"""Columns by which rows of tables of trainings are known."""

_FOUND = ("stop_reason", "epochs")
"""Columns without fractions that are found, and by which no row is known."""

_ESTIMATES = ("estimate", "value", "slope", "share", "place")
"""Under which facts have a number whose interval is from ``low`` to ``high``."""

_ENDS = ("low", "high", "wider", "interval")


class Difference(NamedTuple):
    """A number or text that is not the same.

    Of a column of a table these are the ``rows`` that differ, with the largest differences, and the
    values of the row that ``place`` names. ``end`` is that of an interval, which moves with its number.
    """

    of: str
    place: str
    one: Any
    other: Any
    absolute: float | None = None
    relative: float | None = None
    intervals: float | None = None
    rows: int = 1
    end: bool = False

    @property
    def weight(self) -> tuple[bool, float, float]:
        """By which texts come first, then what is far apart."""
        return self.relative is None, self.intervals or 0.0, self.relative or 0.0


class Compared(NamedTuple):
    """What two runs have in common, and what not; ``alone`` is what is in one of them only."""

    settings: list[Difference]
    verdicts: list[Difference]
    facts: list[Difference]
    tables: list[Difference]
    alone: list[tuple[str, str]]  # A or B, and what
    numbers: int
    times: int

    @property
    def same(self) -> bool:
        """Whether nothing differs; settings are what may have made a difference, and are none."""
        return not (self.verdicts or self.facts or self.tables or self.alone)


class _Comparer:
    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.alone: list[tuple[str, str]] = []
        self.numbers = self.times = 0

    def shared(self, one: Mapping[str, Any], other: Mapping[str, Any], what: str) -> list[str]:
        """The keys of both, in order; the others are noted."""
        for name, own, than in (("A", one, other), ("B", other, one)):
            self.alone += [(name, what.format(key)) for key in own if key not in than]
        return [key for key in one if key in other]

    def facts(self, of: str, one: Any, other: Any) -> Iterator[Difference]:
        """Differences of two trees of JSON."""
        yield from self._nodes(of, (), one, other, None)

    def _nodes(
        self, of: str, place: tuple[str, ...], one: Any, other: Any, width: float | None
    ) -> Iterator[Difference]:
        if place and TIMES.fullmatch(place[-1]):
            self.times += 1
        elif isinstance(one, dict) and isinstance(other, dict):
            start = "".join(f"{key}." for key in place)
            for key in self.shared(one, other, f"{of}: {start}{{}}"):
                widths = [w for w in (_half_width(one, key), _half_width(other, key)) if w]
                yield from self._nodes(
                    of, (*place, key), one[key], other[key], max(widths, default=None)
                )
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for number, (first, second) in enumerate(zip(one, other, strict=True)):
                yield from self._nodes(of, (*place, str(number)), first, second, None)
        else:
            self.numbers += 1
            end = any(part in _ENDS or part.endswith("_interval") for part in place)
            yield from self._leaf(of, ".".join(place), one, other, width, end=end)

    def _leaf(
        self, of: str, place: str, one: Any, other: Any, width: float | None = None, *, end: bool = False
    ) -> Iterator[Difference]:
        if not (_is_number(one) and _is_number(other)):
            if one != other:
                yield Difference(of, place, one, other, end=end)
            return
        absolute, relative = _distance(float(one), float(other))
        if relative > self.tolerance:
            intervals = absolute / width if width else None
            yield Difference(of, place, one, other, absolute, relative, intervals, end=end)

    def table(self, of: str, one: pd.DataFrame, other: pd.DataFrame) -> Iterator[Difference]:
        """Differences by column; rows are matched by what they are of."""
        columns = self.shared(one, other, f"{of}: column {{}}")
        keys = _keys(one, other, columns)
        first, second = _indexed(one, keys), _indexed(other, keys)
        both = first.index.intersection(second.index, sort=False)
        for name, own in (("A", first), ("B", second)):
            lone = own.index.difference(both, sort=False)
            if len(lone):
                row, more = _row(keys, lone[0]), f" and {len(lone) - 1} more" if len(lone) > 1 else ""
                self.alone.append((name, f"{of}: the row of {row}{more}"))
        for column in columns:
            if TIMES.fullmatch(column):
                self.times += len(both)
            elif column not in keys:
                self.numbers += len(both)
                pair = pd.DataFrame({"one": first.loc[both, column], "other": second.loc[both, column]})
                yield from self._column(of, column, keys, pair)

    def _column(self, of: str, column: str, keys: list[str], pair: pd.DataFrame) -> Iterator[Difference]:
        differs = pair[~((pair["one"] == pair["other"]) | (pair["one"].isna() & pair["other"].isna()))]
        found = [
            found
            for row, one, other in differs.itertuples(name=None)
            for found in self._leaf(of, f"{column} of {_row(keys, row)}", one, other)
        ]
        if found:
            largest = max(found, key=lambda one: one.weight)
            absolute = max((one.absolute for one in found if one.absolute is not None), default=None)
            yield largest._replace(absolute=absolute, rows=len(found))

    def verdicts(self, of: str, one: pd.DataFrame, other: pd.DataFrame) -> Iterator[Difference]:
        """Differences of verdicts and of the numbers that they follow from."""
        first, second = (t.set_index("claim").to_dict("index") for t in (one, other))
        for name in self.shared(first, second, f"{of}: claim {{}}"):
            own, their = first[name], second[name]
            self.numbers += 2
            yield from self._leaf(of, f"verdict on {name}", own["verdict"], their["verdict"])
            widths = [w for w in (_half_width(own, "estimate"), _half_width(their, "estimate")) if w]
            yield from self._leaf(
                of, f"number of {name}", own["estimate"], their["estimate"], max(widths, default=None)
            )


def compare(one: Side, other: Side, tolerance: float = 0.0) -> Compared:
    """What differs by more than a relative ``tolerance``. Raises :class:`CommandError`."""
    by = _Comparer(tolerance)
    facts, their_facts = one.facts(), other.facts()
    tables, their_tables = one.tables(), other.tables()
    verdicts, their_verdicts = one.verdicts(), other.verdicts()
    settings, their_settings = one.settings(), other.settings()
    found_verdicts = [
        found
        for name in by.shared(verdicts, their_verdicts, "the table {}")
        for found in by.verdicts(name, verdicts[name], their_verdicts[name])
    ]
    found_facts = [
        found
        for name in by.shared(facts, their_facts, "the facts of {}")
        for found in by.facts(f"facts of {name}", facts[name], their_facts[name])
    ]
    found_tables = [
        found
        for name in by.shared(tables, their_tables, "the table {}")
        for found in by.table(f"table {name}", tables[name], their_tables[name])
    ]
    numbers, alone, times = by.numbers, list(by.alone), by.times
    found_settings = [
        found
        for name in settings
        if name in their_settings
        for found in _Comparer(0.0).facts(name, settings[name], their_settings[name])
    ]
    return Compared(found_settings, found_verdicts, found_facts, found_tables, alone, numbers, times)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distance(one: float, other: float) -> tuple[float, float]:
    """Absolute and relative; none between two numbers that are both not there, or both without end."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0, 0.0
    absolute = abs(one - other)
    if not math.isfinite(absolute):
        return math.inf, math.inf
    return absolute, absolute / max(abs(one), abs(other))


def _half_width(facts: Mapping[str, Any], key: str) -> float | None:
    """Of the interval of a number, where it has one."""
    ends: Any = None
    if key in _ESTIMATES:
        ends = facts.get("interval") or [facts.get("low"), facts.get("high")]
    elif f"{key}_interval" in facts:
        ends = facts[f"{key}_interval"]
    if not isinstance(ends, list) or len(ends) != 2 or not all(map(_is_number, ends)):
        return None
    width = (ends[1] - ends[0]) / 2
    return width if width > 0 and math.isfinite(width) else None


def _keys(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> list[str]:
    """Columns by which a row is known in both tables; none where rows are known by their number."""
    possible = [name for name in columns if name not in _FOUND and not TIMES.fullmatch(name)]
    whole = [n for n in possible if not any(pd.api.types.is_float_dtype(t[n]) for t in (one, other))]
    named = [name for name in _ROWS if name in possible]
    prefixes = [those[:end] for those in (whole, possible) for end in range(1, len(those) + 1)]
    for keys in [named, *prefixes]:
        if keys and not one.duplicated(keys).any() and not other.duplicated(keys).any():
            matched = len(one[keys].merge(other[keys], on=keys))
            if 2 * matched >= min(len(one), len(other)) or len(one) != len(other):
                return keys
    return []


def _indexed(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    if not keys:
        return table
    return table.set_index(keys, drop=False)


def _row(keys: list[str], row: Any) -> str:
    """A row in words."""
    if not keys:
        return f"line {row + 2}"
    values = row if isinstance(row, tuple) else (row,)
    return ", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
