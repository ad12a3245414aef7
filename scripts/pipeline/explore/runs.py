"""Tables of runs as a page shows them: which columns tell rows apart, and means over seeds.

Numbers are those of the tables, in as many digits as a page needs; means have the t intervals of
:func:`pipeline.statistics.intervals.mean_interval`.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from pipeline.statistics.intervals import mean_interval

MOST_ROWS = 12_000
"""Of a table; longer ones, of single points, are left where they are."""

REPLICATES = ("seed", "draw", "training", "torch_seed")
"""Columns that number what a mean is over."""

DIGITS = 7
"""Significant digits, about those of the float32 that nets are computed in."""

_LOG = "log10_"


def as_page_table(table: pd.DataFrame) -> dict[str, Any] | None:
    """Columns, keys, the replicate, the quantities, and their means; None for a table that is too long.

    ``keys`` are the columns that tell rows apart, without the replicate and those with one value alone.
    """
    if len(table) > MOST_ROWS:
        return None
    data = _with_powers(table)
    told = _telling(data)
    replicate = next((name for name in told if name in REPLICATES), "")
    keys = [name for name in told if name != replicate and data[name].nunique(dropna=False) > 1]
    numbers = data.select_dtypes("number").columns
    quantities = [name for name in numbers if name not in told and data[name].nunique() > 1]
    kept = [*told, *quantities, *(name for name in ("stop_reason", "kind") if name in data)]
    return {
        "columns": {name: _values(data[name]) for name in dict.fromkeys(kept)},
        "keys": keys,
        "replicate": replicate,
        "quantities": quantities,
        "means": _means(data, keys, quantities) if replicate else None,
    }


def _with_powers(table: pd.DataFrame) -> pd.DataFrame:
    """With ``c_upper`` beside ``log10_c_upper``, as figures draw it."""
    logs = [name for name in table if str(name).startswith(_LOG)]
    with np.errstate(over="ignore"):
        return table.assign(**{str(name).removeprefix(_LOG): 10 ** table[name] for name in logs})


def _telling(data: pd.DataFrame) -> list[str]:
    """The first columns from the left that together tell all rows apart."""
    told: list[str] = []
    groups = 1
    for name in data:
        if groups == len(data):
            break
        now = data.groupby([*told, name], dropna=False).ngroups
        if now > groups or name in REPLICATES:
            told.append(str(name))
            groups = now
    return told


def _means(data: pd.DataFrame, keys: list[str], quantities: list[str]) -> dict[str, Any]:
    """A row per value of the keys: mean, ends and number of the finite values of each quantity."""
    groups = data.groupby(keys, dropna=False, sort=False) if keys else [((), data)]
    rows: list[dict[str, Any]] = []
    for values, part in groups:
        row: dict[str, Any] = dict(zip(keys, values, strict=True))
        for name in quantities:
            row[name] = _mean(part[name].to_numpy(float))
        rows.append(row)
    frame = pd.DataFrame(rows)
    return {
        "columns": {name: _values(frame[name]) for name in keys},
        "quantities": {name: frame[name].tolist() for name in quantities},
    }


def _mean(values: "np.ndarray[Any, np.dtype[np.float64]]") -> list[float | int | None] | None:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    found = mean_interval(finite)
    return [_rounded(found.estimate), _rounded(found.low), _rounded(found.high), len(finite)]


def _values(column: "pd.Series[Any]") -> list[Any]:
    if pd.api.types.is_bool_dtype(column):
        return ["yes" if value else "no" for value in column]
    if pd.api.types.is_integer_dtype(column):
        return [int(value) for value in column]
    if pd.api.types.is_float_dtype(column):
        return [_rounded(value) for value in column]
    return [None if pd.isna(value) else str(value) for value in column]


def _rounded(value: float) -> float | int | None:
    """None where JSON has no number for it."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short
