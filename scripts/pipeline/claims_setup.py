"""Claims of Khromov & Singh (ICLR 2024) about penalties, depth, sample size; and sources of seeds.

The docstring of each test is its rule.
"""

import numpy as np
import pandas as pd

from pipeline.claims.findings import (
    Finding,
    Tables,
    UntestedError,
    attempt,
    by_seed,
    combine,
    judge,
    paired,
    readable,
    select,
)
from pipeline.claims_training import BOUNDS
from pipeline.statistics.curves import log_log_slope_over_seeds
from pipeline.statistics.intervals import Interval, bootstrap_interval, ratio_interval


def penalty_helps(tables: Tables) -> Finding:
    """Of the penalties on C_lower the one with the least mean test loss, over no penalty, ratio of the
    means over seeds. The test loss holds below 1; C_upper holds in [0.9, 1.1]. That the penalty is
    chosen by the test loss favours the first part."""
    rows = select(tables, "regularisation", points="train").dropna(subset=["c_lower"])
    plain = rows[rows["variant"] == "penalty~0"]
    losses = rows[rows["variant"] != "penalty~0"].groupby("variant")["test_loss"].mean()
    if plain.empty or losses.empty:
        raise UntestedError("nets without a penalty, or with one, are missing")
    best = rows[rows["variant"] == losses.idxmin()]

    def part(column: str, least: float, most: float) -> Finding:
        values = paired(by_seed(best, column), by_seed(plain, column))
        return judge(ratio_interval(*values, paired=True), least, most)

    name = f"strength {int(losses.idxmin().removeprefix('penalty~')) / 1e6:g}"
    return combine(
        {
            f"test loss, {name}": attempt(part, "test_loss", 0.0, 1.0),
            f"C_upper, {name}": attempt(part, "c_upper", 0.9, 1.1),
        }
    )


def grows_with_layers(tables: Tables) -> Finding:
    """Slope of the log of each bound on the log of the number of hidden layers, from 2 on. Trained: a
    part holds if its interval lies above 1. At initialisation: below 0 for C_lower and C_avg, in
    [0, 1] for C_upper."""
    parts = {}
    ends = select(tables, "depth", points="train")
    starts = select(tables, "depth_epochs", points="train", epoch=0)
    for bound in BOUNDS:
        parts[f"{readable(bound)}, trained"] = attempt(_depth_slope, ends, bound, 1, np.inf)
    for bound in BOUNDS:
        least, most = (0, 1) if bound == "c_upper" else (-np.inf, 0)
        parts[f"{readable(bound)}, at initialisation"] = attempt(
            _depth_slope, starts, bound, least, most
        )
    return combine(parts)


def sublinear_in_samples(tables: Tables) -> Finding:
    """Slope of the log of each bound on the log of the number of training points. A part holds if its
    interval lies in [0, 1]."""
    rows = select(tables, "sample_size", points="train")
    rows = rows.assign(points_used=_numbers_of(rows["variant"]))
    parts = {}
    for bound in BOUNDS:
        slope = log_log_slope_over_seeds(rows.dropna(subset=[bound]), "points_used", bound)
        found = Interval(slope.slope, slope.low, slope.high)
        parts[readable(bound)] = attempt(judge, found, 0, 1)
    return combine(parts)


def dropout_and_decay(tables: Tables) -> Finding:
    """Not tested: needs ResNet-20 trained on CIFAR-10 with dropout and weight decay."""
    raise UntestedError("needs ResNet-20 trained on CIFAR-10, with dropout and weight decay, not here")


def order_matters_less(tables: Tables) -> Finding:
    """Standard deviation of log C_lower over batch orders at one initialisation, over that over
    initialisations at one batch order, each the root of the mean variance; by width. A part holds if
    its interval, over initialisations, lies below 1."""
    rows = select(tables, "seed_sources", points="train").dropna(subset=["c_lower"])
    parts = {
        f"width {width}": attempt(_order_against_start, one) for width, one in rows.groupby("width")
    }
    return combine(parts)


def _depth_slope(rows: pd.DataFrame, bound: str, least: float, most: float) -> Finding:
    rows = rows.assign(layers=_numbers_of(rows["variant"])).dropna(subset=[bound])
    slope = log_log_slope_over_seeds(rows[rows["layers"] >= 2], "layers", bound)
    return judge(Interval(slope.slope, slope.low, slope.high), least, most)


def _numbers_of(variants: "pd.Series[str]") -> "pd.Series[int]":
    return variants.str.extract(r"~(\d+)$", expand=False).astype(int)


def _order_against_start(rows: pd.DataFrame) -> Finding:
    logs = np.log(rows.pivot(index="seed", columns="variant", values="c_lower"))
    if min(logs.shape) < 2:
        raise UntestedError("fewer than two initialisations or batch orders")
    by_start, between = logs.var(axis=1), float(logs.var(axis=0).mean())
    found = bootstrap_interval(by_start / between)
    return judge(Interval(*np.sqrt([found.estimate, found.low, found.high])), most=1)
