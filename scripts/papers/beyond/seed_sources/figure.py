"""What the spread over seeds comes from: the initialisation, or the order of the batches."""

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import f as f_distribution

from papers.beyond.seed_sources.anova import SOURCES, Share, sums_of_squares, variance_shares
from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.epochs import category_axis, ordered_looks
from pipeline.figures.looks import Look, corner_note, plain_log_axis
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.growth import numbers_of, training_rows
from pipeline.statistics.intervals import Interval

FIXED_ORDER = 0
"""The order of the released code, the same in every epoch. It is no draw of an order."""

QUANTITIES = {
    "c_upper": r"$C_\mathrm{upper}$",
    "c_lower": r"$C_\mathrm{lower}$",
    "c_avg": r"$C_\mathrm{avg}$",
    "train_loss": "training loss",
    "test_loss": "test loss",
    "test_error": "test error",
}
"""All of them in logarithms: shares are of relative deviations."""

RAW = {"c_lower": r"$C_\mathrm{lower}$ (logits per unit of input)", "test_loss": "test loss (nats)"}

SOURCE_LOOKS = {
    "rows": ("#0072B2", "", "initialisation"),
    "columns": ("#E69F00", "///", "batch order"),
    "interaction": ("#D9D9D9", "", "both together"),
}


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the training points with the number of the batch order."""
    return training_rows(table.assign(order=numbers_of(table["variant"])))


def crossed(data: pd.DataFrame, name: str) -> pd.DataFrame:
    """Logarithms of a quantity, a row per initialisation and a column per drawn order.

    Initialisations that diverged with some order are left out.
    """
    drawn = data[data["order"] != FIXED_ORDER]
    wide = drawn.pivot(index="seed", columns="order", values=name).dropna()
    wide = wide[(wide > 0).all(axis=1)]
    return np.log(wide)


def shares_of(data: pd.DataFrame) -> dict[str, dict[str, Share]]:
    """Of each quantity at one width, where there are values enough."""
    tables = {name: crossed(data, name) for name in QUANTITIES}
    return {name: variance_shares(t) for name, t in tables.items() if min(t.shape) >= 2}


def measure(tables: Tables, context: Context) -> Facts:
    """Shares with intervals and F tests, and deviations in per cent, by width."""
    table = only(tables)
    data = prepared(table)
    found: dict[str, Any] = {}
    for width, part in data.groupby("width"):
        shares = shares_of(part)
        found[str(width)] = {
            name: {
                "standard_deviation_of_the_logarithm": float(crossed(part, name).to_numpy().std(ddof=1)),
                "fixed_order_over_drawn": _fixed_over_drawn(part, name),
            }
            | {_key(source): asdict(share) for source, share in of.items()}
            for name, of in shares.items()
        }
    return {
        "by_width": found,
        "orders": int(data.loc[data["order"] != FIXED_ORDER, "order"].nunique()),
        "initialisations": int(data["seed"].nunique()),
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
        "spread_over_orders_over_that_over_initialisations": {
            str(width): measured(_order_over_start, part) for width, part in data.groupby("width")
        },
    }


def _key(source: str) -> str:
    """What a source is called in the facts."""
    return SOURCE_LOOKS[source][2].replace(" ", "_")


def _order_over_start(data: pd.DataFrame) -> Interval:
    """Root of the mean square of log C_lower between drawn orders over that between initialisations.

    With as many of the one as of the other and normal effects, the ratio of the mean squares follows
    the F distribution times that of their expectations, which is 1 where both change C_lower alike.
    """
    logs = crossed(data, "c_lower")
    if min(logs.shape) < 2:
        raise UntestedError("fewer than two initialisations or batch orders")
    if logs.shape[0] != logs.shape[1]:
        raise UntestedError(f"{logs.shape[0]} initialisations with {logs.shape[1]} batch orders")
    found = sums_of_squares(logs)
    starts, orders, _ = found.freedom
    ratio = (found.squares[1] / orders) / (found.squares[0] / starts)

    def ends(level: float) -> tuple[float, float]:
        quantiles = f_distribution.ppf([(1 + level) / 2, (1 - level) / 2], orders, starts)
        return float(ratio / quantiles[0]), float(ratio / quantiles[1])

    return Interval.of(float(ratio), ends).mapped(np.sqrt)


def _fixed_over_drawn(data: pd.DataFrame, name: str) -> float:
    """Geometric mean with the released code's order over that with the others."""
    logs = np.log(data[name].where(data[name] > 0))
    fixed = data["order"] == FIXED_ORDER
    return float(np.exp(logs[fixed].mean() - logs[~fixed].mean()))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A row per width: the shares, and the values that they are made of."""
    table = only(tables)
    data = prepared(table)
    widths = sorted(data["width"].unique())
    figure, grid = plt.subplots(
        *(len(widths), 3),
        figsize=(6.9, 0.75 + 2.1 * len(widths)),
        layout="constrained",
        squeeze=False,
        width_ratios=(1.15, 1, 1),
    )
    orders = sorted(set(data["order"]) - {FIXED_ORDER})
    looks = ordered_looks([f"order {order}" for order in orders])
    for row, width in enumerate(widths):
        part = data[data["width"] == width]
        _draw_shares(grid[row, 0], facts["by_width"][str(width)])
        for axes, (name, label) in zip(grid[row, 1:], RAW.items(), strict=True):
            _draw_values(axes, part, name, dict(zip(orders, looks, strict=True)))
            axes.set_ylabel(label)
        for axes, letter in zip(grid[row], "abcdefghijkl"[3 * row :], strict=False):
            axes.set_title(f"{letter}  width {width}" if axes is grid[row, 0] else letter)
    _legends(figure, looks)
    corner_note(
        figure,
        f"{context['scale']} scale, {data['seed'].nunique()} initialisations x {len(orders)} orders; "
        "whiskers: 95 % intervals of the first two shares; cross: the fixed order",
    )
    return figure


def _draw_shares(axes: Axes, found: Facts) -> None:
    """A bar per quantity, of the facts at one width."""
    for place, name in enumerate(found):
        left = 0.0
        for source in SOURCES:
            color, hatch, _ = SOURCE_LOOKS[source]
            share = 100 * found[name][_key(source)]["share"]
            style: dict[str, Any] = {
                "color": color,
                "hatch": hatch,
                "edgecolor": "white",
                "linewidth": 0,
            }
            axes.barh(place, share, 0.72, left=left, **style)
            left += share
        for source, shift in (("rows", -0.18), ("columns", 0.18)):
            one = found[name][_key(source)]
            axes.plot(
                *([100 * one["low"], 100 * one["high"]], [place + shift] * 2),
                color="black",
                linewidth=0.8,
                linestyle="-" if source == "rows" else (0, (2, 1)),
            )
    axes.set_yticks(range(len(found)), [QUANTITIES[name] for name in found])
    axes.invert_yaxis()
    axes.set(xlabel="share of the variance (%)", xlim=(0, 100))
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _draw_values(axes: Axes, data: pd.DataFrame, name: str, looks: dict[int, Look]) -> None:
    seeds = sorted(data["seed"].unique())
    count = len(looks)
    for place, seed in enumerate(seeds):
        part = data[data["seed"] == seed].set_index("order")[name]
        for i, (order, look) in enumerate(looks.items()):
            if order in part:
                x = place + 0.5 * ((i + 0.5) / count - 0.5)
                axes.plot(x, part[order], marker=look.marker, color=look.color)
        if FIXED_ORDER in part:
            axes.plot(place, part[FIXED_ORDER], **_FIXED)
    plain_log_axis(axes)
    category_axis(axes, [str(seed) for seed in seeds])
    axes.set_xlabel("initialisation")


_FIXED: dict[str, Any] = {
    "marker": "x",
    "color": "#CC0000",
    "markersize": 5,
    "linestyle": "none",
    "zorder": 4,
}


def _legends(figure: Figure, looks: list[Look]) -> None:
    patches = [
        Patch(facecolor=color, hatch=hatch, edgecolor="white", linewidth=0, label=label)
        for color, hatch, label in SOURCE_LOOKS.values()
    ]
    marks = [
        Line2D([], [], marker=o.marker, color=o.color, linestyle="none", label=o.label) for o in looks
    ]
    fixed = Line2D([], [], label="fixed order", **_FIXED)
    figure.legend(
        handles=[*patches, *marks, fixed], loc="outside upper center", ncols=8, columnspacing=1
    )


@claim(
    "N4",
    "Batch order changes C_lower less than initialisation does",
    reported="not in the paper",
    unit="ratio of standard deviations",
    refuted="The batch order changes C_lower as much as the initialisation does.",
    untested="There are fewer than two of either, or not as many of the one as of the other.",
    since="2026-11-28",
    changes={
        "2026-11-28": "the ratio has the exact interval of the F distribution in place of a comparison "
        "of spreads, and the fixed order is no longer among the drawn ones."
    },
    not_simulated="Seeds are crossed with batch orders here, where simulated tables take them as "
    "independent; tests simulate this rule with crossed effects instead.",
)
def order_matters_less(facts: Facts) -> Finding:
    """Root of the mean square of log C_lower between batch orders over that between initialisations, in
    a two-way table of as many of each, with the exact interval of the F distribution; by width. A part
    holds if its interval lies below 1."""
    ratios = facts["spread_over_orders_over_that_over_initialisations"]
    return combine({f"width {width}": judge_fact(ratio, most=1) for width, ratio in ratios.items()})
