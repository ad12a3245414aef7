"""Bounds against a number of things on logarithmic axes, with lines fitted to them."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from pipeline.figures.looks import LOOKS
from pipeline.figures.numbers import PLAIN
from pipeline.statistics.growth import BOUNDS, fitted


def draw_slopes(
    axes: Axes,
    fits: Mapping[str, Mapping[str, float]],
    papers: Mapping[str, float],
    x: Sequence[float],
    *,
    top: float,
    left: bool,
) -> None:
    """Lines that were fitted at ``x``; their slopes beside the paper's, from the height ``top`` down.

    ``fits`` are those of :mod:`pipeline.statistics.growth`, by bound; of both there may be none.
    """
    for row, name in enumerate(name for name in BOUNDS if name in fits):
        heights = fitted(fits[name], x)
        axes.plot(x, heights, color="#222222", linewidth=0.7, linestyle=(0, (2, 2)), zorder=4)
        beside = f" (paper {papers[name]:.2f})" if name in papers else ""
        axes.text(
            *(0.02 if left else 0.98, top - 0.075 * row),
            f"slope {fits[name]['slope']:.2f}{beside}".replace("-", "\u2212"),
            transform=axes.transAxes,
            ha="left" if left else "right",
            fontsize=6.5,
            color=LOOKS[name].color,
        )


def count_axis(axes: Axes, values: "pd.Series[int]", label: str) -> None:
    """Logarithmic x axis with a tick at each of ``values``."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(values.unique())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel(label)
