"""Draw what a penalty on the layers' norms does to bounds, loss and accuracy."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.looks import (
    LOOKS,
    corner_note,
    draw_seeds,
    mark_diverged,
    plain_log_axis,
    plain_log_x,
)
from pipeline.figures.room import Context, Facts, Tables, only

_BOUNDS = ("c_upper", "c_lower", "c_avg")
_GAP = 5.0
"""Factor between the least strength above 0 and where strength 0 stands on the logarithmic axis."""
_SPACE = 1.35
"""Least factor between bounds whose strengths are both written down."""


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the training points, with the upper bound itself and accuracies in per cent."""
    data = table[table["points"] == "train"].copy()
    data["c_upper"] = 10 ** data["log10_c_upper"]
    for name in ("train", "test"):
        data[f"{name}_accuracy"] = 100 * (1 - data[f"{name}_error"])
    above = data.loc[data["strength"] > 0, "strength"]
    origin = above.min() / _GAP if len(above) else 1.0
    data["position"] = data["strength"].where(data["strength"] > 0, origin)
    return data


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds, loss and accuracy by strength of the penalty, and loss against the certified bound."""
    data = prepared(only(tables))
    figure, panels = plt.subplot_mosaic(
        [["bounds", "loss"], ["accuracy", "trade-off"]], figsize=(6.9, 4.8), layout="constrained"
    )
    shown = data
    training = context["settings"]["training"]
    if training["min_epochs"] == training["max_epochs"]:
        # the end was set beforehand, and is nothing to be marked
        shown = data.assign(stop_reason=data["stop_reason"].replace("epoch_cap", "planned"))
    for name in _BOUNDS:
        draw_seeds(panels["bounds"], shown, "position", name, LOOKS[name])
    for name in ("test", "train"):
        draw_seeds(panels["loss"], shown, "position", f"{name}_loss", LOOKS[name])
        draw_seeds(panels["accuracy"], shown, "position", f"{name}_accuracy", LOOKS[name])
        _draw_trade_off(panels["trade-off"], data, facts, name)
    for name in ("bounds", "loss", "trade-off"):
        plain_log_axis(panels[name])
    for name in ("bounds", "loss", "accuracy"):
        _strength_axis(panels[name], data)
        mark_diverged(panels[name], data, "position")
    plain_log_x(panels["trade-off"])
    _name_strengths(panels["trade-off"], facts)
    panels["bounds"].set(title="a", ylabel="bound (logits per unit of input)")
    panels["loss"].set(title="b", ylabel="cross-entropy (nats)")
    panels["accuracy"].set(title="c", ylabel="accuracy (%)")
    panels["trade-off"].set(
        title="d",
        xlabel=r"$C_\mathrm{upper}$, certified (logits per unit of input)",
        ylabel="cross-entropy (nats)",
    )
    panels["bounds"].legend(loc="lower left")
    panels["loss"].legend(loc="center left")
    _note(figure, data, context)
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Means over seeds, by strength, and whether every upper bound is certified."""
    data = prepared(only(tables))
    names = [*_BOUNDS, "train_loss", "test_loss", "penalty", "train_accuracy", "test_accuracy"]
    means = data.groupby("strength")[names].mean()
    return {
        "means": {f"{strength:g}": row.to_dict() for strength, row in means.iterrows()},
        "strength_of_least_test_loss": float(means["test_loss"].idxmin()),
        "strength_of_best_test_accuracy": float(means["test_accuracy"].idxmax()),
        "upper_certified": bool(data.loc[data["c_upper"].notna(), "upper_certified"].all()),
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
    }


def _strength_axis(axes: Axes, data: pd.DataFrame) -> None:
    axes.set_xscale("log")
    ticks = data.groupby("position")["strength"].first()
    axes.set_xticks(list(ticks.index), [f"{strength:g}" for strength in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("strength $r$ of the penalty")
    if 0 in set(ticks) and len(ticks) > 1:
        # the axis is broken between 0 and the rest
        middle = ticks.index[0] * _GAP**0.5
        axes.plot(
            [middle], [0], marker=r"$/\!\!/$", color="#444444", markersize=6, clip_on=False,
            transform=axes.get_xaxis_transform(), zorder=5,
        )  # fmt: skip


def _draw_trade_off(axes: Axes, data: pd.DataFrame, facts: Facts, name: str) -> None:
    """Loss against the certified bound: a small mark for each seed, a large one for each strength."""
    look, column = LOOKS[name], f"{name}_loss"
    means = pd.DataFrame(facts["means"].values())
    small: dict[str, Any] = {"linestyle": "none", "markersize": 2, "alpha": 0.4, "markeredgewidth": 0}
    axes.plot(data["c_upper"], data[column], color=look.color, marker=look.marker, **small)
    axes.plot(means["c_upper"], means[column], look.line, color=look.color, marker=look.marker)


def _name_strengths(axes: Axes, facts: Facts) -> None:
    """The strengths above the marks of the test loss, where there is room."""
    last = math.inf
    for strength, row in facts["means"].items():  # from the weakest penalty on
        if not row["c_upper"] < last / _SPACE:
            continue
        last = row["c_upper"]
        axes.annotate(
            "$r = 0$" if strength == "0" else strength,
            (row["c_upper"], row["test_loss"]),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=6,
            color="#444444",
        )
    axes.margins(x=0.09, y=0.12)


def _note(figure: Figure, data: pd.DataFrame, context: Context) -> None:
    setup = context["settings"]
    rule = setup["training"]["regularisation"]
    widths = ", ".join(str(width) for width in sorted(data["width"].unique()))
    corner_note(
        figure,
        f"{context['scale']} scale, width {widths}, {data['seed'].nunique()} seeds, band: ±1 std; "
        f"penalty on norms above {rule['threshold']:g}, {rule['steps']} Gram products",
    )
