"""Draw the bounds against the number of hidden layers, trained and at initialisation."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.figures.epochs import draw_geometric, epoch_axis, ordered_looks, training_rows
from pipeline.figures.looks import LOOKS, corner_note, draw_seeds, mark_diverged, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.slopes import count_axis, draw_slopes
from pipeline.statistics.growth import BOUNDS, slopes_along

PAPER_SLOPES = {
    "trained": {"c_upper": 3.33, "c_lower": 2.03, "c_avg": 1.19},
    "at initialisation": {"c_upper": 0.30, "c_lower": -2.52, "c_avg": -2.84},
}
"""Log-log slopes against the number of hidden layers (Figure S32)."""

FIRST_LAYERS = 2
"""Least number of hidden layers in the fits. The paper says so of trained nets only; what fits through
all depths give stands in the facts."""


def with_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The number of hidden layers from the name of the variant."""
    return table.assign(layers=table["variant"].str.partition("~")[2].astype(int))


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
        draw_slopes(axes, data, "layers", PAPER_SLOPES[stage], first=FIRST_LAYERS, top=top, left=True)
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
        fits = slopes_along(data, "layers", FIRST_LAYERS)
        means = data.groupby("layers")[list(BOUNDS)].mean()
        found[stage] = {
            "slopes": {name: asdict(fit) for name, fit in fits.items()},
            "slopes_through_all_depths": {
                name: fit.slope for name, fit in slopes_along(data, "layers").items()
            },
            "slopes_of_the_paper": PAPER_SLOPES[stage],
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
