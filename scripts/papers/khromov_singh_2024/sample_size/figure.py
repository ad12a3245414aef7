"""Draw the bounds against the number of training points."""

from dataclasses import asdict

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.figures.epochs import training_rows
from pipeline.figures.looks import LOOKS, corner_note, draw_seeds, mark_diverged, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.slopes import count_axis, draw_slopes
from pipeline.statistics.growth import BOUNDS, slopes_along

PAPER_SLOPES = {"c_upper": 0.53, "c_lower": 0.37, "c_avg": 0.36}
PAPER_R_SQUARED = {"c_upper": 0.9680, "c_lower": 0.9932, "c_avg": 0.9928}
"""Against the number of training points, log-log (Figure S35)."""


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the training points with their number as ``size``, the most where none is named."""
    sizes = table["variant"].str.partition("~")[2].astype(int)
    return table.assign(size=sizes)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, losses and errors on the right."""
    table = only(tables)
    data = prepared(table)
    trained = training_rows(data)
    figure, panels = plt.subplot_mosaic(
        [["bounds", "loss"], ["bounds", "error"]],
        figsize=(6.9, 3.4),
        layout="constrained",
        width_ratios=(1.15, 1),
    )
    for name in BOUNDS:
        draw_seeds(panels["bounds"], trained, "size", name, LOOKS[name])
    draw_slopes(panels["bounds"], trained, "size", PAPER_SLOPES, top=0.2, left=False)
    mark_diverged(panels["bounds"], data, "size")
    for name in ("test", "train"):
        draw_seeds(panels["loss"], trained, "size", f"{name}_loss", LOOKS[name])
        in_percent = trained.assign(error=100 * trained[f"{name}_error"])
        draw_seeds(panels["error"], in_percent, "size", "error", LOOKS[name])
    for name in ("bounds", "loss"):
        plain_log_axis(panels[name])
    for axes in panels.values():
        count_axis(axes, trained["size"], "training points")
    low, high = panels["bounds"].get_ylim()
    panels["bounds"].set(
        title="a", ylabel="bound (logits per unit of input)", ylim=(low / 2, high * 2.4)
    )
    panels["loss"].set(title="b", ylabel="cross-entropy (nats)", xlabel="")
    panels["error"].set(title="c", ylabel="error (%)", ylim=(-4, None))
    panels["loss"].tick_params(labelbottom=False)
    panels["bounds"].legend(loc="upper left")
    panels["error"].legend(loc="best")
    hollow = "; hollow: stopped at the epoch cap" if "epoch_cap" in set(data["stop_reason"]) else ""
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {data['seed'].nunique()} seeds, "
        f"band: ±1 std{hollow}; dashed: fits",
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Slopes beside the paper's, and means by number of points."""
    table = only(tables)
    data = training_rows(prepared(table))
    names = [*BOUNDS, "train_loss", "test_loss", "test_error", "epochs"]
    means = data.groupby("size")[names].mean()
    return {
        "slopes": {name: asdict(fit) for name, fit in slopes_along(data, "size").items()},
        "slopes_of_the_paper": PAPER_SLOPES,
        "r_squared_of_the_paper": PAPER_R_SQUARED,
        "means": {str(size): row.to_dict() for size, row in means.iterrows()},
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
    }
