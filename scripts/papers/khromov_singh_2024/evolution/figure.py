"""The growth of the bounds during training, for a narrow and a wide net and for both losses."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.epochs import draw_training, epoch_axis
from pipeline.figures.looks import LOOKS, Look, corner_note, plain_log_axis
from pipeline.figures.numbers import PLAIN
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import JUDGED
from pipeline.statistics.growth import (
    BOUNDS,
    fitted,
    last_rows,
    slopes,
    stable_epochs,
    stable_from,
    training_rows,
)
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

MSE_WIDTH = 256

NETS = {"evolution": "width 256", "evolution_wide": "wide net"}
"""What claims call the nets that are trained with cross-entropy."""

_BESIDE = {"c_upper": 1.5, "c_avg": 1 / 1.6}
"""Factors that part fitted lines from their curves."""

EXTENDED = Look("#56B4E9", "D", "", r"$C_{S^*}$  (also between the points)")


class Panel(NamedTuple):
    """One net: its curves, and the rows of the extended set, which may be none."""

    experiment: str
    data: pd.DataFrame
    extended: pd.DataFrame

    @property
    def title(self) -> str:
        """Width and loss."""
        loss = "squared error" if self.experiment == "double_descent_mse" else "cross-entropy"
        return f"width {self.data['width'].iloc[0]:,}, {loss}"

    @property
    def over_all_points(self) -> pd.DataFrame:
        """Rows of the union of all sets of points."""
        return self.extended[self.extended["points"] == "all"]

    @property
    def is_papers(self) -> bool:
        """Whether it is the net of Table S3."""
        return self.experiment == "evolution" and set(self.data["width"]) == {256}


def panels(tables: Tables) -> list[Panel]:
    """The three columns of the figure."""
    extended = tables["extended_set"]
    return [
        Panel(
            experiment,
            training_rows(tables[f"{experiment}_epochs"], **where),
            extended[extended["experiment"] == experiment],
        )
        for experiment, where in (
            ("evolution", {}),
            ("evolution_wide", {}),
            ("double_descent_mse", {"width": MSE_WIDTH}),
        )
    ]


def measure(tables: Tables, context: Context) -> Facts:
    """Growth factors, slopes, C_S* over C_lower, and C_lower at the epochs of Table S3."""
    return {panel.experiment: _facts(panel, context) for panel in panels(tables)}


def _facts(panel: Panel, context: Context) -> Facts:
    data, ends, printed = panel.data, last_rows(panel.data), context["printed"]
    training = context["settings"][panel.experiment]["training"]
    paper = printed["stable_phase"].get(panel.experiment, {})
    start = stable_from(context["scale"], training, data, paper.get("from"))
    met = ends["gradient_norm"] <= training["target_gradient_norm"]
    found: Facts = {
        "growth": {name: measured(_growth, data, name) for name in BOUNDS},
        "growth_of_the_paper": printed["growth"].get(panel.experiment, {}),
        "stable_from_epoch": start,
        "slopes": slopes(data, start),
        "slopes_of_the_paper": paper.get("slopes", {}),
        "last_epochs": ends["epoch"].tolist(),
        "seeds_that_met_the_target": int(met.sum()),
        "upper_over_lower_at_the_end": float((ends["c_upper"] / ends["c_lower"]).mean()),
    }
    if len(panel.over_all_points):
        found["extended_over_lower"] = _extended_over_lower(panel)
    if panel.experiment in NETS:
        found["extended_set_at_the_last_epoch"] = {
            "share_of_the_gap": measured(_share_of_the_gap, panel),
            "over_lower": measured(_enlargement, panel),
        }
    if panel.is_papers:
        found["c_lower_by_epoch"] = _beside_table_s3(data, printed["c_lower"])
    return found


def _growth(data: pd.DataFrame, name: str) -> Interval:
    """Mean at the last kept checkpoint over that at initialisation."""
    ends = last_rows(data).sort_values("seed")
    starts = data[data["epoch"] == 0].sort_values("seed")
    return ratio_interval(ends[name], starts[name], paired=True)


def _extended_over_lower(panel: Panel) -> dict[str, Any]:
    """By epoch, means over the nets that were measured on the extended set."""
    both = panel.over_all_points.merge(panel.data, on=["seed", "epoch"])
    both["ratio"] = both["maximum"] / both["c_lower"]
    both["gap"] = both["c_upper"] / both["maximum"]
    means = both.groupby("epoch")[["ratio", "gap"]].mean()
    return {
        "points": int(panel.over_all_points["count"].max()),
        "by_epoch": {str(epoch): float(value) for epoch, value in means["ratio"].items()},
        "largest": float(both["ratio"].max()),
        "upper_over_extended": {str(epoch): float(value) for epoch, value in means["gap"].items()},
    }


def _share_of_the_gap(panel: Panel) -> Interval:
    """Mean over seeds, in logarithms: 0 where C_S* is C_lower, 1 where it is C_upper."""
    found = _enlarged(panel).merge(panel.data[["seed", "epoch", "c_upper"]], on=["seed", "epoch"])
    shares = np.log(found["largest"] / found["train"]) / np.log(found["c_upper"] / found["train"])
    return mean_interval(shares)


def _enlargement(panel: Panel) -> Interval:
    found = _enlarged(panel)
    return ratio_interval(found["largest"], found["train"], paired=True)


def _enlarged(panel: Panel) -> pd.DataFrame:
    """Largest norm over the training points and over all sets, at the last epoch of each seed."""
    rows = panel.extended
    if rows.empty:
        raise UntestedError(f"the table extended_set has no rows of {panel.experiment}")
    rows = rows[rows["epoch"] == rows.groupby("seed")["epoch"].transform("max")]
    train = rows[rows["points"] == "train"].set_index(["seed", "epoch"])["maximum"]
    largest = rows.groupby(["seed", "epoch"])["maximum"].max()
    return pd.DataFrame({"train": train, "largest": largest}).dropna().reset_index()


def _beside_table_s3(data: pd.DataFrame, printed: dict[str, float]) -> dict[str, dict[str, float]]:
    by_epoch = data.groupby("epoch")["c_lower"]
    return {
        epoch: {
            "mean": float(by_epoch.get_group(int(epoch)).mean()),
            "std": float(by_epoch.get_group(int(epoch)).std()),
            "paper": value,
        }
        for epoch, value in printed.items()
        if int(epoch) in by_epoch.groups
    }


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Log-log above and linear below, a column per net."""
    columns = panels(tables)
    figure, grid = plt.subplots(2, len(columns), figsize=(6.9, 4.5), layout="constrained")
    for letter, panel, (above, below) in zip("abc", columns, grid.T, strict=True):
        with plt.rc_context({"lines.markersize": 2.4, "lines.linewidth": 1.1}):
            for axes in (above, below):
                _draw_curves(axes, panel)
        if panel.is_papers:
            _draw_published(above, panel, context["printed"]["c_lower"])
        _draw_slopes(above, panel, facts[panel.experiment])
        epoch_axis(above, last=panel.data["epoch"].max())
        plain_log_axis(above)
        above.set_title(f"{letter}  {panel.title}")
        below.set(xlabel="epoch", ylim=(0, None), xlim=(0, None))
        below.xaxis.set_major_locator(MaxNLocator(4))
        below.xaxis.set_major_formatter(PLAIN)
    for axes in grid[:, 0]:
        axes.set_ylabel("bound (logits per unit of input)")
    for axes in grid[:, 2]:
        axes.set_ylabel("bound (outputs per unit of input)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    seeds = " / ".join(str(panel.data["seed"].nunique()) for panel in columns)
    nets = tables["extended_set"].groupby("experiment")["seed"].nunique().max()
    corner_note(
        figure,
        f"{context['scale']} scale, {seeds} seeds, band: ±1 std; $C_{{S^*}}$: {nets} of them, "
        "thin lines: slopes of the stable phase",
    )
    return figure


def _draw_curves(axes: Axes, panel: Panel) -> None:
    for name in BOUNDS:
        draw_training(axes, panel.data, name, LOOKS[name])
    if len(panel.over_all_points):
        means = panel.over_all_points.groupby("epoch")["maximum"].mean()
        axes.plot(
            *(means.index, means),
            color=EXTENDED.color,
            linestyle="none",
            marker=EXTENDED.marker,
            markersize=3.4,
            markeredgecolor="#222222",
            markeredgewidth=0.4,
            zorder=4,
            label=EXTENDED.label,
        )


def _draw_published(axes: Axes, panel: Panel, printed: dict[str, float]) -> None:
    shown = {int(e): v for e, v in printed.items() if int(e) <= panel.data["epoch"].max()}
    axes.plot(
        *(list(shown), list(shown.values())),
        linestyle="none",
        marker="o",
        markersize=6,
        markerfacecolor="none",
        markeredgewidth=0.8,
        color="#222222",
        zorder=5,
        label=r"$C_\mathrm{lower}$ of the paper",
    )


def _draw_slopes(axes: Axes, panel: Panel, facts: Facts) -> None:
    """The outer fitted lines, a little beside their curves, and all slopes in the corner."""
    epochs = sorted(stable_epochs(panel.data, facts["stable_from_epoch"])["epoch"].unique())
    fits = facts["slopes"]
    for row, name in enumerate(name for name in BOUNDS if name in fits):
        color = LOOKS[name].color
        if name in _BESIDE:
            heights = _BESIDE[name] * fitted(fits[name], epochs)
            axes.plot(epochs, heights, color=color, linewidth=0.7, alpha=0.8)
        axes.text(
            *(0.03, 0.9 - 0.08 * row, f"slope {fits[name]['slope']:.2f}"),
            transform=axes.transAxes,
            fontsize=6.5,
            color=color,
        )


@claim(
    "C1",
    "Lower, average and upper bounds grow during training with cross-entropy",
    reported="C_lower x 63, C_upper x 66 (width 256); x 40, x 10 (width 65,536)",
    unit="growth of C_lower, width 256",
    refuted="A bound is no larger at the end of training than at initialisation.",
    untested="There is one seed only, or no checkpoint but the first.",
    since="2026-11-25",
    of_a_change=True,
)
def grows(facts: Facts) -> Finding:
    """Each bound at the last kept checkpoint over that at initialisation, ratio of the means over
    seeds, for the net of width 256 and the wide one, under cross-entropy. A part holds if its
    interval lies above 1."""
    return combine(
        {
            f"{word}, {net}": judge_fact(facts[experiment]["growth"][bound], least=1)
            for experiment, net in NETS.items()
            for bound, word in JUDGED.items()
        }
    )


@claim(
    "C4",
    "C_lower is faithful: test and mixed points raise it little beside the gap to C_upper",
    reported="C_S close to C_lower (read off a figure)",
    unit="share of the gap closed, width 256",
    refuted="Test and mixed points raise C_lower by half of the way to C_upper, or to twice itself.",
    untested="The larger set was not measured, or for one seed only.",
    since="2026-11-25",
)
def larger_set(facts: Facts) -> Finding:
    """Share of the gap between C_lower and C_upper, in logarithms, that is closed when the largest
    Jacobian norm is also taken over test points and convex combinations, at the last epoch; mean over
    seeds: a part holds if its interval lies below 1/2, where C_S is the nearer to C_lower. C_S over
    C_lower, ratio of the means over seeds: a part holds if its interval lies below 2."""
    parts = {}
    for experiment, net in NETS.items():
        found = facts[experiment]["extended_set_at_the_last_epoch"]
        parts[f"share of the gap, {net}"] = judge_fact(found["share_of_the_gap"], most=0.5)
        parts[f"C_S / C_lower at most 2, {net}"] = judge_fact(found["over_lower"], most=2)
    return combine(parts)
