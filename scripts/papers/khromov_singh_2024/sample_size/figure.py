"""The bounds against the number of training points."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine
from pipeline.claims.slopes import judge_slope
from pipeline.figures.looks import LOOKS, corner_note, draw_seeds, mark_diverged, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.slopes import count_axis, draw_slopes
from pipeline.figures.width import JUDGED
from pipeline.statistics.growth import BOUNDS, numbers_of, slopes_along, training_rows, warmup_epochs


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """The number of training points as ``size``, from the name of the variant."""
    return table.assign(size=numbers_of(table["variant"]))


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
    draw_slopes(
        *(panels["bounds"], facts["slopes"], facts["slopes_of_the_paper"]),
        sorted(trained["size"].unique()),
        top=0.2,
        left=False,
    )
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
    settled = behind_the_warmup(data, context["settings"]["training"])
    names = [*BOUNDS, "train_loss", "test_loss", "test_error", "epochs"]
    means = data.groupby("size")[names].mean()
    return {
        "slopes": slopes_along(settled, "size"),
        "sizes_behind_the_warmup": int(settled["size"].nunique()),
        "runs_left_out_that_stop_in_the_warmup": len(data) - len(settled),
        "slopes_of_the_paper": context["printed"]["slopes"],
        "r_squared_of_the_paper": context["printed"]["r_squared"],
        "means": {str(size): row.to_dict() for size, row in means.iterrows()},
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
    }


def behind_the_warmup(data: pd.DataFrame, training: Mapping[str, Any]) -> pd.DataFrame:
    """The runs that stop when the learning rate has been at its largest; small sets have few updates."""
    warmup = data["number_of_points"].map(lambda points: warmup_epochs(training, int(points)))
    return data[data["epochs"] >= warmup]


@claim(
    "C25",
    "Bounds grow more slowly than linearly with the number of training points",
    reported="slopes 0.37 (C_lower), 0.53 (C_upper), 0.36 (C_avg)",
    unit="slope of C_lower",
    refuted="A bound falls with the number of training points, or grows faster than it.",
    untested="Fewer than three numbers of points have runs that stop behind the warm-up.",
    since="2026-11-28",
    changes={
        "2026-11-28": "runs that stop in the warm-up are left out, and at laptop scale small sets train "
        "on until behind it. The slopes of the shorter runs were known."
    },
    of_a_change=True,
)
def sublinear_in_samples(facts: Facts) -> Finding:
    """Slope of the log of each bound on the log of the number of training points, over the runs
    that stop behind the warm-up of the learning rate. A part holds if its interval lies in [0, 1].
    Some nets on small sets stop with a training error of up to a seventh, which is not asked about."""
    if facts["sizes_behind_the_warmup"] < 3:
        raise UntestedError("fewer than three numbers of points have runs that stop behind the warm-up")
    return combine({word: judge_slope(facts["slopes"], bound, 0, 1) for bound, word in JUDGED.items()})
