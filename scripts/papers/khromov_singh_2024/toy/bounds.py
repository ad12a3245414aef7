"""Bounds of the net on three Gaussians: at the end beside the paper's, and during training."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from papers.khromov_singh_2024.toy.maps import square_name
from pipeline.figures.epochs import epoch_axis
from pipeline.figures.looks import BOUND_LOOKS, LOOKS, Look, plain_log_axis, plain_log_x
from pipeline.figures.room import Context, Facts

ROWS = {
    "c_avg": LOOKS["c_avg"],
    "c_lower": LOOKS["c_lower"],
    "grid_5": BOUND_LOOKS["grid"],
    "grid_10": BOUND_LOOKS["grid"],
    "search": BOUND_LOOKS["search"]._replace(marker="P"),
    "exact": BOUND_LOOKS["exact"],
    "tightest": BOUND_LOOKS["lipsdp_descent"],
    "best": BOUND_LOOKS["eclipse"],
    "c_upper": LOOKS["c_upper"],
}
"""The bounds in the order in which they stand below each other, from the least on."""

_RING: dict[str, Any] = {
    "marker": "o",
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 0.7,
}


def draw_numbers(axes: Axes, facts: Facts, context: Context) -> None:
    """A row per bound; the Lipschitz constant of the net as a line through all of them."""
    exact = facts["values"]["exact"]["measured"]
    names = list(ROWS)
    for row, name in enumerate(names):
        _draw_row(axes, row, ROWS[name], facts["values"][name], exact)
    axes.axvline(exact, color="black", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    low, high = (facts["values"][name]["measured"] for name in (names[0], names[-1]))
    axes.set_xlim(low / (high / low) ** 0.25, high * (high / low) ** 0.2)
    plain_log_x(axes)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_yticks(range(len(names)), [_label(name, context) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="x")
    axes.set_xlabel("bound of the Lipschitz constant (logits per unit of input)")
    axes.set_title("d   bounds of the trained net")
    if facts["the_paper's_net"]:
        ring = Line2D([], [], linestyle="none", markersize=8, label="paper", **_RING)
        axes.legend(handles=[ring], loc="lower right", borderaxespad=0.2)


def _draw_row(axes: Axes, row: int, look: Look, values: Mapping[str, float], exact: float) -> None:
    """A bound with its number, on the side of it that is away from the line, and the paper's."""
    value = values["measured"]
    axes.plot(value, row, marker=look.marker, color=look.color, markersize=5, zorder=3)
    left = value < exact * (1 - 1e-9)
    axes.annotate(
        f"{value:.4g}",
        (value, row),
        xytext=(-7 if left else 7, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )
    if "paper" in values:
        axes.plot(values["paper"], row, markersize=9, **_RING)


def _label(name: str, context: Context) -> str:
    inner, outer = sorted(context["settings"]["half_sides"])
    return {
        "c_avg": r"$C_\mathrm{avg}$, training points",
        "c_lower": r"$C_\mathrm{lower}$, training points",
        "grid_5": f"grid, {square_name(inner)}",
        "grid_10": f"grid, {square_name(outer)}",
        "search": "search",
        "exact": "exact, by all linear regions",
        "tightest": "tightest certified bound",
        "best": "best fast certified bound",
        "c_upper": r"$C_\mathrm{upper}$, layer product",
    }[name]


def draw_history(axes: Axes, table: pd.DataFrame) -> None:
    """Bounds during training."""
    for name in ("c_upper", "c_lower", "c_avg"):
        look = LOOKS[name]
        part = table[(table["kind"] == "history") & (table["name"] == name)].sort_values("step")
        axes.plot(
            part["step"].astype(float),
            part["value"],
            color=look.color,
            marker=look.marker,
            markersize=2.6,
            linewidth=1.1,
        )
        last = part.iloc[-1]
        axes.annotate(
            look.label.split("  ")[0],
            (float(last["step"]), last["value"]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=look.color,
            fontsize=8,
        )
    epoch_axis(axes, last=table["step"].max(), label="steps of gradient descent")
    plain_log_axis(axes)
    axes.set_ylabel("bound (as in d)", labelpad=1)
    axes.set_title("e   bounds during training")
