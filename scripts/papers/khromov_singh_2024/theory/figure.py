"""Draw the bounds that theory gives for the growth of the constant beside the measured ones."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pipeline.figures.epochs import draw_geometric
from pipeline.statistics.growth import shared_epochs, training_rows
from pipeline.figures.looks import LOOKS, Look, corner_note, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.statistics.intervals import spearman

CURVES = {
    "bound_2": Look("#CC79A7", "v", "--", r"Bound 2 (steps $B\eta\tau$)"),
    "bound_1": Look("#009E73", "D", "--", "Bound 1 (path of the weights)"),
    "c_upper": LOOKS["c_upper"],
    "c_lower": LOOKS["c_lower"],
}

LATE = 1000
"""Update from which the second panel begins."""


def prepared(tables: Tables, context: Context) -> pd.DataFrame:
    """Rows of the training points with the number of updates and both bounds.

    Bound 1 is ``(2 / r) C_theta L + C_x``, Bound 2 ``(2 / r) C_theta B eta u + C_x`` after u updates,
    with the running maximum C_theta of the constant in the parameters, the length L of the weights'
    path, the largest gradient norm B so far, the largest learning rate eta, the diameter r of the
    data and C_lower at initialisation for C_x.
    """
    training = context["settings"]["theory"]["training"]
    data = training_rows(tables["theory_epochs"])
    about = ["variant", "noise", "width", "seed", "epoch"]
    data = data.merge(tables["theory_bounds"].drop(columns=["experiment", "points"]), on=about)
    data["updates"] = data["epoch"] * -(-data["number_of_points"] // training["batch_size"])
    start = data[data["epoch"] == 0].set_index("seed")["c_lower"]
    factor = 2 / data["diameter"] * data["c_theta_running"]
    first = data["seed"].map(start)
    steps = data["largest_gradient_norm"] * training["learning_rate"] * data["updates"]
    return data.assign(bound_1=factor * data["path_length"] + first, bound_2=factor * steps + first)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """All updates, and the late ones."""
    data = prepared(tables, context)
    data = shared_epochs(data[data["updates"] > 0])
    figure, (whole, late) = plt.subplots(1, 2, figsize=(6.9, 3), layout="constrained")
    _draw_curves(whole, data, "a")
    last = data["updates"].max()
    _draw_curves(late, data[data["updates"] >= (LATE if last > 2 * LATE else last / 3)], "b")
    whole.set_ylabel("bound (logits per unit of input)")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    seeds = data["seed"].nunique()
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {seeds} seed{'s'[: seeds - 1]}, "
        "line: geometric mean, band: ±1 std of the logarithm",
    )
    return figure


def _draw_curves(axes: Axes, data: pd.DataFrame, title: str) -> None:
    for name, look in CURVES.items():
        draw_geometric(axes, data, name, look, "updates")
    axes.set_xscale("log")
    left, right = data["updates"].min(), data["updates"].max()
    if right < 30 * left:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    plain_log_axis(axes)
    axes.set(title=title, xlabel="updates")


def measure(tables: Tables, context: Context) -> Facts:
    """Where theory's bounds lie below the measured ones, and how their trends agree."""
    data = prepared(tables, context)
    later = data[data["updates"] > 0]
    means = shared_epochs(later).groupby("updates")[list(CURVES)].mean()
    return {
        "below": {
            f"{bound} below {name}": _below(later, bound, name)
            for bound in ("bound_1", "bound_2")
            for name in ("c_upper", "c_lower")
        },
        "rank_correlations": {
            f"{bound} and {name}": asdict(
                spearman(later, bound, name, x="updates", paired=data["seed"].nunique() > 1)
            )
            for bound in ("bound_1", "bound_2")
            for name in ("c_upper", "c_lower")
        },
        "last_over_first": {name: float(means[name].iloc[-1] / means[name].iloc[0]) for name in CURVES},
        "over_upper_at_the_end": {
            name: float(means[name].iloc[-1] / means["c_upper"].iloc[-1])
            for name in ("bound_1", "bound_2")
        },
        "diameter": float(data["diameter"].iloc[0]),
        "c_theta_by_update": {
            str(updates): float(value)
            for updates, value in data.groupby("updates")["c_theta"].mean().items()
        },
        "log_log_slopes_from_update_1000": _late_slopes(means),
    }


def _below(data: pd.DataFrame, bound: str, name: str) -> dict[str, Any]:
    """Share of checkpoints, and the last update at which some seed has the bound below."""
    below = data[bound] < data[name]
    last = data.loc[below, "updates"].max() if below.any() else None
    return {"share": float(below.mean()), "last_update": None if last is None else int(last)}


def _late_slopes(means: pd.DataFrame) -> dict[str, float]:
    late = means[means.index >= LATE]
    if len(late) < 3:
        return {}
    return {
        name: float(np.polyfit(np.log(late.index.to_numpy(float)), np.log(late[name]), 1)[0])
        for name in CURVES
    }
