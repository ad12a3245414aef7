"""Curves along training, and axes of figures that have them."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from pipeline.figures.looks import Look, draw_seeds
from pipeline.figures.numbers import PLAIN
from pipeline.statistics.growth import shared_epochs


def draw_training(axes: Axes, data: pd.DataFrame, y: str, look: Look, x: str = "epoch") -> None:
    """Mean and band over the epochs that all seeds have, and each seed to its own stop, faintly."""
    shared = shared_epochs(data, x)
    draw_seeds(axes, shared.assign(stop_reason="kept"), x, y, look)
    for _, one in data[np.isfinite(data[y])].sort_values(x).groupby("seed"):
        axes.plot(one[x], one[y], color=look.color, alpha=0.3, linewidth=0.5, linestyle=look.line)


def draw_geometric(axes: Axes, data: pd.DataFrame, y: str, look: Look, x: str = "epoch") -> None:
    """Geometric mean with a band of one standard deviation of the logarithm, and a line per seed.

    For curves that rise earlier with some seeds than with others: arithmetic bands reach below zero.
    """
    data = data[data[y] > 0].sort_values(x)
    for _, one in data.groupby("seed"):
        axes.plot(one[x], one[y], color=look.color, alpha=0.35, linewidth=0.5, linestyle=look.line)
    logs = np.log(shared_epochs(data, x).set_index(x)[y]).groupby(level=0)
    mean, deviation = logs.mean(), logs.std().fillna(0)
    band = np.exp(mean - deviation), np.exp(mean + deviation)
    axes.fill_between(mean.index, *band, color=look.color, alpha=0.15, linewidth=0)
    axes.plot(
        *(mean.index, np.exp(mean)),
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        label=look.label,
    )


def epoch_axis(axes: Axes, *, last: float, label: str = "epoch") -> None:
    """Logarithmic from 1 on, with initialisation (0) to the left of it."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.35)
    decades = range(math.floor(math.log10(max(last, 1))) + 1)
    step = 1 if len(decades) < 5 else 2
    powers = list(decades)[len(decades[1:]) % step :: step]
    axes.xaxis.set_major_locator(FixedLocator([0, *(10.0**power for power in powers)]))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(FixedLocator([k * 10.0**d for d in decades for k in range(1, 10)]))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(-0.25, 1.15 * last)
    axes.set_xlabel(label)


def category_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Labels at 0, 1, 2, ... on the x axis."""
    axes.set_xticks(range(len(labels)), labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.grid(False, axis="x")


def ordered_looks(labels: Sequence[str]) -> list[Look]:
    """Looks of an ordered quantity, from dark to light, also in grey."""
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.82, max(2, len(labels))))
    markers, lines = "osD^vP*X", ("-", "--", "-.", ":")
    return [
        Look(mpl.colors.to_hex(colors[i]), markers[i % 8], lines[i % 4], label)
        for i, label in enumerate(labels)
    ]
