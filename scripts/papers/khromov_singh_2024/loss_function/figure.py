"""The bounds of nets trained with cross-entropy beside those of nets trained with squared error."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nets.training.schedule import build_schedule
from pipeline.claims.claim import claim
from pipeline.claims.findings import (
    Finding,
    UntestedError,
    by_seed,
    combine,
    judge_fact,
    measured,
    paired,
    readable,
)
from pipeline.figures.epochs import draw_training, epoch_axis
from pipeline.figures.looks import Look, corner_note, plain_log_axis, plain_log_x
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.growth import last_rows
from pipeline.statistics.intervals import Interval, ratio_interval

LOOKS = {
    ("double_descent", "c_upper"): Look("#D55E00", "^", "-", r"$C_\mathrm{upper}$, cross-entropy"),
    ("double_descent", "c_lower"): Look("#0072B2", "o", "-", r"$C_\mathrm{lower}$, cross-entropy"),
    ("double_descent", "c_lower_softmax"): Look(
        "#009E73", "P", ":", r"$C_\mathrm{lower}$, cross-entropy, behind the softmax"
    ),
    ("double_descent_mse", "c_upper"): Look("#D55E00", "v", "--", r"$C_\mathrm{upper}$, squared error"),
    ("double_descent_mse", "c_lower"): Look("#0072B2", "s", "--", r"$C_\mathrm{lower}$, squared error"),
}

SHOWN = {
    "bounds": [key for key in LOOKS if key[1] != "c_lower_softmax"],
    "softmax": [key for key in LOOKS if key[1] != "c_upper"],
}
"""The curves of Figure S28a and those of S28b."""

QUANTITIES = ("c_lower", "c_avg", "c_upper", "c_lower_softmax")

EXPERIMENTS = ("double_descent", "double_descent_mse")

WIDTH = 256
"""That of the nets in the paper."""


def prepared(table: pd.DataFrame, context: Context) -> pd.DataFrame:
    """A column per quantity, and the learning rate summed up to each epoch."""
    index = ["experiment", "width", "points", "seed", "epoch", "train_loss"]
    wide = table.pivot(index=index, columns="quantity", values="value")
    wide = wide.reindex(columns=QUANTITIES).reset_index()
    wide = wide[np.isfinite(wide["c_lower"])]
    sums = {
        name: summed_rates(
            context["settings"][name]["training"], part["epoch"].max(), part["points"].iloc[0]
        )
        for name, part in wide.groupby("experiment")
    }
    places = zip(wide["experiment"], wide["epoch"], strict=True)
    return wide.assign(rate=[sums[name][epoch] for name, epoch in places])


def summed_rates(training: dict[str, Any], epochs: int, points: int) -> np.ndarray:
    """The sum of the learning rates of all updates up to each epoch 0, 1, ..., ``epochs``."""
    updates = -(-points // training["batch_size"])
    schedule = build_schedule(**training["schedule"])
    rates = [schedule(update, updates) for update in range(epochs * updates)]
    return training["learning_rate"] * np.cumsum([0.0, *rates])[::updates]


def measure(tables: Tables, context: Context) -> Facts:
    """Ratios of cross-entropy to squared error, at each one's stop and at equal summed rates."""
    table = only(tables)
    data = prepared(table, context)
    by_loss = {name: data[data["experiment"] == name] for name in EXPERIMENTS}
    ends = {name: last_rows(part) for name, part in by_loss.items()}
    entropy, squared = ends.values()
    rate = min(part.groupby("seed")["rate"].max().min() for part in by_loss.values())
    return {
        "learning_rates": {
            name: context["settings"][name]["training"]["learning_rate"] for name in by_loss
        },
        "summed_rate_compared_at": float(rate),
        "runs_that_reach_the_stop": {
            name: int(_stopped(part, context).sum()) for name, part in ends.items()
        },
        "softmax_over_squared_error_at_the_stop": measured(
            ratio_interval, entropy["c_lower_softmax"], squared["c_lower"]
        ),
        "train_loss_at_the_stop": {
            name: float(part["train_loss"].mean()) for name, part in ends.items()
        },
        "squared_error_over_cross_entropy": {
            name: {
                "as_trained": measured(_over, squared, entropy, name, name),
                "at_the_stop": measured(_at_the_stop, squared, entropy, name, name, context),
                "at_equal_summed_rate": measured(
                    ratio_interval, *(_at_rate(part, name, rate) for part in (*by_loss.values(),)[::-1])
                ),
            }
            for name in ("c_lower", "c_upper")
        },
        "softmax_over_logits_at_the_stop": measured(
            _at_the_stop, entropy, entropy, "c_lower_softmax", "c_lower", context
        ),
    }


def _stopped(ends: pd.DataFrame, context: Context) -> "pd.Series[bool]":
    """Which runs stopped before the epoch cap."""
    caps = {name: context["settings"][name]["training"]["max_epochs"] for name in EXPERIMENTS}
    return ends["epoch"] < ends["experiment"].map(caps)


def _at_the_stop(
    above: pd.DataFrame, below: pd.DataFrame, first: str, second: str, context: Context
) -> Interval:
    """:func:`_over` where at least half of the runs of each loss reach the stop."""
    for ends in (above, below):
        stopped = _stopped(ends, context)
        if len(ends) and stopped.mean() < 0.5:
            loss = ends["experiment"].iloc[0]
            raise UntestedError(f"{stopped.sum()} of {len(ends)} runs of {loss} reach the stop")
    return _over(above, below, first, second)


def _over(above: pd.DataFrame, below: pd.DataFrame, first: str, second: str) -> Interval:
    """A column of the last rows over one of others, of the seeds that both have."""
    groups = [
        by_seed(rows[np.isfinite(rows[name])], name) for rows, name in ((above, first), (below, second))
    ]
    return ratio_interval(*paired(*groups), paired=True)


def _at_rate(data: pd.DataFrame, name: str, rate: float) -> list[float]:
    """Of each seed at a summed rate, between the kept epochs on logarithmic axes."""
    found = []
    for _, one in data[data["rate"] > 0].sort_values("rate").groupby("seed"):
        found.append(float(np.exp(np.interp(np.log(rate), np.log(one["rate"]), np.log(one[name])))))
    return found


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds against epochs, with the softmax, and the bounds against the summed learning rate."""
    table = only(tables)
    data = prepared(table, context)
    figure, (bounds, softmax, rate) = plt.subplots(1, 3, figsize=(6.9, 2.9), layout="constrained")
    for axes, shown, x in (
        (bounds, "bounds", "epoch"),
        (softmax, "softmax", "epoch"),
        (rate, "bounds", "rate"),
    ):
        for experiment, quantity in SHOWN[shown]:
            part = data[(data["experiment"] == experiment) & ((x == "epoch") | (data["rate"] > 0))]
            draw_training(axes, part, quantity, LOOKS[experiment, quantity], x)
        plain_log_axis(axes)
    for axes in (bounds, softmax):
        epoch_axis(axes, last=data["epoch"].max())
    _rate_axis(rate, data)
    bounds.set(title="a", ylabel="bound (per unit of input)")
    softmax.set_title("b")
    rate.set_title("c")
    handles = {
        label: handle
        for axes in (bounds, softmax)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)
    rates = " and ".join(
        f"{context['settings'][name]['training']['learning_rate']:g}" for name in EXPERIMENTS
    )
    corner_note(
        figure,
        f"{context['scale']} scale, width {data['width'].iloc[0]}, {data['seed'].nunique()} seeds, "
        f"band: ±1 std; learning rates {rates}",
    )
    return figure


def _rate_axis(axes: Axes, data: pd.DataFrame) -> None:
    positive = data.loc[data["rate"] > 0, "rate"]
    axes.set_xlim(positive.min() / 1.5, positive.max() * 1.5)
    plain_log_x(axes)
    axes.set_xlabel("summed learning rate")


@claim(
    "C20",
    "The squared error gives slightly smaller bounds than cross-entropy; a softmax shrinks those",
    unit="ratio at the stop",
    refuted="Trained with the squared error a net has the larger bounds, or bounds less than half as "
    "large; or the softmax does not halve C_lower.",
    untested="Fewer than half of the runs of a loss reach the stop before the epoch cap.",
    since="2026-11-28",
    changes={
        "2026-11-28": "Trained nets are compared, each at its own stop, and C_upper too; before, "
        "C_lower at the last epoch that both losses have, of which the paper does not speak. "
        "The ratios at both places were known."
    },
    of_a_change=True,
    not_simulated="Seeds stop at epochs of their own, at which simulated tables have no spread.",
)
def loss_and_softmax(facts: Facts) -> Finding:
    """C_lower and C_upper at width 256 where each training stops, ratio of the means over seeds. Those
    of the squared error over those of cross-entropy hold if the interval lies in [0.5, 1]; C_lower of
    the softmax of the net trained with cross-entropy over that of its logits holds if it lies below 0.5.
    Each loss has a learning rate of its own, here as in the paper."""
    ratios = facts["squared_error_over_cross_entropy"]
    parts = {
        f"{readable(name)}, squared error / cross-entropy": judge_fact(ratio["at_the_stop"], 0.5, 1)
        for name, ratio in ratios.items()
    }
    softmax = judge_fact(facts["softmax_over_logits_at_the_stop"], 0, 0.5)
    return combine(parts | {"softmax / logits": softmax})
