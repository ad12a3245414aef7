"""Draw the growth of the bounds during training, for a narrow and a wide net and for both losses."""

from dataclasses import asdict
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.figures.epochs import draw_training, epoch_axis, last_rows, thousands, training_rows
from pipeline.figures.looks import LOOKS, Look, corner_note, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.paper_values import TABLE_S3
from pipeline.statistics.growth import BOUNDS, PAPER_SLOPES, fitted, growth_factors, slopes, stable_from

MSE_WIDTH = 256

PAPER_GROWTH = {
    "evolution": {"c_upper": 66, "c_lower": 63},
    "evolution_wide": {"c_upper": 10, "c_lower": 40},
}
"""From initialisation to the end (section 3.1)."""

PAPER_LOWER = {epoch: lower for epoch, (lower, _) in TABLE_S3.items()}
"""C_lower by epoch, one seed (Table S3)."""

_BESIDE = {"c_upper": 1.5, "c_avg": 1 / 1.6}
"""Factors that part fitted lines from their curves."""

EXTENDED = Look("#56B4E9", "D", "", r"$C_{S^*}$  (also between the points)")


class Panel(NamedTuple):
    """One net: its curves, and the rows of the extended set, which may be none."""

    experiment: str
    title: str
    data: pd.DataFrame
    extended: pd.DataFrame
    stable_from: float


def panels(tables: Tables, context: Context) -> list[Panel]:
    """The three columns of the figure."""
    found = []
    for experiment, where in (
        ("evolution", {}),
        ("evolution_wide", {}),
        ("double_descent_mse", {"width": MSE_WIDTH}),
    ):
        data = training_rows(tables[f"{experiment}_epochs"], **where)
        settings = context["settings"][experiment]
        extended = tables["extended_set"]
        loss = "squared error" if experiment == "double_descent_mse" else "cross-entropy"
        found.append(
            Panel(
                experiment,
                f"width {data['width'].iloc[0]:,}, {loss}",
                data,
                extended[(extended["experiment"] == experiment) & (extended["points"] == "all")],
                stable_from(experiment, context["scale"], settings["training"], data),
            )
        )
    return found


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Log-log above and linear below, a column per net."""
    columns = panels(tables, context)
    figure, grid = plt.subplots(2, len(columns), figsize=(6.9, 4.5), layout="constrained")
    for letter, panel, (above, below) in zip("abc", columns, grid.T, strict=True):
        with plt.rc_context({"lines.markersize": 2.4, "lines.linewidth": 1.1}):
            for axes in (above, below):
                _draw_curves(axes, panel)
        if _is_papers(panel):
            _draw_published(above, panel)
        _draw_slopes(above, panel)
        epoch_axis(above, last=panel.data["epoch"].max())
        plain_log_axis(above)
        above.set_title(f"{letter}  {panel.title}")
        below.set(xlabel="epoch", ylim=(0, None), xlim=(0, None))
        below.xaxis.set_major_locator(MaxNLocator(4))
        thousands(below)
    for axes in grid[:, 0]:
        axes.set_ylabel("bound (logits per unit of input)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    seeds = " / ".join(str(panel.data["seed"].nunique()) for panel in columns)
    nets = tables["extended_set"].groupby("experiment")["seed"].nunique().max()
    corner_note(
        figure,
        f"{context['scale']} scale, {seeds} seeds, band: ±1 std; $C_{{S^*}}$: {nets} of them, "
        "thin lines: slopes of the stable phase",
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Growth factors, slopes, C_S* over C_lower, and C_lower at the epochs of Table S3."""
    return {panel.experiment: _facts(panel, context) for panel in panels(tables, context)}


def _facts(panel: Panel, context: Context) -> dict[str, Any]:
    data, ends = panel.data, last_rows(panel.data)
    target = context["settings"][panel.experiment]["training"]["target_gradient_norm"]
    known = PAPER_SLOPES.get(panel.experiment, {})
    found: dict[str, Any] = {
        "growth": growth_factors(data),
        "growth_of_the_paper": PAPER_GROWTH.get(panel.experiment, {}),
        "stable_from_epoch": panel.stable_from,
        "slopes": {name: asdict(s) for name, s in slopes(data, panel.stable_from).items()},
        "slopes_of_the_paper": {name: slope for name, (slope, _) in known.items()},
        "last_epochs": ends["epoch"].tolist(),
        "seeds_that_met_the_target": int((ends["gradient_norm"] <= target).sum()),
        "upper_over_lower_at_the_end": float((ends["c_upper"] / ends["c_lower"]).mean()),
    }
    if len(panel.extended):
        found["extended_over_lower"] = _extended_over_lower(panel)
    if _is_papers(panel):
        found["c_lower_by_epoch"] = _beside_table_s3(data)
    return found


def _is_papers(panel: Panel) -> bool:
    """Whether it is the net of Table S3."""
    return panel.experiment == "evolution" and set(panel.data["width"]) == {256}


def _extended_over_lower(panel: Panel) -> dict[str, Any]:
    """By epoch, means over the nets that were measured on the extended set."""
    both = panel.extended.merge(panel.data, on=["seed", "epoch"])
    both["ratio"] = both["maximum"] / both["c_lower"]
    both["gap"] = both["c_upper"] / both["maximum"]
    means = both.groupby("epoch")[["ratio", "gap"]].mean()
    return {
        "points": int(both["count"].max()),
        "by_epoch": {str(epoch): float(value) for epoch, value in means["ratio"].items()},
        "largest": float(both["ratio"].max()),
        "upper_over_extended": {str(epoch): float(value) for epoch, value in means["gap"].items()},
    }


def _beside_table_s3(data: pd.DataFrame) -> dict[str, dict[str, float]]:
    by_epoch = data.groupby("epoch")["c_lower"]
    return {
        str(epoch): {
            "mean": float(by_epoch.get_group(epoch).mean()),
            "std": float(by_epoch.get_group(epoch).std()),
            "paper": value,
        }
        for epoch, value in PAPER_LOWER.items()
        if epoch in by_epoch.groups
    }


def _draw_curves(axes: Axes, panel: Panel) -> None:
    for name in BOUNDS:
        draw_training(axes, panel.data, name, LOOKS[name])
    if len(panel.extended):
        means = panel.extended.groupby("epoch")["maximum"].mean()
        axes.plot(
            *(means.index, means),
            color=EXTENDED.color,
            linestyle="none",
            marker=EXTENDED.marker,
            markersize=3.4,
            markeredgecolor="#222222",
            markeredgewidth=0.4,
            zorder=4,
            label=EXTENDED.label,
        )


def _draw_published(axes: Axes, panel: Panel) -> None:
    shown = {e: v for e, v in PAPER_LOWER.items() if e <= panel.data["epoch"].max()}
    axes.plot(
        *(list(shown), list(shown.values())),
        linestyle="none",
        marker="o",
        markersize=6,
        markerfacecolor="none",
        markeredgewidth=0.8,
        color="#222222",
        zorder=5,
        label=r"$C_\mathrm{lower}$ of the paper",
    )


def _draw_slopes(axes: Axes, panel: Panel) -> None:
    """The outer fitted lines, a little beside their curves, and all slopes in the corner."""
    for row, (name, slope) in enumerate(slopes(panel.data, panel.stable_from).items()):
        color = LOOKS[name].color
        if name in _BESIDE:
            line = _BESIDE[name] * fitted(panel.data, name, slope, panel.stable_from)
            axes.plot(line.index, line, color=color, linewidth=0.7, alpha=0.8)
        axes.text(
            *(0.03, 0.9 - 0.08 * row, f"slope {slope.slope:.2f}"),
            transform=axes.transAxes,
            fontsize=6.5,
            color=color,
        )
