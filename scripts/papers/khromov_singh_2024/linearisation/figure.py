"""Draw what a net linearised in its parameters could reach against what training reached."""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from pipeline.figures.looks import corner_note
from pipeline.figures.methods import REFERENCE
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.intervals import bootstrap_interval, ratio_interval

PAPER = {
    "c_initial": 0.369,
    "c_final": 24.228,
    "mixed_largest": 4.685,
    "mixed_mean": 3.127,
    "mixed_std": 0.619,
}
"""For one seed of width 256; the distance is not printed."""
QUANTITIES = {
    "c_initial": r"$C_\mathrm{lower}$ at initialisation",
    "distance": r"$|\theta - \theta_0|$",
    "mixed_largest": "largest mixed derivative",
    "bound": "bound when linearised",
    "c_linearised": r"$C_\mathrm{lower}$ when linearised",
    "c_final": r"$C_\mathrm{lower}$ when trained",
}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The norms of the mixed derivative over points, and the sizes that are compared."""
    table = only(tables)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.9, 2.7), layout="constrained", width_ratios=[1, 1.15]
    )
    _draw_mixed(left, table[table["quantity"] == "mixed"])
    _draw_sizes(right, table)
    points = table.loc[table["quantity"] == "mixed"].groupby("seed").size().max()
    widths = ", ".join(str(width) for width in sorted(table["width"].unique()))
    corner_note(
        figure,
        f"{context['scale']} scale, width {widths}, {table['seed'].nunique()} seeds, {points} points; "
        "ring: the paper, one seed",
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Means over seeds with intervals, beside the paper's values."""
    table = only(tables)
    by_seed = _by_seed(table)
    return {
        "means": {name: asdict(bootstrap_interval(by_seed[name])) for name in by_seed},
        "paper": PAPER,
        "growth": asdict(ratio_interval(by_seed["c_final"], by_seed["c_initial"], paired=True)),
        "paper_growth": PAPER["c_final"] / PAPER["c_initial"],
        "bound_over_trained": asdict(ratio_interval(by_seed["bound"], by_seed["c_final"], paired=True)),
        "linearised_over_trained": asdict(
            ratio_interval(by_seed["c_linearised"], by_seed["c_final"], paired=True)
        ),
        "trained_exceeds_bound": bool((by_seed["c_final"] > by_seed["bound"]).all()),
    }


def _by_seed(table: pd.DataFrame) -> pd.DataFrame:
    scalars = table[table["quantity"] != "mixed"]
    wide = scalars.pivot_table(index="seed", columns="quantity", values="value")
    mixed = table[table["quantity"] == "mixed"].groupby("seed")["value"]
    return wide.assign(mixed_mean=mixed.mean(), mixed_std=mixed.std())


def _draw_mixed(axes: Axes, mixed: pd.DataFrame) -> None:
    margin = 0.2 * (mixed["value"].max() - mixed["value"].min())
    grid = np.linspace(max(0, mixed["value"].min() - margin), mixed["value"].max() + margin, 300)
    curves = [gaussian_kde(one["value"])(grid) for _, one in mixed.groupby("seed")]
    for curve in curves:
        axes.plot(grid, curve, color="#0072B2", linewidth=0.6, alpha=0.4)
    axes.plot(grid, np.mean(curves, 0), color="#0072B2")
    largest = mixed.groupby("seed")["value"].max().mean()
    axes.axvline(largest, color="#0072B2", linestyle=":", linewidth=1.1)
    axes.set_ylim(bottom=0)
    height = 0.06 * axes.get_ylim()[1]
    spread = PAPER["mixed_std"] * np.array([-1, 1])
    axes.plot(PAPER["mixed_mean"] + spread, [height, height], color=REFERENCE["color"], linewidth=0.8)
    axes.plot([PAPER["mixed_mean"], PAPER["mixed_largest"]], [height, height], **REFERENCE)
    axes.set(title="a", xlabel="mixed derivative at initialisation", ylabel="density")


def _draw_sizes(axes: Axes, table: pd.DataFrame) -> None:
    by_seed = _by_seed(table)
    for row, name in enumerate(QUANTITIES):
        values = by_seed[name]
        color = {"bound": "#D55E00", "c_final": "#000000"}.get(name, "#0072B2")
        axes.plot(values, np.full(len(values), row), "o", color=color, markersize=2.5, alpha=0.5)
        axes.plot(values.mean(), row, "D", color=color, markersize=5)
        axes.annotate(
            f"{values.mean():.3g}", (values.mean(), row), xytext=(0, 5), textcoords="offset points",
            ha="center", fontsize=6.5, color="#444444",
        )  # fmt: skip
        if name in PAPER:
            axes.plot(PAPER[name], row, **REFERENCE)
    axes.set_xscale("log")
    axes.set_yticks(range(len(QUANTITIES)), list(QUANTITIES.values()))
    axes.set_ylim(len(QUANTITIES) - 0.5, -0.7)
    axes.set(title="b", xlabel="size")
    axes.grid(False, axis="y")
