"""Slopes of the bounds against epochs in the stable phase of training."""

import pandas as pd

from pipeline.figures.epochs import shared_epochs, training_rows
from pipeline.figures.room import Context, Tables
from pipeline.statistics.growth import BOUNDS, PAPER_SLOPES, slopes, stable_from
from pipeline.statistics.intervals import Slope

WIDTH = 256

NETS = {"evolution": "cross-entropy", "double_descent_mse": "squared error"}

FIT_COLUMNS = ("points", "slope", "interval", "R²")


def rows(tables: Tables, context: Context) -> pd.DataFrame:
    """A row per loss and bound."""
    found = []
    for experiment, loss in NETS.items():
        data = training_rows(tables[f"{experiment}_epochs"])
        if WIDTH in set(data["width"]):
            data = data[data["width"] == WIDTH]
        training = context["settings"][experiment]["training"]
        start = stable_from(experiment, context["scale"], training, data)
        fits, last = slopes(data, start), shared_epochs(data)["epoch"].max()
        for name in BOUNDS:
            known, known_r_squared = PAPER_SLOPES[experiment][name]
            row = {"loss": loss, "bound": name.replace("c_", "C_"), "epochs": f"{start:g} to {last}"}
            fit = _fit_columns(fits[name]) if name in fits else dict.fromkeys(FIT_COLUMNS, "")
            found.append(
                row | fit | {"slope, paper": f"{known:.2f}", "R², paper": f"{known_r_squared:.4f}"}
            )
    return pd.DataFrame(found)


def _fit_columns(fit: Slope) -> dict[str, str]:
    values = (
        str(fit.points),
        f"{fit.slope:.3f}",
        f"{fit.low:.3f} to {fit.high:.3f}",
        f"{fit.r_squared:.4f}",
    )
    return dict(zip(FIT_COLUMNS, values, strict=True))
