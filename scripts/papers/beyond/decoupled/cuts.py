"""One row per net from a table over epochs: where nets of all widths have something in common."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.figures.room import Context, Tables
from pipeline.figures.width import prepared

BOUNDS = ("c_lower", "c_upper")
MEASURED = (*BOUNDS, "test_loss")
SIZES = ("logit_norm", "margin")

_RUN = ["width", "seed"]


class Sweep(NamedTuple):
    """What is compared: kept checkpoints, nets at the stop, sizes of outputs, and where to look."""

    data: pd.DataFrame
    stop: pd.DataFrame
    sizes: pd.DataFrame
    epochs: list[int]
    threshold: float

    @classmethod
    def of(cls, tables: Tables, context: Context) -> "Sweep":
        """From the tables of the room."""
        settings = context["settings"]
        updates = settings["equal_updates"]
        return cls(
            finite_rows(tables["equal_updates_epochs"]),
            prepared(tables["double_descent"]),
            tables["decoupled"],
            epochs_of(settings["decoupled"]["shares"], updates["training"]["max_epochs"]),
            updates["threshold_width"],
        )


def finite_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The kept checkpoints without infinite or missing numbers, by run and in the order of epochs."""
    data = prepared(table)
    finite = np.isfinite(data[[*MEASURED, "train_loss", "train_error"]]).all(axis=1)
    return data[finite].sort_values([*_RUN, "epoch"]).reset_index(drop=True)


def epochs_of(shares: Iterable[float], last: int) -> list[int]:
    """Shares of all epochs, as epochs."""
    return [round(share * last) for share in shares]


def at_epoch(data: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """Each net after as many epochs, and so as many updates."""
    return data[data["epoch"] == epoch]


def at_error(data: pd.DataFrame, error: float) -> pd.DataFrame:
    """Each net at its first kept checkpoint with at most this training error, if it has one."""
    return data[data["train_error"] <= error].drop_duplicates(_RUN)


def at_loss(data: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Each net where its training loss first comes down to ``loss``, if it does.

    Between the kept checkpoints around that, each quantity is interpolated linearly in its logarithm
    over that of the training loss.
    """
    after = data[data["train_loss"] <= loss].drop_duplicates(_RUN)
    before = data.loc[np.maximum(after.index - 1, 0)]
    first = (before[_RUN].to_numpy() != after[_RUN].to_numpy()).any(axis=1) | (after.index == 0)
    start, end = before["train_loss"].to_numpy(), after["train_loss"].to_numpy()
    part = np.ones(len(after))
    np.divide(np.log(start / loss), np.log(start / end), out=part, where=~first)
    between = {
        name: before[name].to_numpy() ** (1 - part) * after[name].to_numpy() ** part for name in MEASURED
    }
    return after.assign(**between, train_loss=loss)


def reached_by_all(found: pd.DataFrame, data: pd.DataFrame) -> pd.DataFrame:
    """The rows of the widths from the least on from which on every seed is there."""
    counts = found.groupby("width").size().reindex(sorted(data["width"].unique()), fill_value=0)
    all_there = (counts == data["seed"].nunique())[::-1].cummin()[::-1]
    return found[found["width"].isin(all_there.index[all_there])]


def reached_by_half(found: pd.DataFrame, data: pd.DataFrame) -> pd.DataFrame:
    """The rows of the widths at which at least half of the seeds are there."""
    seeds = data["seed"].nunique()
    return found[found.groupby("width")["seed"].transform("size") >= seeds / 2]


def over_sizes(rows: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Nets at one epoch with the sizes of their outputs, and the bounds over these."""
    keys = [*_RUN, "epoch"]
    found = rows.merge(sizes[[*keys, *SIZES]], on=keys)
    ratios = {f"{bound}_over_{size}": found[bound] / found[size] for bound in BOUNDS for size in SIZES}
    return found.assign(**ratios)
