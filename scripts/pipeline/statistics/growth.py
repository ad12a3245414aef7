"""Growth of the bounds along training: factors from start to end, and slopes of the stable phase."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.figures.epochs import last_rows, shared_epochs, warmup_epochs
from pipeline.statistics.intervals import Slope, log_log_slope_over_seeds, ratio_interval

BOUNDS = ("c_upper", "c_lower", "c_avg")

PAPER_STABLE_FROM = {"evolution": 2500, "double_descent_mse": 75000}
"""Epochs from which the paper fits its slopes (Table S8)."""

PAPER_SLOPES = {
    "evolution": {"c_upper": (0.59, 0.9955), "c_lower": (0.46, 0.9986), "c_avg": (0.44, 0.9980)},
    "double_descent_mse": {
        "c_upper": (0.80, 0.9982),
        "c_lower": (0.62, 0.9914),
        "c_avg": (0.52, 0.9991),
    },
}
"""Slope and R² (Khromov & Singh, ICLR 2024, Table S8)."""


def stable_from(experiment: str, scale: str, training: dict[str, Any], data: pd.DataFrame) -> float:
    """First epoch of the stable phase.

    At paper scale it is the paper's. Elsewhere it is the end of the warm-up, where also the paper's
    begins for cross-entropy.
    """
    if scale == "paper" and experiment in PAPER_STABLE_FROM:
        return PAPER_STABLE_FROM[experiment]
    return warmup_epochs(training, int(data["number_of_points"].iloc[0]))


def own_ends(data: pd.DataFrame, target: float) -> pd.DataFrame:
    """Of each optimiser and seed the first kept checkpoint at which the gradient norm is ``target``.

    Gradient norms can be as small at initialisation and then rise, so only checkpoints behind the
    largest one count. Where none is left it is the last checkpoint, and ``met`` is false.
    """
    rows = []
    for _, one in data.sort_values("epoch").groupby(["variant", "seed"]):
        late = one.loc[one["gradient_norm"].idxmax() :]
        met = late[late["gradient_norm"] <= target]
        row = one.iloc[-1] if met.empty else met.iloc[0]
        rows.append(row.to_dict() | {"met": not met.empty})
    return pd.DataFrame(rows)


def slopes(data: pd.DataFrame, start: float) -> dict[str, Slope]:
    """Log-log slope of each bound's mean from epoch ``start`` on, seeds resampled as a whole.

    Empty where fewer than three epochs are that late.
    """
    late = shared_epochs(data[data["epoch"] >= max(start, 1)])
    if late["epoch"].nunique() < 3:
        return {}
    return {name: log_log_slope_over_seeds(late, "epoch", name, paired=True) for name in BOUNDS}


def growth_factors(data: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean bound at the stop over that at initialisation, with intervals over seeds."""
    ends = last_rows(data).sort_values("seed")
    starts = data[data["epoch"] == 0].sort_values("seed")
    return {name: asdict(ratio_interval(ends[name], starts[name], paired=True)) for name in BOUNDS}


def slopes_along(data: pd.DataFrame, x: str, first: float = 0) -> dict[str, Slope]:
    """Log-log slope of each bound's mean along ``x`` from ``first`` on, nets resampled at each x.

    Empty where fewer than two values of ``x`` are left.
    """
    late = data[data[x] >= first]
    if late[x].nunique() < 2:
        return {}
    return {name: log_log_slope_over_seeds(late, x, name) for name in BOUNDS}


def fitted(data: pd.DataFrame, name: str, slope: Slope, start: float, x: str = "epoch") -> pd.Series:
    """The fitted line at the epochs, or other ``x``, that it was fitted to."""
    late = data[data[x] >= max(start, 1)]
    means = (shared_epochs(late) if x == "epoch" else late).groupby(x)[name].mean()
    log_x, log_y = np.log(means.index.to_numpy(float)), np.log(means.to_numpy())
    return pd.Series(np.exp(log_y.mean() + slope.slope * (log_x - log_x.mean())), index=means.index)
