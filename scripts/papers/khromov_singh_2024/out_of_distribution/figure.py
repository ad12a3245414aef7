"""Draw bounds and losses at points with Gaussian noise against width."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact, measured, select
from pipeline.figures.looks import (
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.perturbed import radius_legend, radius_looks, share_scale
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.curves import peak_location
from pipeline.statistics.intervals import Interval
from pipeline.statistics.perturbed import mean_ratio_to_clean_lower, ratios_to_clean


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds at noisy training points, and the loss at noisy training and test points."""
    table = only(tables)
    figure, panels = plt.subplots(1, 3, figsize=(6.9, 2.9), layout="constrained")
    train, test = (table[table["points"] == part] for part in ("train", "test"))
    looks = radius_looks(sorted(table["radius"].unique()), "{:g}")
    for radius, look in looks.items():
        draw_seeds(panels[0], train[train["radius"] == radius], "width", "c_lower", look)
        average = look._replace(line=":", label="_")
        draw_seeds(panels[0], train[train["radius"] == radius], "width", "c_avg", average)
        draw_seeds(panels[1], train[train["radius"] == radius], "width", "loss", look)
        draw_seeds(panels[2], test[test["radius"] == radius], "width", "loss", look)
    threshold = context["settings"]["double_descent"]["threshold_width"]
    for axes in panels:
        width_axis(axes, sorted(table["width"].unique()))
        draw_threshold(axes, threshold)
        plain_log_axis(axes)
        axes.set_xlabel("width")
    share_scale(panels[1], panels[2])
    panels[0].set_ylim(bottom=panels[0].dataLim.intervaly[0] / 1.6)
    panels[0].set(title="a   training points", ylabel="bound (logits per unit of input)")
    panels[1].set(title="b   training points", ylabel="cross-entropy (nats)")
    panels[2].set(title="c   test points")
    radius_legend(figure, looks, "standard deviation of the noise (data: 1)")
    hollow = "; hollow: epoch cap" if "epoch_cap" in set(table["stop_reason"]) else ""
    corner_note(
        figure,
        f"{context['scale']} scale, {table['seed'].nunique()} seeds, band: ±1 std; "
        rf"solid: $C_\mathrm{{lower}}$, dotted: $C_\mathrm{{avg}}${hollow}",
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Bounds and losses with noise relative to those without, and where the bound peaks."""
    table = only(tables)
    train = table[table["points"] == "train"]
    return {
        "relative_to_no_noise": {
            part: ratios_to_clean(own, ("c_lower", "c_avg", "loss"))
            for part, own in table.groupby("points")
        },
        "peak_of_c_lower": {
            f"{radius:g}": peak_location(own, "width", "c_lower").fact()
            for radius, own in train.groupby("radius")
        },
        "c_lower_over_that_without_noise": over_all_widths(tables),
    }


def over_all_widths(tables: Tables) -> Facts:
    """By radius, C_lower at noisy training points relative to that without noise."""
    radii = tables["out_of_distribution"]["radius"]
    return {
        f"radius {radius:g}": measured(_mean_ratio, tables, radius)
        for radius in sorted(radii[radii > 0].unique())
    }


def _mean_ratio(tables: Tables, radius: float) -> Interval:
    rows = select(tables, "out_of_distribution", points="train")
    return mean_ratio_to_clean_lower(rows, radius, "c_lower")


@claim(
    "C9",
    "Gaussian noise on the points hardly changes C_lower",
    unit="ratio of C_lower",
    refuted="At some size of the noise C_lower changes by more than a tenth.",
    untested="There is no noise of this size, or one seed.",
    since="2026-11-28",
)
def robust_to_noise(facts: Facts) -> Finding:
    """C_lower at training points with Gaussian noise over that without, mean over widths by seed, at
    each radius. A part holds if the interval of its mean lies in [0.9, 1.1]."""
    ratios = facts["c_lower_over_that_without_noise"]
    return combine({name: judge_fact(ratio, 0.9, 1.1) for name, ratio in ratios.items()})
