"""Draw the errors of Gram iteration and power iteration against steps and time."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from pipeline.figures.looks import NORM_LOOKS, Look, corner_note, plain_log_x
from pipeline.figures.numbers import PLAIN
from pipeline.figures.room import Context, Facts, Tables, only

FLOOR = 2.0**-53
"""Errors are drawn no lower than this: half the distance of 1 to the next float."""

LOOKS = {
    "power": Look("#0072B2", "o", "-", "power iteration"),
    "gram": NORM_LOOKS["gram"],
    "certified": NORM_LOOKS["certified"],
}

LINES = {"gaussian": "-", "orthogonal": "--"}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Errors by steps, errors by time, and the enclosure that Gram iteration gives."""
    table = only(tables)
    figure, (steps, seconds, enclosure) = plt.subplots(
        1, 3, figsize=(7.2, 2.75), layout="constrained", gridspec_kw={"width_ratios": (1, 1, 0.85)}
    )
    for matrix, line in LINES.items():
        for method in ("power", "gram"):
            _draw_errors(steps, table, matrix, method, LOOKS[method]._replace(line=line))
            _draw_times(seconds, table, matrix, method, LOOKS[method]._replace(line=line))
    _draw_errors(steps, table, "gaussian", "gram_certified", LOOKS["certified"])
    steps.set_xscale("symlog", linthresh=1, linscale=0.4)
    steps.set_xlim(-0.1, table["steps"].max() * 1.3)
    ticks = [0, 1, 10, 100, 1000, 10_000]
    steps.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= steps.get_xlim()[1]]))
    steps.xaxis.set_major_formatter(PLAIN)
    steps.xaxis.set_minor_locator(NullLocator())
    steps.set_xlabel("steps (Gram products, or power steps)")
    steps.set_title("a   error by steps")
    plain_log_x(seconds)
    seconds.set_xlabel("best time (ms)")
    seconds.set_title("b   error by time")
    for axes in (steps, seconds):
        axes.set_yscale("log")
        axes.set_ylim(FLOOR / 40, 30)
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.axhline(FLOOR, color="#444444", linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)
    steps.set_ylabel(r"relative error $|v/\sigma_1 - 1|$")
    seconds.tick_params(labelleft=False)
    steps.text(0, FLOOR / 1.6, "rounding to nearest", fontsize=6, color="#444444", va="top")
    _draw_enclosure(enclosure, table)
    _legend(figure)
    settings = context["settings"]
    corner_note(
        figure,
        f"{context['scale']} scale, {settings['draws']} draws "
        f"(power iteration: {settings['starts']} start vectors each), "
        f"Gaussian {settings['rows']}x{settings['columns']}, orthogonal "
        f"{settings['orthogonal_size']}x{settings['orthogonal_size']}, float64, "
        f"{facts['device']}",
    )
    return figure


def _draw_errors(axes: Axes, table: pd.DataFrame, matrix: str, method: str, look: Look) -> None:
    """Geometric mean over draws and starts, with a band of one standard deviation of the log."""
    part = table[(table["matrix"] == matrix) & (table["method"] == method)]
    mean, deviation = _log_errors(part)
    axes.fill_between(
        mean.index,
        10 ** (mean - deviation),
        10 ** (mean + deviation),
        color=look.color,
        alpha=0.2,
        linewidth=0,
    )
    axes.plot(mean.index, 10**mean, **_marked(look, method), label="_")


def _draw_times(axes: Axes, table: pd.DataFrame, matrix: str, method: str, look: Look) -> None:
    part = table[(table["matrix"] == matrix) & (table["method"] == method)]
    mean, deviation = _log_errors(part)
    time = part.groupby("steps")["best_s"].min() * 1e3
    axes.fill_between(
        time,
        10 ** (mean - deviation),
        10 ** (mean + deviation),
        color=look.color,
        alpha=0.2,
        linewidth=0,
    )
    axes.plot(time, 10**mean, **_marked(look, method))


def _log_errors(part: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    logs = np.log10(part["error"].abs().clip(lower=FLOOR)).groupby(part["steps"])
    return logs.mean(), logs.std().fillna(0.0)


def _marked(look: Look, method: str) -> dict[str, Any]:
    hollow = look.line != "-"
    return {
        "color": look.color,
        "linestyle": look.line,
        "marker": look.marker,
        "markersize": 2.6 if method == "power" else 3.6,
        "markevery": 2 if method == "power" else 1,
        "markerfacecolor": "white" if hollow else look.color,
        "markeredgewidth": 0.8,
        "linewidth": 0.9 if method == "gram_certified" else 1.2,
    }


def _draw_enclosure(axes: Axes, table: pd.DataFrame) -> None:
    color = LOOKS["gram"].color
    for matrix, line in LINES.items():
        part = table[(table["matrix"] == matrix) & (table["draw"] == 0)].drop_duplicates(
            ["method", "steps"]
        )
        ratio = (part["value"] / part["reference"]).groupby([part["method"], part["steps"]]).first()
        lower, upper = ratio["gram_lower"], ratio["gram"]
        axes.fill_between(
            lower.index, lower, upper, alpha=0.15 if line == "-" else 0.1, color=color, linewidth=0
        )
        face = color if line == "-" else "white"
        for end, marker in ((upper, "v"), (lower, "^")):
            axes.plot(
                end.index,
                end,
                color=color,
                linestyle=line,
                marker=marker,
                markerfacecolor=face,
                markersize=3,
                linewidth=1,
                markeredgewidth=0.8,
            )
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Gram products")
    axes.set_ylabel(r"enclosure of $\sigma_1$, relative")
    axes.set_title("c   Gram iteration encloses")


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], **_marked(LOOKS[name], name), label=LOOKS[name].label)
        for name in ("power", "gram")
    ]
    certified = LOOKS["certified"]
    handles.append(
        Line2D([], [], **_marked(certified, "gram_certified"), label="Gram iteration, certified")
    )
    for line, text in (
        ("-", r"Gaussian: $\sigma_1$ simple"),
        ("--", r"orthogonal: all $\sigma_i$ equal"),
    ):
        handles.append(Line2D([], [], color="#444444", linestyle=line, linewidth=1.2, label=text))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=1.2)


def _device(table: pd.DataFrame) -> str:
    return "one CPU thread" if table["device"].iloc[0] == "cpu" else "GPU"


def measure(tables: Tables, context: Context) -> Facts:
    """Errors of the first draw by step, and error and time at the last step of each method."""
    table = only(tables)
    first = table[(table["draw"] == 0) & (table["start"] == 0)]
    gram = first[first["method"] == "gram"]
    result: dict[str, Any] = {
        f"gram_errors_{matrix}": gram[gram["matrix"] == matrix].sort_values("steps")["error"].tolist()
        for matrix in LINES
    }
    gaussian = first[first["matrix"] == "gaussian"]
    for method in ("gram", "power"):
        last = gaussian[gaussian["method"] == method].sort_values("steps").iloc[-1]
        result[f"{method} {last['steps']} steps"] = {
            "difference": float(last["value"] - last["reference"]),
            "best_ms": 1e3 * float(last["best_s"]),
            "median_ms": 1e3 * float(last["median_s"]),
        }
    result["reference"] = float(gaussian["reference"].iloc[0])
    result["device"] = _device(table)
    proved = table[table["method"] == "gram_certified"]
    result["certified_never_below_the_reference"] = bool((proved["value"] >= proved["reference"]).all())
    return result | {"published": context["printed"]}
