"""Bounds and errors along training, with the slopes of the bounds once the nets fit: measured, drawn."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from pipeline.figures.epochs import draw_training, epoch_axis
from pipeline.figures.looks import LOOKS, plain_log_axis
from pipeline.figures.room import Facts
from pipeline.figures.slopes import draw_slopes
from pipeline.statistics.growth import BOUNDS, shared_epochs, slopes, stable_epochs

FITTED = 0.05
"""Mean training error from which on the growth is late."""


def growth_facts(data: pd.DataFrame, printed: Mapping[str, Any]) -> Facts:
    """Slopes of all bounds from the epoch on from which nets fit, beside the ``printed`` ones if any.

    ``data`` are rows of :func:`pipeline.statistics.growth.training_rows` of one width.
    """
    start = _fits_from(data)
    epochs = stable_epochs(data, start)["epoch"] if math.isfinite(start) else pd.Series(dtype=int)
    means = shared_epochs(data).groupby("epoch")[[*BOUNDS, "train_error", "test_error"]].mean()
    return {
        "from": start if math.isfinite(start) else None,
        "epochs_of_the_fit": sorted({int(epoch) for epoch in epochs}),
        "slopes": slopes(data, start) if len(epochs) else {},
        "slopes_of_the_paper": printed.get("slopes", {}),
        "means": {str(epoch): row.to_dict() for epoch, row in means.iterrows()},
    }


def _fits_from(data: pd.DataFrame) -> float:
    """First epoch that all seeds have with a mean training error of at most 5 %; infinity for none."""
    errors = shared_epochs(data).groupby("epoch")["train_error"].mean()
    fits = errors.index[errors <= FITTED]
    return float(fits.min()) if len(fits) else math.inf


def draw_growth(bounds: Axes, errors: Axes, data: pd.DataFrame, facts: Facts) -> None:
    """Bounds with their fitted lines in one panel, errors in another; ``facts`` of the same rows."""
    for name in BOUNDS:
        draw_training(bounds, data, name, LOOKS[name])
    if facts["slopes"]:
        papers, epochs = facts["slopes_of_the_paper"], facts["epochs_of_the_fit"]
        draw_slopes(bounds, facts["slopes"], papers, epochs, top=0.2, left=False)
    plain_log_axis(bounds)
    low, high = bounds.get_ylim()
    bounds.set(ylabel="bound (logits per unit of input)", ylim=(low / 2, high * 4))
    bounds.legend(loc="upper left")
    for name in ("test", "train"):
        percent = data.assign(error=100 * data[f"{name}_error"])
        draw_training(errors, percent, "error", LOOKS[name])
    errors.set(ylabel="error (%)", ylim=(-3, None))
    errors.legend(loc="lower left")
    for axes in (bounds, errors):
        epoch_axis(axes, last=data["epoch"].max())
