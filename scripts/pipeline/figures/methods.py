"""Figures of bounds: a group of rows for each net, a row for each method."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipeline.figures.looks import BOUND_LOOKS, plain_log_x

ORDER = (
    "frobenius",
    "autolip",
    "seqlip",
    "seqlip_greedy",
    "seqlip_alternating",
    "seqlip_exact",
    "liplt",
    "eclipse",
    "eclipse_search",
    "lipsdp_descent",
    "lipsdp",
    "exact",
    "search",
    "grid",
    "data",
)
"""Methods from the top of a group down."""

REFERENCE: dict[str, Any] = {
    "marker": "o",
    "markersize": 6,
    "markerfacecolor": "none",
    "markeredgewidth": 0.7,
    "linestyle": "none",
    "color": "#555555",
}
"""A ring for a value that is not ours."""

References = Mapping[str, Mapping[str, float]]
"""Values to compare with, by net and method."""


def draw_groups(axes: Axes, table: pd.DataFrame, column: str, references: References) -> None:
    """Mean (mark) and range (line) of ``column`` by ``net`` and ``method``, and the references."""
    nets = list(dict.fromkeys(table["net"]))
    for group, net in enumerate(nets):
        part = table[table["net"] == net].groupby("method")[column]
        means, low, high = part.mean(), part.min(), part.max()
        known = references.get(net, {})
        present = [method for method in ORDER if method in means.index or method in known]
        for row, method in enumerate(present):
            look, y = BOUND_LOOKS[method], group + 0.86 * ((row + 0.5) / len(present) - 0.5)
            if method in means.index:
                ends = [low[method], high[method]]
                axes.plot(ends, [y, y], color=look.color, linewidth=0.9, alpha=0.6)
                axes.plot(means[method], y, marker=look.marker, color=look.color, linestyle="none")
            if method in known:
                axes.plot(known[method], y, **REFERENCE)
        if group:
            axes.axhline(group - 0.5, color="#bbbbbb", linewidth=0.6)
    plain_log_x(axes)
    axes.set_ylim(len(nets) - 0.5, -0.5)
    axes.set_yticks(range(len(nets)), nets, rotation=90, va="center")
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def legend_entries(table: pd.DataFrame, reference: str) -> tuple[list[Line2D], list[str]]:
    """Handles and labels of the methods of ``table``, and of the rings."""
    used = [method for method in ORDER if method in set(table["method"])]
    looks = [BOUND_LOOKS[method] for method in used]
    handles = [Line2D([], [], color=o.color, marker=o.marker, linestyle="none") for o in looks]
    return [*handles, Line2D([], [], **REFERENCE)], [*(look.label for look in looks), reference]
