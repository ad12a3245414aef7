"""Say which numbers and verdicts of two archives differ, and by how much; 1 if any do, 0 if none does.

A project's folder can stand in for an archive.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from pipeline.archives.comparison import Compared, Difference, compare
from pipeline.archives.sides import Side, scale_of, side
from pipeline.config.errors import ConfigError
from pipeline.jobs.command import CommandError

SHOWN = 8
"""Differences of a table or of the facts of a figure that are shown; ``--all`` shows all."""


LONGEST = 36
"""Characters of a text that are shown; ``--json`` has it whole."""


def main(arguments: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    one, other = _scales(arguments)
    with side(arguments.one, one) as first, side(arguments.other, other) as second:
        found = compare(first, second, arguments.tolerance)
        if arguments.json:
            print(json.dumps(_content(first, second, found), indent=2, ensure_ascii=False))
        else:
            print("\n".join(_lines(first, second, found, None if arguments.all else SHOWN)))
    return 0 if found.same else 1


def _scales(arguments: argparse.Namespace) -> tuple[str, str]:
    """A folder is compared at the scale asked for, or that of an archive beside it."""
    both = (arguments.one, arguments.other)
    archives = [scale_of(path) for path in both if not path.is_dir()]
    if arguments.scale or archives:
        return (arguments.scale or archives[0],) * 2
    return scale_of(both[0]), scale_of(both[1])


def _lines(one: Side, other: Side, found: Compared, most: int | None) -> list[str]:
    lines = [
        f"{name}: {it.name}, {it.scale} scale, {it.code}" for name, it in (("A", one), ("B", other))
    ]
    parts = [found.settings, found.verdicts, found.facts, found.tables]
    for title, part in zip(("Settings", "Verdicts", "Facts", "Tables"), parts, strict=True):
        if part:
            lines += ["", title]
            for of in dict.fromkeys(one.of for one in part):
                lines += _about(of, [one for one in part if one.of == of], most)
    if found.alone:
        lines += ["", "In one of them only"]
        lines += [f"  {what}, in {name}" for name, what in found.alone[:most]]
        lines += _more(len(found.alone), most)
    return [*lines, "", _summary(found)]


def _about(of: str, differences: list[Difference], most: int | None) -> list[str]:
    shown = [one for one in differences if most is None or not one.end] or differences
    shown = sorted(shown, key=lambda one: one.weight, reverse=True)
    rows: list[tuple[str, ...]] = [("", "A", "B", "absolute", "relative", "intervals")]
    rows += [_row(one) for one in shown[:most]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [f"  {of}", *(_aligned(row, widths) for row in rows), *_more(len(shown), most)]


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    """Texts on the left and numbers on the right."""
    numbers = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([f"    {row[0]:<{widths[0]}}", *numbers]).rstrip()


def _more(count: int, most: int | None) -> list[str]:
    return [f"    ... and {count - most} more; --all shows them"] if most and count > most else []


def _row(one: Difference) -> tuple[str, ...]:
    place = f"{one.place} and of {one.rows - 1} more" if one.rows > 1 else one.place
    relative = "" if one.relative is None else f"{one.relative:.2g}"
    return (
        _cut(place, 2 * LONGEST),
        _value(one.one),
        _value(one.other),
        _value(one.absolute),
        relative,
        _value(one.intervals, 2),
    )


def _value(value: Any, digits: int = 6) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else _cut(str(value), LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _summary(found: Compared) -> str:
    verdicts = sum(1 for one in found.verdicts if one.place.startswith("verdict"))
    differ = sum(one.rows for one in (*found.verdicts, *found.facts, *found.tables))
    times = f"; {found.times:,} times are not compared" if found.times else ""
    if found.same:
        return f"All {found.numbers:,} values are the same{times}."
    return (
        f"{differ:,} of {found.numbers:,} values differ, {verdicts} verdicts among them; "
        f"{len(found.alone)} things are in one only{times}."
    )


def _content(one: Side, other: Side, found: Compared) -> dict[str, Any]:
    """For programs; numbers that are none are null."""
    sides = {name: {"name": it.name, "scale": it.scale} for name, it in (("A", one), ("B", other))}
    lists = {
        name: [_jsonable(one._asdict()) for one in getattr(found, name)]
        for name in ("settings", "verdicts", "facts", "tables")
    }
    alone = [{"in": name, "what": what} for name, what in found.alone]
    return {"same": found.same, **sides, **lists, "alone": alone, "numbers": found.numbers}


def _jsonable(found: dict[str, Any]) -> dict[str, Any]:
    """Types of numpy as those of Python, and no numbers that JSON lacks."""
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in found.items()}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path, metavar="A", help="an archive or a project's folder")
    parser.add_argument("other", type=Path, metavar="B", help="another one")
    parser.add_argument("--scale", help="of folders; default: that of the archive, or of config.yaml")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="largest relative difference that is none"
    )
    parser.add_argument("--all", action="store_true", help="show every difference")
    parser.add_argument("--json", action="store_true", help="write JSON")
    try:
        sys.exit(main(parser.parse_args()))
    except (CommandError, ConfigError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
