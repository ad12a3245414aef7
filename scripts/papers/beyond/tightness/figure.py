"""Draw every bound relative to AutoLip, for random and for trained nets."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.looks import BOUND_LOOKS, corner_note
from pipeline.figures.methods import draw_groups, legend_entries, plain_ticks
from pipeline.figures.room import Context, Facts, Tables, only

ELSEWHERE: dict[str, dict[str, float]] = {
    "4-8-3": {"exact": 0.539, "lipsdp": 0.541, "eclipse": 0.759, "liplt": 0.733, "seqlip_exact": 0.539},
    "4-5-5-3": {
        "exact": 0.510,
        "lipsdp": 0.511,
        "eclipse": 0.676,
        "liplt": 0.684,
        "seqlip_exact": 0.606,
    },
    "3-4-4-4-2": {
        "exact": 0.340,
        "lipsdp": 0.346,
        "eclipse": 0.575,
        "liplt": 0.570,
        "seqlip_exact": 0.496,
    },
    "10-(40x5)-5": {"lipsdp": 38.2 / 338.8, "eclipse": 87.7 / 338.8, "liplt": 107.1 / 338.8},
    "10-(80x20)-5": {"eclipse": 1.08e7 / 1.56e9, "liplt": 2.09e7 / 1.56e9},
}
"""Ratios to AutoLip from an independent implementation, on other random draws (means of 10, and of
one net for the two deep ones)."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each net: mean over draws, range over draws, reference values."""
    table = only(tables)
    small = set(table.loc[table["method"] == "exact", "net"])
    random, trained = table[table["origin"] == "random"], table[table["origin"] == "trained"]
    parts = {
        "small, random": random[random["net"].isin(small)],
        "trained on MNIST-1D": trained,
        "deep, random": random[~random["net"].isin(small)],
    }
    parts = {title: part for title, part in parts.items() if len(part)}
    figure, panels = plt.subplots(1, len(parts), figsize=(6.9, 4.1), layout="constrained", squeeze=False)
    for axes, (title, part), letter in zip(panels[0], parts.items(), "abc", strict=False):
        _draw_part(axes, part)
        axes.set_title(f"{letter}   {title}")
    figure.supxlabel("bound relative to AutoLip (dashed)", fontsize=8)
    bounds = table[table["method"] != "autolip"]
    figure.legend(*legend_entries(bounds, "other implementation"), loc="outside upper center", ncols=4)
    missing = "" if "lipsdp" in set(table["method"]) else "; LipSDP by a solver not run"
    draws = _count(random, "draw")
    if len(trained):
        draws += " and " + _count(trained, "training")
    corner_note(figure, f"{context['scale']} scale, {draws}, lines: their range{missing}")
    return figure


def _count(table: pd.DataFrame, what: str) -> str:
    number = table["draw"].nunique()
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _draw_part(axes: Axes, table: pd.DataFrame) -> None:
    draw_groups(axes, table[table["method"] != "autolip"], "ratio", ELSEWHERE)
    axes.axvline(1, color=BOUND_LOOKS["autolip"].color, linewidth=0.8, linestyle="--")
    axes.set_xlim(left=min(axes.get_xlim()[0], 0.1))
    plain_ticks(axes)


def measure(tables: Tables, context: Context) -> Facts:
    """Mean ratios to AutoLip by net and method, beside those of an independent implementation."""
    table = only(tables)
    means = table.groupby(["net", "method"])["ratio"].mean()
    ours = {
        net: {method: float(means[net, method]) for method in means[net].index}
        for net in dict.fromkeys(table["net"])
    }
    return {
        "mean_ratio_to_autolip": ours,
        "other_implementation": {net: ELSEWHERE[net] for net in ours if net in ELSEWHERE},
        "solver_run": "lipsdp" in set(table["method"]),
        "seconds": table.groupby("method")["seconds"].mean().to_dict(),
    }
