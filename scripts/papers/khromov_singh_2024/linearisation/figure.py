"""What a net linearised in its parameters could reach against what training reached."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact, measured
from pipeline.figures.looks import corner_note, plain_log_x
from pipeline.figures.methods import REFERENCE
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

QUANTITIES = {
    "c_initial": r"$C_\mathrm{lower}$ at initialisation",
    "distance": r"$|\theta - \theta_0|$",
    "mixed_largest": "largest mixed derivative",
    "bound": "bound when linearised",
    "c_linearised": r"$C_\mathrm{lower}$ when linearised",
    "c_final": r"$C_\mathrm{lower}$ when trained",
}

COLORS = {"distance": "#7A7A7A", "mixed_largest": "#7A7A7A", "bound": "#D55E00", "c_final": "#000000"}
"""Of what is no largest norm of a net that is linearised."""


def measure(tables: Tables, context: Context) -> Facts:
    """Means over seeds with intervals, beside the paper's values."""
    by_seed, paper = _by_seed(only(tables)), context["printed"]
    return {
        "means": {name: measured(mean_interval, by_seed[name]) for name in by_seed},
        "paper": paper,
        "growth": measured(_ratio, by_seed, "c_final", "c_initial"),
        "paper_growth": paper["c_final"] / paper["c_initial"],
        "bound_over_trained": measured(_ratio, by_seed, "bound", "c_final"),
        "linearised_over_trained": measured(_ratio, by_seed, "c_linearised", "c_final"),
        "trained_over_linearised": measured(_ratio, by_seed, "c_final", "c_linearised"),
        "trained_over_bound": measured(_ratio, by_seed, "c_final", "bound"),
        "growth_over_mixed_derivative": measured(_growth_over_mixed_derivative, by_seed),
        "trained_exceeds_bound": bool((by_seed["c_final"] > by_seed["bound"]).all()),
    }


def _by_seed(table: pd.DataFrame) -> pd.DataFrame:
    scalars = table[table["quantity"] != "mixed"]
    wide = scalars.pivot_table(index="seed", columns="quantity", values="value")
    mixed = table[table["quantity"] == "mixed"].groupby("seed")["value"]
    wide = wide.reindex(columns=sorted({*wide.columns, *QUANTITIES}))
    return wide.assign(mixed_mean=mixed.mean(), mixed_std=mixed.std())


def _ratio(by_seed: pd.DataFrame, above: str, below: str) -> Interval:
    """Of the means over seeds."""
    return ratio_interval(by_seed[above], by_seed[below], paired=True)


def _growth_over_mixed_derivative(by_seed: pd.DataFrame) -> Interval:
    growth = by_seed["c_final"] - by_seed["c_initial"]
    return _ratio(by_seed.assign(growth=growth), "growth", "mixed_largest")


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The norms of the mixed derivative over points, and the sizes that are compared."""
    table = only(tables)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.9, 2.7), layout="constrained", width_ratios=[1, 1.15]
    )
    _draw_mixed(left, table[table["quantity"] == "mixed"], facts)
    _draw_sizes(right, _by_seed(table), facts)
    points = table.loc[table["quantity"] == "mixed"].groupby("seed").size().max()
    widths = ", ".join(str(width) for width in sorted(table["width"].unique()))
    corner_note(
        figure,
        f"{context['scale']} scale, width {widths}, {table['seed'].nunique()} seeds, {points} points; "
        "ring: the paper, one seed",
    )
    return figure


def _draw_mixed(axes: Axes, mixed: pd.DataFrame, facts: Facts) -> None:
    margin = 0.2 * (mixed["value"].max() - mixed["value"].min())
    grid = np.linspace(max(0, mixed["value"].min() - margin), mixed["value"].max() + margin, 300)
    curves = [gaussian_kde(one["value"])(grid) for _, one in mixed.groupby("seed")]
    for curve in curves:
        axes.plot(grid, curve, color="#0072B2", linewidth=0.6, alpha=0.4)
    axes.plot(grid, np.mean(curves, 0), color="#0072B2")
    largest = facts["means"]["mixed_largest"]["estimate"]
    axes.axvline(largest, color="#0072B2", linestyle=":", linewidth=1.1)
    axes.set_ylim(bottom=0)
    height = 0.06 * axes.get_ylim()[1]
    paper = facts["paper"]
    spread = paper["mixed_std"] * np.array([-1, 1])
    axes.plot(paper["mixed_mean"] + spread, [height, height], color=REFERENCE["color"], linewidth=0.8)
    axes.plot([paper["mixed_mean"], paper["mixed_largest"]], [height, height], **REFERENCE)
    axes.set(title="a", xlabel="norm of the mixed derivative at initialisation", ylabel="density")


def _draw_sizes(axes: Axes, by_seed: pd.DataFrame, facts: Facts) -> None:
    for row, name in enumerate(QUANTITIES):
        values, mean = by_seed[name], facts["means"][name]["estimate"]
        color = COLORS.get(name, "#0072B2")
        axes.plot(values, np.full(len(values), row), "o", color=color, markersize=2.5, alpha=0.5)
        axes.plot(mean, row, "D", color=color, markersize=5)
        axes.annotate(
            f"{mean:.3g}", (mean, row), xytext=(0, 5), textcoords="offset points",
            ha="center", fontsize=6.5, color="#444444",
        )  # fmt: skip
        if name in facts["paper"]:
            axes.plot(facts["paper"][name], row, **REFERENCE)
    plain_log_x(axes)
    axes.set_yticks(range(len(QUANTITIES)), list(QUANTITIES.values()))
    axes.set_ylim(len(QUANTITIES) - 0.5, -0.7)
    axes.set(title="b", xlabel="norm (of nets: logits per unit of input)")
    axes.grid(False, axis="y")


@claim(
    "C29",
    "Trained nets are far from their linearisation at initialisation",
    reported="C_lower from 0.369 to 24.2; mixed derivative 4.69",
    unit="C_lower at the end / that of the linearised net",
    refuted="The linearised net ends as steep as the trained one, or could be as steep at its distance.",
    untested="There is one seed only.",
    since="2026-11-25",
)
def far_from_linear(facts: Facts) -> Finding:
    """C_lower at the end over that of the net linearised at initialisation, at the same parameters,
    ratio of the means over seeds: holds above 1. The same over the most that the linearised net could
    reach at their distance (C_lower at initialisation plus distance times the largest mixed
    derivative): holds above 1. The growth of C_lower over the largest mixed derivative, the paper's
    comparison: holds above 1."""
    return combine(
        {
            "end / linearised net": judge_fact(facts["trained_over_linearised"], 1),
            "end / most of the linearised net": judge_fact(facts["trained_over_bound"], 1),
            "growth / mixed derivative": judge_fact(facts["growth_over_mixed_derivative"], 1),
        }
    )
