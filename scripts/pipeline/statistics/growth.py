"""Rows of tables along training, and how the bounds in them grow: along it, or with other numbers."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pipeline.statistics.curves import log_log_slope_over_seeds
from pipeline.statistics.intervals import Floats

BOUNDS = ("c_upper", "c_lower", "c_avg")

Fit = dict[str, float]
"""A least squares line in logarithms: a :class:`~pipeline.statistics.intervals.Slope` as JSON, and the
means ``mean_log_x`` and ``mean_log_y`` of what it is fitted to, through which it goes."""


def training_rows(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Rows of the training points with finite bounds, with the upper bound itself.

    ``where`` has values of columns: ``width=256``.
    """
    data = table[table["points"] == "train"]
    for column, value in where.items():
        data = data[data[column] == value]
    data = data[np.isfinite(data["log10_c_upper"])]
    return data.assign(c_upper=10 ** data["log10_c_upper"])


def numbers_of(variants: "pd.Series[str]") -> "pd.Series[int]":
    """What the names of variants end with: 3 for ``layers~3``."""
    return variants.astype(str).str.extract(r"~(\d+)$", expand=False).astype(int)


def shared_epochs(data: pd.DataFrame, x: str = "epoch") -> pd.DataFrame:
    """Rows at the values of ``x`` that all seeds have, so that each mean is over the same nets."""
    return data[data.groupby(x)["seed"].transform("nunique") == data["seed"].nunique()]


def last_rows(data: pd.DataFrame) -> pd.DataFrame:
    """The row of each seed at which its training stopped."""
    return data.loc[data.groupby("seed")["epoch"].idxmax()]


def last_of_all(data: pd.DataFrame, group: str) -> pd.DataFrame:
    """Rows of the last epoch that every seed of every ``group`` has.

    Raises ``ValueError`` where there is none, or only one group.
    """
    members = data[[group, "seed"]].drop_duplicates()
    epochs = data[[group, "seed", "epoch"]].drop_duplicates()["epoch"].value_counts()
    shared = epochs.index[epochs == len(members)]
    if members[group].nunique() < 2 or len(shared) == 0:
        raise ValueError(f"no epoch that two values of {group} share")
    return data[data["epoch"] == max(shared)]


def last_tenfold(data: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last tenfold of the epochs that all seeds have.

    Raises ``ValueError`` where they have none but initialisation in common.
    """
    shared = shared_epochs(data[data["epoch"] > 0])
    if shared.empty:
        raise ValueError("the seeds share no epoch")
    return shared[shared["epoch"] >= shared["epoch"].max() / 10]


def warmup_epochs(training: Mapping[str, Any], points: int) -> float:
    """Epochs until the learning rate is largest."""
    updates = training["schedule"].get("warmup_updates", 0)
    return float(updates / math.ceil(points / training["batch_size"]))


def stable_from(
    scale: str, training: Mapping[str, Any], data: pd.DataFrame, printed: float | None
) -> float:
    """First epoch of the stable phase.

    At paper scale it is the one that the paper has ``printed``, if any. Elsewhere it is the end of the
    warm-up, where also the paper's begins for cross-entropy.
    """
    if scale == "paper" and printed is not None:
        return printed
    points = data["number_of_points"]
    return warmup_epochs(training, int(points.iloc[0])) if len(points) else math.nan


def stable_epochs(data: pd.DataFrame, start: float) -> pd.DataFrame:
    """Rows of the epochs from ``start`` on that all seeds have; initialisation is never one."""
    return shared_epochs(data[data["epoch"] >= max(start, 1)])


def slopes(data: pd.DataFrame, start: float) -> dict[str, Fit]:
    """Line through the logs of each bound's mean from epoch ``start`` on, seeds resampled as a whole.

    Empty where fewer than three epochs are that late.
    """
    late = stable_epochs(data, start)
    if late["epoch"].nunique() < 3:
        return {}
    return {name: _fit(late, "epoch", name, paired=True) for name in BOUNDS}


def slopes_along(data: pd.DataFrame, x: str, first: float = 0) -> dict[str, Fit]:
    """The same along ``x`` from ``first`` on, with the nets resampled at each x.

    Empty where fewer than two values of ``x`` are left.
    """
    late = data[data[x] >= first]
    if late[x].nunique() < 2:
        return {}
    return {name: _fit(late, x, name, paired=False) for name in BOUNDS}


def _fit(rows: pd.DataFrame, x: str, name: str, *, paired: bool) -> Fit:
    slope = log_log_slope_over_seeds(rows, x, name, paired=paired)
    means = np.exp(np.log(rows.set_index(x)[name]).groupby(level=0).mean())
    log_x, log_y = np.log(means.index.to_numpy(float)), np.log(means.to_numpy())
    return asdict(slope) | {"mean_log_x": float(log_x.mean()), "mean_log_y": float(log_y.mean())}


def fitted(fit: Mapping[str, float], x: ArrayLike) -> Floats:
    """Heights of a fitted line."""
    from_mean = np.log(np.asarray(x, float)) - fit["mean_log_x"]
    return np.exp(fit["mean_log_y"] + fit["slope"] * from_mean)
