"""The bounds of ResNets at initialisation against their depth."""

from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, by_seed, combine, judge_fact, measured
from pipeline.figures.looks import LOOKS, Look, corner_note
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.intervals import Interval, mean_interval

DEEP = 50
"""Depth of the net that the paper has trained."""

_GAP = Look("#222222", "D", "-", "here, at initialisation")


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """All bounds as logarithms to the base 10, and the gap in decades."""
    logs = {f"log10_{name}": np.log10(table[name]) for name in ("c_lower", "c_avg")}
    return table.assign(decades=table["log10_c_upper"] - logs["log10_c_lower"], **logs)


def measure(tables: Tables, context: Context) -> Facts:
    """By depth the means over seeds, the gap in decades, and what each deeper net adds to it."""
    data = prepared(only(tables))
    depths = sorted(data["depth"].unique())
    columns = ["log10_c_upper", "log10_c_lower", "log10_c_avg"]
    means = data.groupby("depth")[columns].mean()
    return {
        "means": {str(depth): row.to_dict() for depth, row in means.iterrows()},
        "all_upper_bounds_certified": bool(data["upper_certified"].all()),
        "decades": {str(depth): measured(_decades, data, depth) for depth in depths},
        "decades_added": {
            f"{before} to {after}": measured(_added, data, before, after)
            for before, after in pairwise(depths)
        },
        "of_the_paper": context["printed"],
    }


def _decades(data: pd.DataFrame, depth: int) -> Interval:
    return mean_interval(data.loc[data["depth"] == depth, "decades"])


def _added(data: pd.DataFrame, before: int, after: int) -> Interval:
    """Seeds of different nets have nothing in common: pairing them only keeps their number."""
    gaps = [by_seed(data[data["depth"] == depth], "decades") for depth in (before, after)]
    return mean_interval(gaps[1] - gaps[0])


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The bounds on the left, the decades between them on the right, and the paper's as rings."""
    data = prepared(only(tables))
    figure, (bounds, gap) = plt.subplots(
        1, 2, figsize=(6.9, 2.9), layout="constrained", width_ratios=(1.25, 1)
    )
    for name in ("c_upper", "c_lower"):
        _draw_depths(bounds, data, f"log10_{name}", LOOKS[name])
    _draw_ring(bounds, facts["of_the_paper"]["log10_c_upper"], "paper, at initialisation")
    bounds.yaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:g}}}$"))
    bounds.set(title="a", ylabel="bound (logits per unit of input)")
    bounds.legend(loc="upper left")
    _draw_depths(gap, data, "decades", _GAP)
    _draw_ring(gap, facts["of_the_paper"]["decades_when_trained"], "paper, trained on ImageNet")
    gap.legend(loc="upper left")
    gap.set(title="b", ylabel=r"$\log_{10}(C_\mathrm{upper}\,/\,C_\mathrm{lower})$")
    gap.set_ylim(bottom=0)
    for axes in (bounds, gap):
        axes.set_xticks(sorted(data["depth"].unique()))
        axes.set_xlabel("layers with weights")
    settings = context["settings"]
    corner_note(
        figure,
        f"{context['scale']} scale, {data['seed'].nunique()} seeds, images of "
        f"{settings['image_size']} x {settings['image_size']}, {settings['points']} points",
    )
    return figure


def _draw_ring(axes: Axes, at: float, label: str) -> None:
    """A value of the paper, at the depth of its net."""
    ring: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8}
    axes.plot(DEEP, at, **ring, markerfacecolor="none", markeredgecolor="#222222", label=label)


def _draw_depths(axes: Axes, data: pd.DataFrame, name: str, look: Look) -> None:
    """A mark per seed, and a line through the means."""
    mean = data.groupby("depth")[name].mean()
    style: dict[str, Any] = {"color": look.color, "marker": look.marker}
    axes.plot(mean.index, mean, linestyle=look.line, label=look.label, **style)
    axes.plot(data["depth"], data[name], linestyle="none", alpha=0.4, **style)


@claim(
    "C6",
    "The upper bound explodes with depth, to 40 decades above the lower one",
    reported="1e27 for ResNet-50 at initialisation; 40 decades above C_lower when trained",
    unit="decades of C_upper over C_lower",
    refuted="A deeper ResNet adds less than one decade to C_upper / C_lower, or this stays below 20 "
    "decades at 50 layers",
    untested="There are fewer than two seeds, or no ResNet-50. Trained nets are not tested at all",
    since="2026-11-28",
    changes={
        "2026-11-28": "the nets, not the rule: two seeds in place of three, for time; with three "
        "ResNet-50 had 21.1 [20.9, 21.2]"
    },
)
def grows_with_depth(facts: Facts) -> Finding:
    """Decades of C_upper over C_lower of torchvision's ResNet-18 to 152 at initialisation, in eval mode.
    Each net adds at least one decade to that of the next shallower one, and ResNet-50 has at least 20,
    half of what the paper finds when it is trained. Our C_upper is certified, and counts overlapping
    max-pooling as 2; the paper's norms come from below, and pooling counts as 1. When the limits were
    set two C_upper of an earlier run at 224 pixels were known, 1.1e7 and 3.3e21, and no C_lower."""
    parts = {
        f"added from {step} layers": judge_fact(fact, least=1)
        for step, fact in facts["decades_added"].items()
    }
    gap = facts["decades"].get(str(DEEP), {"untested": f"no ResNet-{DEEP}"})
    return combine(parts | {f"ResNet-{DEEP}": judge_fact(gap, least=20)})
