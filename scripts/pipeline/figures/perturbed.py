"""Figures of nets at points that were moved by some radius."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.figures.looks import Look
from pipeline.figures.numbers import log_numbers

_MARKERS = "osD^vPX"


def radius_looks(radii: Sequence[float], label: str) -> dict[float, Look]:
    """Looks that get darker with the radius; ``label`` formats it."""
    shades = mpl.colormaps["viridis_r"]
    last = max(1, len(radii) - 1)
    return {
        radius: Look(
            mpl.colors.to_hex(shades(0.12 + 0.88 * place / last)),
            _MARKERS[place % len(_MARKERS)],
            "-",
            label.format(radius),
        )
        for place, radius in enumerate(radii)
    }


def radius_legend(figure: Figure, looks: dict[float, Look], title: str) -> None:
    """The radii, above all panels."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, label=look.label) for look in looks.values()
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(looks), title=title, title_fontsize=7
    )


def share_scale(first: Axes, second: Axes) -> None:
    """The same limits and numbers on both y axes, which are logarithmic."""
    limits = [*first.get_ylim(), *second.get_ylim()]
    low, high = min(limits), max(limits)
    for axes in (first, second):
        axes.set_ylim(low, high)
        log_numbers(axes.yaxis, low, high)
