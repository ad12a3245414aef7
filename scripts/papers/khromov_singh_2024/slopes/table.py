"""Slopes of the bounds against epochs in the stable phase of training."""

from typing import Any

import pandas as pd

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine
from pipeline.claims.slopes import judge_slope
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import JUDGED
from pipeline.statistics.growth import (
    BOUNDS,
    shared_epochs,
    slopes,
    stable_from,
    training_rows,
)

WIDTH = 256

NETS = {"evolution": "cross-entropy", "double_descent_mse": "squared error"}

FIT_COLUMNS = ("points", "slope", "interval", "R²")


def measure(tables: Tables, context: Context) -> Facts:
    """The stable phase of each loss."""
    return {"stable_phase": {name: _stable_phase(name, tables, context) for name in NETS}}


def _stable_phase(experiment: str, tables: Tables, context: Context) -> dict[str, Any]:
    data = training_rows(tables[f"{experiment}_epochs"])
    if WIDTH in set(data["width"]):
        data = data[data["width"] == WIDTH]
    training = context["settings"][experiment]["training"]
    start = stable_from(context["scale"], training, data, context["printed"][experiment]["from"])
    epochs = shared_epochs(data)["epoch"]
    return {
        "from": start,
        "to": int(epochs.max()) if len(epochs) else None,
        "slopes": slopes(data, start),
    }


def rows(tables: Tables, facts: Facts, context: Context) -> pd.DataFrame:
    """A row per loss and bound."""
    found = []
    for experiment, loss in NETS.items():
        phase, paper = facts["stable_phase"][experiment], context["printed"][experiment]
        for name in BOUNDS:
            fits = phase["slopes"]
            found.append(
                {
                    "loss": loss,
                    "bound": name.replace("c_", "C_"),
                    "epochs": f"{phase['from']:g} to {phase['to']}",
                    **(_fit_columns(fits[name]) if name in fits else dict.fromkeys(FIT_COLUMNS, "")),
                    "slope, paper": f"{paper['slopes'][name]:.2f}",
                    "R², paper": f"{paper['r_squared'][name]:.4f}",
                }
            )
    return pd.DataFrame(found)


def _fit_columns(fit: dict[str, Any]) -> dict[str, str]:
    values = (
        str(fit["points"]),
        f"{fit['slope']:.3f}",
        f"{fit['low']:.3f} to {fit['high']:.3f}",
        f"{fit['r_squared']:.4f}",
    )
    return dict(zip(FIT_COLUMNS, values, strict=True))


@claim(
    "C2",
    "They also grow late in training with the squared error",
    reported="log-log slopes 0.62 (C_lower), 0.80 (C_upper), 0.52 (C_avg)",
    unit="slope of C_lower",
    figures=("evolution", "slopes"),
    refuted="A bound does not grow in the stable phase.",
    untested="The seeds share fewer than three epochs there.",
    since="2026-11-28",
    changes={
        "2026-11-28": "the slopes that Table S8 and the figure show, over the stable phase, in place "
        "of those over the last tenfold of the epochs, which nothing showed. Both were known, and lie "
        "within 0.02."
    },
    of_a_change=True,
)
def grows_under_mse(facts: Facts) -> Finding:
    """Slope of the log of each bound on the log of the epoch, over the stable phase, at width 256
    under the squared error: from the end of the warm-up of the learning rate on, at paper scale from
    the paper's epoch on. Mean over seeds. A part holds if its interval lies above 0."""
    late = facts["stable_phase"]["double_descent_mse"]["slopes"]
    return combine({word: judge_slope(late, bound, least=0) for bound, word in JUDGED.items()})
