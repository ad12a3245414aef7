"""Draw the width double descent: Lipschitz bounds, losses and errors against width."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures import (
    LOOKS,
    corner_note,
    draw_seeds,
    draw_threshold,
    mark_diverged,
    plain_log_axis,
    width_axis,
)
from pipeline.plot_command import plot_command

PAPER_ITEM = "Khromov & Singh, ICLR 2024, Figure S12 (set-up E-M1D-CE)"


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that belong to the training points, with the upper bound itself."""
    data = table[table["points"] == "train"].copy()
    data["c_upper"] = 10 ** data["log10_c_upper"]
    return data


def draw(data: pd.DataFrame, context: dict[str, Any]) -> Figure:
    """The figure, from the rows of the table that belong to the training points."""
    figure, panels = plt.subplot_mosaic(
        [["bounds", "loss"], ["bounds", "error"]],
        figsize=(6.9, 3.4),
        layout="constrained",
        height_ratios=[1.25, 1],
    )
    _draw_bounds(panels["bounds"], data)
    _draw_losses(panels["loss"], data)
    _draw_errors(panels["error"], data)
    for axes in panels.values():
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, context["settings"]["threshold_width"])
    mark_diverged(panels["bounds"], data, "width")
    panels["loss"].tick_params(labelbottom=False)
    panels["bounds"].legend(loc="upper left", bbox_to_anchor=(0, 0.99))
    panels["bounds"].set_ylim(top=panels["bounds"].get_ylim()[1] * 2.5)
    panels["loss"].legend(loc="lower left")
    _annotate(figure, panels["bounds"], data, context)
    return figure


def facts(data: pd.DataFrame) -> dict[str, Any]:
    """Where each seed-averaged curve peaks and how far it falls from there to the widest net."""
    means = data.groupby("width")[["c_upper", "c_lower", "c_avg", "test_loss"]].mean()
    return {
        name: {
            "peak_width": int(means[name].idxmax()),
            "peak": float(means[name].max()),
            "at_the_widest": float(means[name].iloc[-1]),
            "fall_in_per_cent": float(100 * (1 - means[name].iloc[-1] / means[name].max())),
        }
        for name in means
        if means[name].notna().any()
    } | {"stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict()}


def _draw_bounds(axes: Axes, data: pd.DataFrame) -> None:
    for name in ("c_upper", "c_lower", "c_avg"):
        draw_seeds(axes, data, "width", name, LOOKS[name])
    plain_log_axis(axes)
    axes.set(title="a", xlabel="width", ylabel="Lipschitz bound (logits per unit of input)")


def _draw_losses(axes: Axes, data: pd.DataFrame) -> None:
    for name in ("test", "train"):
        draw_seeds(axes, data, "width", f"{name}_loss", LOOKS[name])
    plain_log_axis(axes)
    axes.set(title="b", ylabel="cross-entropy (nats)")


def _draw_errors(axes: Axes, data: pd.DataFrame) -> None:
    for name in ("test", "train"):
        in_percent = data.assign(error=100 * data[f"{name}_error"])
        draw_seeds(axes, in_percent, "width", "error", LOOKS[name])
    axes.set_ylim(bottom=-3)
    axes.set(title="c", xlabel="width", ylabel="error (%)")


def _annotate(figure: Figure, axes: Axes, data: pd.DataFrame, context: dict[str, Any]) -> None:
    axes.annotate(
        "parameters = points",
        (context["settings"]["threshold_width"], 0.02),
        xycoords=axes.get_xaxis_transform(),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=6.5,
        color="#444444",
    )
    hollow = "; hollow: stopped at the epoch cap" if "epoch_cap" in set(data["stop_reason"]) else ""
    seeds = data["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds, band: ±1 std{hollow}")


if __name__ == "__main__":
    plot_command(
        lambda table, context: draw(prepared(table), context),
        lambda table, context: facts(prepared(table)),
        figure="double_descent",
        paper_item=PAPER_ITEM,
        description=__doc__,
    )
