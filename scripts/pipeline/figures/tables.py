"""The tables of a room, as its ``measure``, ``draw`` and ``rows`` get them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.jobs.progress import LOG

_OF_NETS = ("c_lower", "c_avg", "c_rms", "log10_c_upper", "parameter_distance", "distance_from_start")


def read_tables(paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Tidy tables by the names of their files, without the bounds of constant nets."""
    return {path.stem: without_constant_nets(pd.read_csv(path), str(path)) for path in paths}


def without_constant_nets(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with empty bounds where C_lower is 0, as where a net diverged, which the log is told.

    All hidden neurons of such a net are dead at all points. A bound of 0 has no logarithm, so that it
    is in no geometric mean, no slope and no ratio.
    """
    if "c_lower" not in table:
        return table
    constant = table["c_lower"] == 0
    if constant.any():
        LOG.warning(
            "%s: %d of %d rows are of nets that are constant near all points, as all of their hidden "
            "neurons are dead; their bounds are left out. Where that is too many, lower learning_rate",
            name,
            constant.sum(),
            len(table),
        )
    return table.assign(**{key: table[key].mask(constant) for key in _OF_NETS if key in table})
