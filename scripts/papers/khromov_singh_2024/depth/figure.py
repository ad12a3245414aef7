"""The bounds against the number of hidden layers, trained and at initialisation."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine
from pipeline.claims.slopes import judge_slope
from pipeline.figures.epochs import draw_geometric, epoch_axis, ordered_looks
from pipeline.figures.looks import LOOKS, corner_note, draw_seeds, mark_diverged, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.slopes import count_axis, draw_slopes
from pipeline.figures.width import JUDGED
from pipeline.statistics.growth import BOUNDS, numbers_of, slopes_along, training_rows

FIRST_LAYERS = 2
"""Least number of hidden layers in the fits. The paper says so of trained nets only; what fits through
all depths give stands in the facts."""


def with_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The number of hidden layers from the name of the variant."""
    return table.assign(layers=numbers_of(table["variant"]))


def stages(tables: Tables) -> dict[str, pd.DataFrame]:
    """Rows of the trained nets and of their initialisations."""
    trained = with_layers(tables["depth"])
    start = training_rows(with_layers(tables["depth_epochs"]), epoch=0)
    return {
        "trained": training_rows(trained),
        "at initialisation": start.assign(stop_reason="kept"),
    }


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Against depth above, against epochs by depth below."""
    figure, grid = plt.subplots(2, 2, figsize=(6.9, 5), layout="constrained")
    for axes, letter, (stage, data) in zip(grid[0], "ab", stages(tables).items(), strict=True):
        for name in BOUNDS:
            draw_seeds(axes, data, "layers", name, LOOKS[name])
        top = 0.93 if stage == "trained" else 0.19  # where no curve is
        found, deep = facts[stage], data.loc[data["layers"] >= FIRST_LAYERS, "layers"]
        draw_slopes(
            *(axes, found["slopes"], found["slopes_of_the_paper"], sorted(deep.unique())),
            top=top,
            left=True,
        )
        plain_log_axis(axes)
        count_axis(axes, data["layers"], "hidden layers")
        axes.set_title(f"{letter}  {stage}")
    every = training_rows(with_layers(tables["depth_epochs"]))
    depths = sorted(every["layers"].unique())
    looks = ordered_looks([f"{depth}" for depth in depths])
    for axes, letter, name in zip(grid[1], "cd", ("c_lower", "c_upper"), strict=True):
        for depth, look in zip(depths, looks, strict=True):
            draw_geometric(axes, every[every["layers"] == depth], name, look)
        plain_log_axis(axes)
        epoch_axis(axes, last=every["epoch"].max())
        symbol = LOOKS[name].label.partition("  ")[0]
        axes.set(title=letter, ylabel=f"{symbol} (logits per unit of input)")
    mark_diverged(grid[0, 0], with_layers(tables["depth"]), "layers")
    grid[0, 0].set_ylabel("bound (logits per unit of input)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    grid[1, 0].legend(title="hidden layers", title_fontsize=7, loc="upper left", ncols=2)
    _note(figure, tables, context)
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Slopes beside the paper's, means by depth, and where training stopped."""
    table = with_layers(tables["depth"])
    train = table[table["points"] == "train"]
    found: dict[str, Any] = {}
    for stage, data in stages(tables).items():
        means = data.groupby("layers")[list(BOUNDS)].mean()
        found[stage] = {
            "slopes": slopes_along(data, "layers", FIRST_LAYERS),
            "slopes_through_all_depths": {
                name: fit["slope"] for name, fit in slopes_along(data, "layers").items()
            },
            "slopes_of_the_paper": context["printed"][stage],
            "means": {str(depth): row.to_dict() for depth, row in means.iterrows()},
        }
    reasons = train.groupby(["layers", "stop_reason"]).size()
    found["stop_reasons"] = {f"{d} layers, {reason}": int(n) for (d, reason), n in reasons.items()}
    found["parameters"] = {
        str(d): int(n) for d, n in train.groupby("layers")["parameters"].first().items()
    }
    return found


def _note(figure: Figure, tables: Tables, context: Context) -> None:
    table = tables["depth"]
    hollow = (
        "; hollow: a seed stopped at the epoch cap" if "epoch_cap" in set(table["stop_reason"]) else ""
    )
    corner_note(
        figure,
        f"{context['scale']} scale, width {table['width'].iloc[0]}, {table['seed'].nunique()} seeds, "
        f"band: ±1 std{hollow}; dashed: fits",
    )


@claim(
    "C23",
    "Trained bounds grow faster than linearly with depth; at initialisation C_lower and C_avg fall",
    reported="slopes 2.03, 3.33, 1.19 trained; -2.52, 0.30, -2.84 at initialisation (lower, upper, "
    "average)",
    unit="slope on the number of hidden layers",
    refuted="Trained, a bound grows no faster than the number of layers; or at initialisation C_lower "
    "or C_avg does not fall, or C_upper falls or grows faster than the number of layers.",
    untested="Fewer than two depths from two hidden layers on, or one seed.",
    since="2026-11-28",
    of_a_change=True,
)
def grows_with_layers(facts: Facts) -> Finding:
    """Slope of the log of each bound on the log of the number of hidden layers, from 2 on. Trained: a
    part holds if its interval lies above 1. At initialisation: below 0 for C_lower and C_avg, in
    [0, 1] for C_upper."""
    parts = {}
    for bound, word in JUDGED.items():
        parts[f"{word}, trained"] = judge_slope(facts["trained"]["slopes"], bound, least=1)
    for bound, word in JUDGED.items():
        limits = (0, 1) if bound == "c_upper" else (-math.inf, 0)
        found = facts["at initialisation"]["slopes"]
        parts[f"{word}, at initialisation"] = judge_slope(found, bound, *limits)
    return combine(parts)
