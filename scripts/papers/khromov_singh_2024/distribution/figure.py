"""Draw how Jacobian norms are distributed over training points, and over right and wrong test points."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde, kurtosis, rankdata, skew

from pipeline.claims.claim import claim
from pipeline.claims.findings import (
    Finding,
    UntestedError,
    combine,
    judge_fact,
    measured,
    select,
)
from pipeline.figures.looks import corner_note
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

NAMES = {"double_descent": "cross-entropy", "double_descent_mse": "squared error"}
COLORS = ("#E69F00", "#0072B2", "#009E73", "#7A7A7A")
QUANTILES = (0.5, 0.9, 0.99, 0.999)
_GRID = 300

FEWEST_WRONG = 20
"""Misclassified points that a net must have to say something about them."""

NET = ["experiment", "variant", "noise", "width", "seed"]
"""Columns that name a net."""

FACTS_OF_CLAIM = ("ratio of means", "ratio of maxima", "correlation")


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column per loss function; above the training points, below the test points."""
    table = only(tables)
    experiments = [name for name in NAMES if name in set(table["experiment"])]
    size = (6.9, 4.6)
    figure, panels = plt.subplots(2, len(experiments), figsize=size, layout="constrained", squeeze=False)
    colors = dict(zip(sorted(table["width"].unique()), COLORS, strict=False))
    for column, experiment in enumerate(experiments):
        own = table[table["experiment"] == experiment]
        _draw_training(panels[0, column], own[own["points"] == "train"], facts[experiment], colors)
        _draw_test(panels[1, column], own[own["points"] == "test"], colors)
        panels[0, column].set_title(f"{'ab'[column]}   {NAMES[experiment]}, training points")
        panels[1, column].set_title(f"{'cd'[column]}   {NAMES[experiment]}, test points")
    for row in panels:
        row[0].set_ylabel("density")
    _legend(figure, colors)
    seeds = table["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds; faint: single seeds")
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """By experiment and width: the tail, and what norms have to do with losses and errors."""
    table = only(tables)
    return {
        experiment: {str(width): _facts_of_width(part) for width, part in own.groupby("width")}
        for experiment, own in table.groupby("experiment")
    } | {"wrong_against_right_training_points": wrong_against_right(tables)}


def _legend(figure: Figure, colors: dict[int, str]) -> None:
    handles = [Line2D([], [], color=color, label=f"width {width}") for width, color in colors.items()]
    for line, label in (("-", "right class"), ("--", "wrong class"), (":", "largest norm")):
        handles.append(Line2D([], [], color="#444444", linestyle=line, label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _draw_training(axes: Axes, data: pd.DataFrame, facts: Facts, colors: dict[int, str]) -> None:
    """Densities by width, and the largest norms of the ``facts`` by width."""
    grid = np.linspace(0, data["norm"].max() * 1.04, _GRID)
    for width, own in data.groupby("width"):
        largest = facts[str(width)]["largest"]["estimate"]
        _draw_densities(axes, grid, own, "norm", colors[width], "-")
        axes.axvline(largest, color=colors[width], linestyle=":", linewidth=1.1)
    axes.set(xlim=(0, grid[-1]), ylim=(0, None), xlabel="Jacobian norm (logits per unit of input)")


def _draw_test(axes: Axes, data: pd.DataFrame, colors: dict[int, str]) -> None:
    relative = data.assign(
        relative=data["norm"] / data.groupby(["width", "seed"])["norm"].transform("mean")
    )
    ends = relative["relative"].quantile([0.0005, 0.9995])
    grid = np.linspace(0.9 * ends.iloc[0], 1.05 * ends.iloc[1], _GRID)
    for width, own in relative.groupby("width"):
        for correct, line in ((True, "-"), (False, "--")):
            part = own[own["correct"] == correct]
            _draw_densities(axes, grid, part, "relative", colors[width], line)
    axes.set(
        xlim=(grid[0], grid[-1]), ylim=(0, None), xlabel="Jacobian norm over the mean of all test points"
    )


def _draw_densities(
    axes: Axes, grid: np.ndarray, data: pd.DataFrame, column: str, color: str, line: str
) -> None:
    """Kernel estimates of each seed, faint, and their mean."""
    curves = [
        gaussian_kde(one[column])(grid) for _, one in data.groupby("seed") if one[column].nunique() > 1
    ]
    for curve in curves:
        axes.plot(grid, curve, color=color, linestyle=line, linewidth=0.5, alpha=0.35)
    if curves:
        axes.plot(grid, np.mean(curves, 0), color=color, linestyle=line)


def _facts_of_width(data: pd.DataFrame) -> dict[str, Any]:
    train, test = data[data["points"] == "train"], data[data["points"] == "test"]
    norms = train.groupby("seed")["norm"]
    means = norms.mean()
    return {
        "largest": asdict(mean_interval(norms.max())),
        "largest_over_mean": asdict(ratio_interval(norms.max(), means, paired=True)),
        "quantiles_over_mean": {
            f"{q:g}": asdict(ratio_interval(norms.quantile(q), means, paired=True)) for q in QUANTILES
        },
        "skewness": asdict(mean_interval(norms.apply(skew))),
        "excess_kurtosis": asdict(mean_interval(norms.apply(kurtosis))),
        "correlation_of_loss_and_norm": {
            name: asdict(mean_interval([_correlation(one) for _, one in part.groupby("seed")]))
            for name, part in (("train", train), ("test", test))
        },
        "test_points": {
            "error": float(1 - test["correct"].mean()),
            "chance_that_a_wrong_point_has_the_larger_norm": asdict(
                mean_interval([_wrong_above_right(one) for _, one in test.groupby("seed")])
            ),
            "mean_of_wrong_over_right": _wrong_over_right(test, "mean"),
            "largest_of_wrong_over_right": _wrong_over_right(test, "max"),
        },
    }


def _correlation(data: pd.DataFrame) -> float:
    if data["loss"].nunique() < 2:
        return float("nan")
    return float(np.corrcoef(data["loss"], data["norm"])[0, 1])


def _wrong_above_right(data: pd.DataFrame) -> float:
    """Share of the pairs of a wrong and a right point (Mann & Whitney 1947), ties being half."""
    wrong = ~data["correct"].to_numpy(bool)
    pairs = wrong.sum() * (~wrong).sum()
    if pairs == 0:
        return float("nan")
    ranks = rankdata(data["norm"])[wrong].sum() - wrong.sum() * (wrong.sum() + 1) / 2
    return float(ranks / pairs)


def _wrong_over_right(data: pd.DataFrame, statistic: str) -> dict[str, float] | None:
    found = data.groupby(["seed", "correct"])["norm"].agg(statistic).unstack()
    if not {True, False} <= set(found.columns):
        return None
    return asdict(ratio_interval(found[False], found[True], paired=True))


def wrong_against_right(tables: Tables) -> Facts:
    """Norms at misclassified training points over those at the others, and loss with norm, over nets."""
    return {name: measured(_over_nets, tables, name) for name in FACTS_OF_CLAIM}


def _over_nets(tables: Tables, name: str) -> Interval:
    rows = select(tables, "distribution", points="train")
    found = pd.DataFrame([_of_net(one) for _, one in rows.groupby(NET)])
    found = found[found["wrong"] >= FEWEST_WRONG]
    if found.empty:
        raise UntestedError(f"no net misclassifies {FEWEST_WRONG} training points")
    return mean_interval(found[name])


def _of_net(rows: pd.DataFrame) -> dict[str, float]:
    wrong = ~rows["correct"].astype(bool)
    if wrong.all() or not wrong.any():
        return {"wrong": 0.0} | dict.fromkeys(FACTS_OF_CLAIM, np.nan)
    norms = rows.groupby(wrong)["norm"]
    return {
        "wrong": float(wrong.sum()),
        "ratio of means": norms.mean()[True] / norms.mean()[False],
        "ratio of maxima": norms.max()[True] / norms.max()[False],
        "correlation": float(rows["loss"].corr(rows["norm"])),
    }


@claim(
    "C27",
    "Misclassified points more often have large norms; maxima are alike, and the loss says little",
    reported="correlation of loss and norm 0.03 (ResNet-20)",
    unit="mean norm, wrong / right",
)
def wrong_points_are_steeper(facts: Facts) -> Finding:
    """Over the nets with at least 20 misclassified training points. Mean norm at these over that at the
    others holds above 1; the largest norm over that of the others in [1/2, 2]; the correlation of loss
    and norm in [-0.1, 0.1]. Intervals of the means over nets."""
    found = facts["wrong_against_right_training_points"]
    limits = {"ratio of means": (1,), "ratio of maxima": (0.5, 2), "correlation": (-0.1, 0.1)}
    return combine({name: judge_fact(found[name], *ends) for name, ends in limits.items()})
