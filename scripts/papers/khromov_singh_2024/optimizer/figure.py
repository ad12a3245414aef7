"""Bounds and the way of the weights under gradient descent and under Adam."""

import math
from statistics import geometric_mean
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    MaxNLocator,
)

from pipeline.claims.claim import claim
from pipeline.claims.findings import (
    Finding,
    by_seed,
    combine,
    judge_fact,
    measured,
    paired,
    readable,
)
from pipeline.figures.epochs import category_axis, draw_training, epoch_axis
from pipeline.figures.looks import LOOKS, Look, corner_note, plain_log_axis
from pipeline.figures.numbers import PLAIN
from pipeline.figures.room import Context, Facts, Tables
from pipeline.statistics.growth import last_of_all, training_rows
from pipeline.statistics.intervals import Interval, ratio_interval

OPTIMIZERS = {"adam~0": "SGD", "adam~1": "Adam"}

QUANTITIES = {
    "bounds": {name: LOOKS[name] for name in ("c_upper", "c_lower", "c_avg")},
    "distance": {"parameter_distance": Look("#009E73", "D", "-", "distance")},
}
"""What stands in the upper panels and what in the lower ones."""

_ADAM = {"^": "v", "o": "P", "s": "X", "D": "d"}
"""Markers for Adam in place of those for gradient descent."""


JUDGED = ("c_lower", "c_upper", "c_avg", "parameter_distance")
"""In the order of the claim's parts."""


def measure(tables: Tables, context: Context) -> Facts:
    """Adam over gradient descent, at the same epoch and at each one's end."""
    data = training_rows(tables["optimizer_epochs"])
    ends = own_ends(data, _target(context))
    last = shared_end(data)
    target = context["printed"]["gradient_norm_at_the_end"]
    names = [name for looks in QUANTITIES.values() for name in looks]
    by_title = {title: ends[ends["variant"] == variant] for variant, title in OPTIMIZERS.items()}
    return {
        "epoch_of_both": last,
        "end_epochs": {title: rows["epoch"].tolist() for title, rows in by_title.items()},
        "end_epochs_of_the_paper": context["printed"]["end_epochs"],
        "seeds_that_met_the_target": {title: int(rows["met"].sum()) for title, rows in by_title.items()},
        "ends": {
            title: rows[["seed", "met", *names]].sort_values("seed").to_dict("records")
            for title, rows in by_title.items()
        },
        "adam_over_sgd_of_the_same_seeds": {
            "own end": {name: measured(_ratio_at_own_ends, data, target, name) for name in JUDGED},
            "same epoch": {name: measured(_ratio_at_same_epoch, data, name) for name in JUDGED},
        },
    }


def shared_end(data: pd.DataFrame) -> int | None:
    """The last epoch that some seed of either optimiser still has."""
    return int(data.groupby("variant")["epoch"].max().min()) if len(data) else None


def own_ends(data: pd.DataFrame, target: float) -> pd.DataFrame:
    """Of each optimiser and seed the first kept checkpoint at which the gradient norm is ``target``.

    Gradient norms can be as small at initialisation and then rise, so only checkpoints behind the
    largest one count. Where none is left it is the last checkpoint, and ``met`` is false.
    """
    rows = []
    for _, one in data.sort_values("epoch").groupby(["variant", "seed"]):
        late = one.loc[one["gradient_norm"].idxmax() :]
        met = late[late["gradient_norm"] <= target]
        row = one.iloc[-1] if met.empty else met.iloc[0]
        rows.append(row.to_dict() | {"met": not met.empty})
    return pd.DataFrame(rows, columns=[*data.columns, "met"])


def _ratio_at_own_ends(data: pd.DataFrame, target: float, name: str) -> Interval:
    return _paired_ratio(own_ends(data, target), name)


def _ratio_at_same_epoch(data: pd.DataFrame, name: str) -> Interval:
    return _paired_ratio(last_of_all(data, "variant"), name)


def _paired_ratio(rows: pd.DataFrame, name: str) -> Interval:
    """Adam over gradient descent, of the seeds that both have."""
    values = [by_seed(rows[rows["variant"] == variant], name) for variant in ("adam~1", "adam~0")]
    return ratio_interval(*paired(*values), paired=True)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Against epochs on the left, at each one's end on the right."""
    data = training_rows(tables["optimizer_epochs"])
    last = facts["epoch_of_both"]
    figure, grid = plt.subplots(
        2, 2, figsize=(6.9, 4.6), layout="constrained", width_ratios=(1.5, 1), height_ratios=(1.25, 1)
    )
    for (left, right), letters, looks in zip(grid, ("ab", "cd"), QUANTITIES.values(), strict=True):
        for name, look in looks.items():
            for variant, title in OPTIMIZERS.items():
                part = data[(data["variant"] == variant) & (data["epoch"] <= last)]
                part = part[part[name] > 0]  # no way at the start
                draw_training(left, part, name, look_of(look, variant, title))
            _draw_ends(right, facts["ends"], name, look)
        epoch_axis(left, last=last)
        category_axis(right, list(OPTIMIZERS.values()))
        for axes, letter in ((left, letters[0]), (right, letters[1])):
            plain_log_axis(axes)
            axes.set_title(letter)
    grid[1, 1].set_yscale("linear")
    grid[1, 1].yaxis.set_major_locator(MaxNLocator(5))
    grid[1, 1].yaxis.set_major_formatter(PLAIN)
    grid[1, 1].set_ylim(0, 1.1 * max((end["parameter_distance"] for end in _all(facts)), default=1))
    grid[0, 0].set_ylabel("bound (logits per unit of input)")
    grid[1, 0].set_ylabel("distance of weights (2-norm)")
    grid[0, 1].set_xlabel("at each one's end")
    grid[1, 1].set_xlabel("at each one's end")
    grid[0, 0].legend(loc="upper left", ncols=1, fontsize=6)
    grid[1, 0].legend(loc="upper left", fontsize=6)
    met = all(end["met"] for end in _all(facts))
    hollow = "" if met else "; hollow: not met, the last epoch"
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {data['seed'].nunique()} seeds, "
        f"band: ±1 std; end: gradient norm {_target(context):g}{hollow}",
    )
    return figure


def _all(facts: Facts) -> list[dict[str, Any]]:
    """The ends of all seeds of both."""
    return [end for ends in facts["ends"].values() for end in ends]


def look_of(look: Look, variant: str, title: str) -> Look:
    """Adam is dashed and has other markers."""
    label = f"{look.label.split('  (')[0]}, {title}"
    if variant == "adam~1":
        return look._replace(line="--", marker=_ADAM[look.marker], label=label)
    return look._replace(label=label)


def _target(context: Context) -> float:
    return float(context["settings"]["training"]["target_gradient_norm"])


def _draw_ends(axes: Axes, ends: Facts, name: str, look: Look) -> None:
    """A mark per seed, and their geometric mean as a bar."""
    for place, title in enumerate(OPTIMIZERS.values()):
        values = [end[name] for end in ends[title]]
        for i, end in enumerate(ends[title]):
            axes.plot(
                *(place + 0.06 * (i - (len(values) - 1) / 2), end[name]),
                marker=look.marker,
                color=look.color,
                markerfacecolor=look.color if end["met"] else "white",
                markeredgewidth=0.8,
            )
        mean = geometric_mean(values) if values else math.nan
        axes.plot([place - 0.25, place + 0.25], [mean, mean], color=look.color, linewidth=0.8)


@claim(
    "C21",
    "Adam has larger bounds than gradient descent, also at its own end, and goes further",
    unit="Adam / gradient descent",
    refuted="A bound or the distance under Adam is no larger, at its own end or at the same epoch.",
    untested="The two share no epoch, or one seed.",
    since="2026-11-28",
    of_a_change=True,
)
def adam_above_sgd(facts: Facts) -> Finding:
    """Each bound, and the distance that the parameters went, under Adam over that under gradient
    descent, ratio of the means over seeds: at each one's end, the first kept checkpoint behind the
    largest gradient norm at which this is at most 0.01 (the last one where there is none), and at the
    last epoch that both have. A part holds if its interval lies above 1. Where a run's gradient norm
    comes down is a matter of chance, with a skewed spread that four seeds do not show: the intervals at
    the own ends cover less than they say."""
    return combine(
        {
            f"{readable(name)}, {when}": judge_fact(ratios[name], least=1)
            for when, ratios in facts["adam_over_sgd_of_the_same_seeds"].items()
            for name in JUDGED
        }
    )
