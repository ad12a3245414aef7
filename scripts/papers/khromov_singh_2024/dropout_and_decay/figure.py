"""What weight decay and dropout do to the bounds of nets that are trained equally long."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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
from pipeline.figures.looks import LOOKS, corner_note, draw_seeds, mark_diverged, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.growth import BOUNDS, numbers_of, training_rows
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

KINDS = {"decay": "weight decay", "dropout": "dropout"}
"""By the first part of the names of variants."""

_UNITS = {"decay": 1e-6, "dropout": 1e-2}
"""Of the numbers in the names of variants."""

FITTED = 0.05
"""Largest mean training error at which nets count as trained."""


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """The strength of weight decay or dropout, by ``method``; nets with neither belong to both."""
    named = table["variant"].astype(str).str.extract("^(.*)~", expand=False)
    numbers = numbers_of(table["variant"])
    parts = []
    for method, unit in _UNITS.items():
        own = (named == method) | (numbers == 0)
        strengths = (numbers[own] * unit).round(9)
        parts.append(table[own].assign(method=method, regularisation=strengths))
    return pd.concat(parts, ignore_index=True)


def measure(tables: Tables, context: Context) -> Facts:
    """By method and strength: bounds over those with neither, errors, and the trend of C_lower."""
    data = training_rows(prepared(only(tables)))
    return {method: _of_method(data[data["method"] == method]) for method in KINDS}


def _of_method(data: pd.DataFrame) -> Facts:
    plain = data[data["regularisation"] == 0]
    found = {}
    for strength, rows in data[data["regularisation"] > 0].groupby("regularisation"):
        found[f"{strength:g}"] = {
            "over_none": {name: measured(_over_none, rows, plain, name) for name in BOUNDS},
            "train_error": float(rows["train_error"].mean()),
            "test_error_over_none": measured(_over_none, rows, plain, "test_error"),
        }
    return {
        "by_strength": found,
        "train_error_with_neither": float(plain["train_error"].mean()) if len(plain) else None,
        "trend_of_log_c_lower": measured(_trend, data),
    }


def _over_none(rows: pd.DataFrame, plain: pd.DataFrame, name: str) -> Interval:
    """Ratio of geometric means over the seeds that both have; nets that do not fit are not judged."""
    for one in (rows, plain):
        if one.empty:
            raise UntestedError("nets with neither weight decay nor dropout are missing")
        if not one["train_error"].mean() <= FITTED:
            raise UntestedError(f"training error {100 * one['train_error'].mean():.2g} %")
    return ratio_interval(*paired(by_seed(rows, name), by_seed(plain, name)), paired=True)


def _trend(data: pd.DataFrame) -> Interval:
    """Slope of log C_lower on the strength over the largest one, of nets that fit, over seeds."""
    fits = data.groupby("regularisation")["train_error"].transform("mean") <= FITTED
    wide = np.log(data[fits].pivot(index="regularisation", columns="seed", values="c_lower"))
    wide = wide.dropna(axis="columns")
    if len(wide) < 3 or wide.empty:
        raise UntestedError("fewer than three strengths at which nets fit")
    slopes, _ = np.polyfit(wide.index.to_numpy() / wide.index.max(), wide.to_numpy(), 1)
    return mean_interval(slopes)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds above, errors below; weight decay on the left, dropout on the right."""
    table = prepared(only(tables))
    data = training_rows(table)
    figure, grid = plt.subplots(
        *(2, 2), figsize=(6.9, 4.2), layout="constrained", sharex="col", sharey="row"
    )
    for column, (method, word) in enumerate(KINDS.items()):
        rows = data[data["method"] == method]
        above, below = grid[:, column]
        for name in BOUNDS:
            draw_seeds(above, rows.assign(stop_reason="kept"), "regularisation", name, LOOKS[name])
        mark_diverged(above, table[table["method"] == method], "regularisation")
        _draw_errors(below, rows)
        above.set_title("ab"[column])
        below.set_title("cd"[column])
        below.set_xlabel(word)
    for axes in grid[0]:
        plain_log_axis(axes)
    grid[0, 0].set_ylabel("bound (logits per unit of input)")
    grid[1, 0].set_ylabel("error (%)")
    grid[1, 0].legend(loc="best")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    corner_note(
        figure,
        f"{context['scale']} scale, width {table['width'].iloc[0]}, {table['seed'].nunique()} seeds, "
        "band: ±1 std",
    )
    return figure


def _draw_errors(axes: Axes, rows: pd.DataFrame) -> None:
    for name in ("test", "train"):
        percent: dict[str, Any] = {"error": 100 * rows[f"{name}_error"], "stop_reason": "kept"}
        draw_seeds(axes, rows.assign(**percent), "regularisation", "error", LOOKS[name])
    axes.set_ylim(bottom=-3, auto=True)


@claim(
    "C26",
    "Dropout and weight decay lower C_lower",
    unit="C_lower over that with neither",
    refuted="C_lower at some strength is as large as with neither, or does not fall with the strength",
    untested="The nets of a strength have a mean training error above 5 %: a net that has not learnt is "
    "flat for that reason",
    since="2026-11-28",
    changes={
        "2026-11-28": "the nets, not the rule: dropout of 0.1, 0.2 and 0.4 and weight decay of 0.0025 "
        "gave way to weaker ones, for they left 5.1 % and more training error"
    },
)
def dropout_and_decay(facts: Facts) -> Finding:
    """Here on fully connected nets and MNIST-1D, in the paper on ResNet-20 and CIFAR-10. By method and
    strength: C_lower over that of nets with neither, ratio of geometric means over the same seeds, after
    equally many epochs; holds below 1. By method: least squares slope of log C_lower on the strength,
    of each seed, in units of the largest strength; holds below 0."""
    parts = {}
    for method, word in KINDS.items():
        for strength, found in facts[method]["by_strength"].items():
            parts[f"{word} {strength}"] = judge_fact(found["over_none"]["c_lower"], most=1)
        parts[f"trend with {word}"] = judge_fact(facts[method]["trend_of_log_c_lower"], most=0)
    return combine(parts)
