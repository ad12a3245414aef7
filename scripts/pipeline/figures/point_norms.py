"""How Jacobian norms are distributed over training points, and over right and wrong test points."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde, kurtosis, norm, rankdata, skew

from pipeline.claims.findings import UntestedError, measured
from pipeline.figures.looks import corner_note
from pipeline.figures.room import Context, Facts
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

COLORS = ("#E69F00", "#0072B2", "#009E73", "#7A7A7A")
QUANTILES = (0.5, 0.9, 0.99, 0.999)
_GRID = 300

TAIL = 0.01
"""Share of the norms, the largest ones, that are the tail."""

NORMAL_TAIL = float(norm.pdf(norm.isf(TAIL)) / TAIL)
"""The mean of the tail of a normal distribution, in standard deviations above the mean: 2.67."""

FEWEST_WRONG = 20
"""Misclassified points that a net must have to say something about them."""

LIMITS = {"ratio of means": (1,), "ratio of maxima": (0.5, 2), "correlation": (-0.1, 0.1)}
"""What is judged of right and wrong test points, and within what."""


class Column(NamedTuple):
    """What a column of the figure is called, and the unit of the outputs."""

    title: str
    unit: str


def norm_facts(table: pd.DataFrame) -> Facts:
    """By experiment and width: the tail, and what norms have to do with losses and errors."""
    return {
        experiment: {str(width): _facts_of_width(part) for width, part in own.groupby("width")}
        for experiment, own in table.groupby("experiment")
    }


def draw_norms(
    table: pd.DataFrame,
    facts: Facts,
    context: Context,
    columns: Mapping[str, Column],
    *,
    normal: bool = False,
) -> Figure:
    """A column per experiment; above the training points, below the test points.

    ``facts`` are those of :func:`norm_facts`. ``normal`` is for normal distributions beside those of the
    training points.
    """
    experiments = [name for name in columns if name in set(table["experiment"])]
    size = (6.9, 4.6)
    figure, panels = plt.subplots(2, len(experiments), figsize=size, layout="constrained", squeeze=False)
    colors = dict(zip(sorted(table["width"].unique()), COLORS, strict=False))
    for column, experiment in enumerate(experiments):
        own, (title, unit) = table[table["experiment"] == experiment], columns[experiment]
        train = own[own["points"] == "train"]
        _draw_training(panels[0, column], train, facts[experiment], colors)
        if normal:
            _draw_normal(panels[0, column], train)
        panels[0, column].set_xlabel(f"Jacobian norm ({unit} per unit of input)")
        _draw_test(panels[1, column], own[own["points"] == "test"], colors)
        panels[0, column].set_title(f"{'ab'[column]}   {title}, training points")
        panels[1, column].set_title(f"{'cd'[column]}   {title}, test points")
    for row in panels:
        row[0].set_ylabel("density")
    _legend(figure, colors, _LINES | (_NORMAL_LINE if normal else {}))
    counts = dict.fromkeys(own["seed"].nunique() for _, own in table.groupby("experiment"))
    seeds = " and ".join(str(count) for count in counts)
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds; faint: single seeds")
    return figure


_LINES = {"right class": "-", "wrong class": "--", "largest norm": ":"}
_NORMAL_LINE = {"normal distribution": "-."}


def _legend(figure: Figure, colors: dict[int, str], lines: dict[str, str]) -> None:
    handles = [Line2D([], [], color=color, label=f"width {width}") for width, color in colors.items()]
    for label, line in lines.items():
        handles.append(Line2D([], [], color="#444444", linestyle=line, label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _draw_training(axes: Axes, data: pd.DataFrame, facts: Facts, colors: dict[int, str]) -> None:
    """Densities by width, and the largest norms of the ``facts`` by width."""
    grid = np.linspace(0, data["norm"].max() * 1.04, _GRID)
    for width, own in data.groupby("width"):
        largest = facts[str(width)]["largest"]["estimate"]
        _draw_densities(axes, grid, own, "norm", colors[width], "-")
        axes.axvline(largest, color=colors[width], linestyle=":", linewidth=1.1)
    axes.set(xlim=(0, grid[-1]), ylim=(0, None))


def _draw_normal(axes: Axes, data: pd.DataFrame) -> None:
    """By width the mean over seeds of normal densities with the mean and spread of the norms."""
    grid = np.linspace(*axes.get_xlim(), _GRID)
    for _, own in data.groupby("width"):
        moments = own.groupby("seed")["norm"].agg(["mean", "std"]).to_numpy()
        curves = [norm.pdf(grid, mean, std) for mean, std in moments if std > 0]
        if curves:
            (style,) = _NORMAL_LINE.values()
            axes.plot(grid, np.mean(curves, 0), color="#444444", linestyle=style, linewidth=0.9)


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
        "largest": mean_interval(norms.max()).fact(),
        "largest_over_mean": ratio_interval(norms.max(), means, paired=True).fact(),
        "quantiles_over_mean": {
            f"{q:g}": ratio_interval(norms.quantile(q), means, paired=True).fact() for q in QUANTILES
        },
        "tail_over_normal": measured(_tail_over_normal, train),
        "train_error": float(1 - train["correct"].mean()),
        "skewness": mean_interval(norms.apply(skew)).fact(),
        "excess_kurtosis": mean_interval(norms.apply(kurtosis)).fact(),
        "correlation_of_loss_and_norm_at_training_points": mean_interval(
            [_correlation(one) for _, one in train.groupby("seed")]
        ).fact(),
        "test_points": {
            "error": float(1 - test["correct"].mean()),
            "chance_that_a_wrong_point_has_the_larger_norm": mean_interval(
                [_wrong_above_right(one) for _, one in test.groupby("seed")]
            ).fact(),
            **{name: measured(_over_seeds, test, name) for name in LIMITS},
        },
    }


def _tail_over_normal(rows: pd.DataFrame) -> Interval:
    """Standard deviations from the mean to the tail, over those of a normal distribution."""
    tails = rows.groupby("seed")["norm"].apply(_tail)
    return ratio_interval(tails, np.full(len(tails), NORMAL_TAIL), paired=True)


def _tail(norms: "pd.Series[float]") -> float:
    largest = norms.nlargest(max(1, round(TAIL * len(norms))))
    return float((largest.mean() - norms.mean()) / norms.std())


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


def _over_seeds(rows: pd.DataFrame, name: str) -> Interval:
    """One of ``LIMITS``, over the seeds with enough points in the wrong class."""
    wrong = rows.groupby("seed")["correct"].agg(lambda correct: (~correct.astype(bool)).sum())
    enough = rows[rows["seed"].map(wrong >= FEWEST_WRONG)]
    if enough.empty:
        raise UntestedError(f"no net misclassifies {FEWEST_WRONG} test points")
    if name == "correlation":
        return mean_interval([_correlation(one) for _, one in enough.groupby("seed")])
    statistic = "mean" if name == "ratio of means" else "max"
    found = enough.groupby(["seed", "correct"])["norm"].agg(statistic).unstack()
    return ratio_interval(found[False], found[True], paired=True)
