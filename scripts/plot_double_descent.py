"""Draw the width double descent: Lipschitz bounds, losses and errors against width."""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.command import run
from pipeline.figures import (
    LOOKS,
    draw_seeds,
    draw_threshold,
    mark_diverged,
    plain_log_axis,
    save,
    use_style,
    width_axis,
)
from pipeline.provenance import write_sidecar

PAPER_ITEM = "Khromov & Singh, ICLR 2024, Figure S12 (set-up E-M1D-CE)"


def main(arguments: argparse.Namespace) -> None:
    """Write figure (PDF and PNG) and sidecar."""
    context = json.loads(arguments.context)
    use_style(arguments.style)
    table = pd.read_csv(arguments.table)
    table["c_upper"] = 10 ** table["log10_c_upper"]
    data = table[table["points"] == "train"]
    save(draw(data, context), arguments.pdf, arguments.png)
    write_sidecar(
        arguments.sidecar,
        figure="double_descent",
        paper_item=PAPER_ITEM,
        scale=context["scale"],
        inputs=[arguments.table, arguments.style],
        settings=context["settings"],
        departures=context["departures"],
        code=context["code"],
        facts=facts(data),
    )


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
    figure.text(
        0.995,
        -0.005,
        f"{context['scale']} scale, {data['seed'].nunique()} seeds, band: ±1 std{hollow}",
        ha="right",
        va="top",
        fontsize=6,
        color="#555555",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="input: CSV")
    parser.add_argument("--style", type=Path, required=True, help="input: style sheet")
    parser.add_argument("--context", required=True, help="scale, settings and code as JSON")
    parser.add_argument("--pdf", type=Path, required=True, help="output")
    parser.add_argument("--png", type=Path, required=True, help="output")
    parser.add_argument("--sidecar", type=Path, required=True, help="output: JSON")
    run(parser, main)
