"""Bounds against a number of things on logarithmic axes, with lines fitted to them."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipeline.figures.looks import LOOKS
from pipeline.statistics.growth import fitted, slopes_along


def draw_slopes(
    axes: Axes,
    data: pd.DataFrame,
    x: str,
    papers: Mapping[str, float],
    *,
    first: float = 1,
    top: float,
    left: bool,
) -> None:
    """Fitted lines from ``first`` on; their slopes beside the paper's, from the height ``top`` down."""
    for row, (name, fit) in enumerate(slopes_along(data, x, first).items()):
        line = fitted(data, name, fit, first, x)
        axes.plot(line.index, line, color="#222222", linewidth=0.7, linestyle=(0, (2, 2)), zorder=4)
        axes.text(
            *(0.02 if left else 0.98, top - 0.075 * row),
            f"slope {fit.slope:.2f} (paper {papers[name]:.2f})".replace("-", "\u2212"),
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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(label)
