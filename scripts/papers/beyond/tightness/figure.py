"""Draw every bound relative to AutoLip, for random and for trained nets."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.looks import BOUND_LOOKS, corner_note
from pipeline.figures.methods import References, draw_groups, legend_entries
from pipeline.figures.room import Context, Facts, Tables, only


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
        _draw_part(axes, part, facts["other_implementation"])
        axes.set_title(f"{letter}   {title}")
    figure.supxlabel("bound relative to AutoLip (dashed)", fontsize=8)
    bounds = table[table["method"] != "autolip"]
    figure.legend(*legend_entries(bounds, "other implementation"), loc="outside upper center", ncols=4)
    missing = "" if facts["solver_run"] else "; LipSDP by a solver not run"
    draws = _count(random, "draw")
    if len(trained):
        draws += " and " + _count(trained, "training")
    corner_note(figure, f"{context['scale']} scale, {draws}, lines: their range{missing}")
    return figure


def _count(table: pd.DataFrame, what: str) -> str:
    number = table["draw"].nunique()
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _draw_part(axes: Axes, table: pd.DataFrame, references: References) -> None:
    draw_groups(axes, table[table["method"] != "autolip"], "ratio", references)
    axes.axvline(1, color=BOUND_LOOKS["autolip"].color, linewidth=0.8, linestyle="--")
    axes.set_xlim(left=min(axes.get_xlim()[0], 0.1))


def measure(tables: Tables, context: Context) -> Facts:
    """Mean ratios to AutoLip by net and method, beside those of an independent implementation."""
    table = only(tables)
    means = table.groupby(["net", "method"])["ratio"].mean()
    ours = {
        net: {method: float(means[net, method]) for method in means[net].index}
        for net in dict.fromkeys(table["net"])
    }
    printed = context["printed"]
    return {
        "mean_ratio_to_autolip": ours,
        "other_implementation": _ratios({net: printed[net] for net in ours if net in printed}),
        "solver_run": "lipsdp" in set(table["method"]),
        "seconds": table.groupby("method")["seconds"].mean().to_dict(),
    }


def _ratios(printed: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Values by net and method relative to AutoLip's."""
    return {
        net: {name: value / values["autolip"] for name, value in values.items() if name != "autolip"}
        for net, values in printed.items()
    }
