"""Draw bounds and the way of the weights under gradient descent and under Adam."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.epochs import category_axis, draw_training, epoch_axis
from pipeline.statistics.growth import training_rows
from pipeline.figures.looks import LOOKS, Look, corner_note, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.statistics.growth import own_ends
from pipeline.statistics.intervals import ratio_interval

OPTIMIZERS = {"adam~0": "SGD", "adam~1": "Adam"}

QUANTITIES = {
    "bounds": {name: LOOKS[name] for name in ("c_upper", "c_lower", "c_avg")},
    "distance": {"parameter_distance": Look("#009E73", "D", "-", "distance")},
}
"""What stands in the upper panels and what in the lower ones."""

_ADAM = {"^": "v", "o": "P", "s": "X", "D": "d"}
"""Markers for Adam in place of those for gradient descent."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Against epochs on the left, at each one's end on the right."""
    data = training_rows(tables["optimizer_epochs"])
    ends = own_ends(data, _target(context))
    last = shared_end(data)
    figure, grid = plt.subplots(
        2, 2, figsize=(6.9, 4.6), layout="constrained", width_ratios=(1.5, 1), height_ratios=(1.25, 1)
    )
    for (left, right), letters, looks in zip(grid, ("ab", "cd"), QUANTITIES.values(), strict=True):
        for name, look in looks.items():
            for variant, title in OPTIMIZERS.items():
                part = data[(data["variant"] == variant) & (data["epoch"] <= last)]
                part = part[part[name] > 0]  # no way at the start
                draw_training(left, part, name, look_of(look, variant, title))
            _draw_ends(right, ends, name, look)
        epoch_axis(left, last=last)
        category_axis(right, list(OPTIMIZERS.values()))
        for axes, letter in ((left, letters[0]), (right, letters[1])):
            plain_log_axis(axes)
            axes.set_title(letter)
    grid[0, 0].set_ylabel("bound (logits per unit of input)")
    grid[1, 0].set_ylabel("distance travelled by weights")
    grid[0, 1].set_xlabel("at each one's end")
    grid[1, 1].set_xlabel("at each one's end")
    grid[0, 0].legend(loc="upper left", ncols=1, fontsize=6)
    grid[1, 0].legend(loc="upper left", fontsize=6)
    hollow = "; hollow: not met, the last epoch" if not ends["met"].all() else ""
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {data['seed'].nunique()} seeds, "
        f"band: ±1 std; end: gradient norm {_target(context):g}{hollow}",
    )
    return figure


def look_of(look: Look, variant: str, title: str) -> Look:
    """Adam is dashed and has other markers."""
    label = f"{look.label.split('  (')[0]}, {title}"
    if variant == "adam~1":
        return look._replace(line="--", marker=_ADAM[look.marker], label=label)
    return look._replace(label=label)


def shared_end(data: pd.DataFrame) -> int:
    """The last epoch that some seed of either optimiser still has."""
    return int(data.groupby("variant")["epoch"].max().min())


def measure(tables: Tables, context: Context) -> Facts:
    """Adam over gradient descent, at the same epoch and at each one's end."""
    data = training_rows(tables["optimizer_epochs"])
    ends = own_ends(data, _target(context))
    last = shared_end(data)
    names = [name for looks in QUANTITIES.values() for name in looks]
    return {
        "adam_over_sgd_at_the_same_epoch": {
            "epoch": last,
            **_ratios(data[data["epoch"] == last], names),
        },
        "adam_over_sgd_at_each_ones_end": _ratios(ends, names),
        "end_epochs": {
            title: ends.loc[ends["variant"] == variant, "epoch"].tolist()
            for variant, title in OPTIMIZERS.items()
        },
        "end_epochs_of_the_paper": {"SGD": 83000, "Adam": 1100},
        "seeds_that_met_the_target": {
            title: int(ends.loc[ends["variant"] == variant, "met"].sum())
            for variant, title in OPTIMIZERS.items()
        },
    }


def _ratios(rows: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    adam, descent = rows[rows["variant"] == "adam~1"], rows[rows["variant"] == "adam~0"]
    if adam.empty or descent.empty:
        return {}
    return {name: asdict(ratio_interval(adam[name], descent[name])) for name in names}


def _target(context: Context) -> float:
    return float(context["settings"]["training"]["target_gradient_norm"])


def _draw_ends(axes: Axes, ends: pd.DataFrame, name: str, look: Look) -> None:
    """A mark per seed, and the mean as a bar."""
    for place, variant in enumerate(OPTIMIZERS):
        part = ends[ends["variant"] == variant].sort_values("seed")
        spread = [place + 0.06 * (i - (len(part) - 1) / 2) for i in range(len(part))]
        for x, value, met in zip(spread, part[name], part["met"], strict=True):
            axes.plot(
                *(x, value),
                marker=look.marker,
                color=look.color,
                markerfacecolor=look.color if met else "white",
                markeredgewidth=0.8,
            )
        mean = part[name].mean()
        axes.plot([place - 0.25, place + 0.25], [mean, mean], color=look.color, linewidth=0.8)
