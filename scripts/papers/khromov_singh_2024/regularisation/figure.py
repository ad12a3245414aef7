"""What a penalty on the largest Jacobian norm does to bounds and losses during training."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import (
    Finding,
    UntestedError,
    by_seed,
    combine,
    judge_fact,
    measured,
    paired,
)
from pipeline.figures.epochs import draw_training, epoch_axis, ordered_looks
from pipeline.figures.looks import corner_note, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables
from pipeline.statistics.growth import last_rows, numbers_of, training_rows
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

PANELS = {
    "c_upper": r"$C_\mathrm{upper}$ (outputs per unit of input)",
    "c_lower": r"$C_\mathrm{lower}$ (outputs per unit of input)",
    "train_loss": "squared error, training",
    "test_loss": "squared error, test",
}

_MILLIONTHS = 1e-6
"""Unit of the strengths in the names of variants."""


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the training points with the penalty's strength lambda."""
    strengths = numbers_of(table["variant"]) * _MILLIONTHS
    return training_rows(table.assign(penalty_strength=strengths.round(9)))


def measure(tables: Tables, context: Context) -> Facts:
    """By strength: least test loss, and bounds at the stop over those without penalty."""
    data = prepared(tables["regularisation_epochs"])
    stops = tables["regularisation"]
    reasons = stops[stops["points"] == "train"].groupby(["variant", "stop_reason"]).size()
    plain = last_rows(data[data["penalty_strength"] == 0])
    found = {}
    for strength, part in data.groupby("penalty_strength"):
        ends = last_rows(part)
        found[f"{strength:g}"] = {
            "least_test_loss": mean_interval(part.groupby("seed")["test_loss"].min()).fact(),
            "test_loss_at_the_stop": mean_interval(ends["test_loss"]).fact(),
            "train_loss_at_the_stop": mean_interval(ends["train_loss"]).fact(),
            "test_error_at_the_stop": mean_interval(ends["test_error"]).fact(),
            "over_no_penalty_at_the_stop": {
                name: ratio_interval(ends[name], plain[name]).fact()
                for name in (*PANELS, "c_avg")
                if len(plain)
            },
            "last_epochs": ends["epoch"].tolist(),
        }
    return {
        "by_strength": found,
        "stop_reasons": {f"{name}, {why}": int(n) for (name, why), n in reasons.items()},
        "least_test_loss_at_the_stop": _best_penalty(prepared(stops)),
    }


def _best_penalty(data: pd.DataFrame) -> Facts:
    """The strength with the least mean test loss at the stop, and what it does over no penalty."""
    plain = data["penalty_strength"] == 0
    losses = data[~plain].groupby("penalty_strength")["test_loss"].mean()
    best = None if losses.empty else float(losses.idxmin())
    groups = data[data["penalty_strength"] == best], data[plain]
    return {
        "strength": best,
        **{
            name: measured(_over_no_penalty, *groups, name, len(losses))
            for name in ("test_loss", "c_upper")
        },
    }


def _over_no_penalty(best: pd.DataFrame, plain: pd.DataFrame, name: str, tried: int) -> Interval:
    """Ratio of the means over the seeds that both have, for the best of so many (Bonferroni)."""
    if best.empty or plain.empty:
        raise UntestedError("nets without a penalty, or with one, are missing")
    level = 1 - 0.05 / max(tried, 1)
    return ratio_interval(*paired(by_seed(best, name), by_seed(plain, name)), paired=True, level=level)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds above, losses below."""
    data = prepared(tables["regularisation_epochs"])
    strengths = sorted(data["penalty_strength"].unique())
    looks = ordered_looks([f"{strength:g}" if strength else "0 (none)" for strength in strengths])
    figure, grid = plt.subplots(2, 2, figsize=(6.9, 4.4), layout="constrained", sharex=True)
    for axes, letter, (name, title) in zip(grid.flat, "abcd", PANELS.items(), strict=True):
        for strength, look in zip(strengths, looks, strict=True):
            draw_training(axes, data[data["penalty_strength"] == strength], name, look)
        plain_log_axis(axes)
        epoch_axis(axes, last=data["epoch"].max(), label="")
        axes.set(title=letter, ylabel=title)
    for axes in grid[1]:
        axes.set_xlabel("epoch")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=4,
        title=r"strength $\lambda$",
        title_fontsize=7,
    )
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {data['seed'].nunique()} seeds, "
        "band: ±1 std; losses without the penalty",
    )
    return figure


@claim(
    "C19",
    "A penalty on C_lower lowers the test loss while C_upper hardly moves",
    unit="ratio of the test loss",
    refuted="No penalty lowers the test loss, or the one that does moves C_upper by a tenth.",
    untested="There is one seed only, or no net with a penalty.",
    since="2026-11-28",
    changes={"2026-11-28": "the interval takes account of the choice among penalties."},
    of_a_change=True,
)
def penalty_helps(facts: Facts) -> Finding:
    """Of the penalties on C_lower the one with the least mean test loss, over no penalty, ratio of the
    means over seeds. The test loss holds below 1; C_upper holds in [0.9, 1.1]. The penalty is
    chosen by the test loss, so that the intervals are those for as many ratios as penalties."""
    best = facts["least_test_loss_at_the_stop"]
    if best["strength"] is None:
        return judge_fact(best["test_loss"])
    name = f"strength {best['strength']:g}"
    return combine(
        {
            f"test loss, {name}": judge_fact(best["test_loss"], 0.0, 1.0),
            f"C_upper, {name}": judge_fact(best["c_upper"], 0.9, 1.1),
        }
    )
