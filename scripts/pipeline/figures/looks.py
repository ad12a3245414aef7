"""The visual language of all figures: what each quantity looks like, bands, marks and saving."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipeline.figures.numbers import PLAIN, log_numbers
from pipeline.provenance.files import write_bytes


class Look(NamedTuple):
    """Colour (Okabe & Ito, distinct in grey too), marker, line style and label of a quantity."""

    color: str
    marker: str
    line: str
    label: str


LOOKS = {
    "c_upper": Look("#D55E00", "^", "-", r"$C_\mathrm{upper}$  (layer product)"),
    "c_lower": Look("#0072B2", "o", "-", r"$C_\mathrm{lower}$  (largest Jacobian norm)"),
    "c_avg": Look("#7A7A7A", "s", "-", r"$C_\mathrm{avg}$  (mean Jacobian norm)"),
    "train": Look("#009E73", "o", "--", "training"),
    "test": Look("#000000", "D", "-", "test"),
}


BOUND_LOOKS = {
    "autolip": Look("#D55E00", "^", "-", "AutoLip"),
    "seqlip": Look("#CC79A7", "v", "-", "SeqLip (certified)"),
    "seqlip_exact": Look("#882255", "<", "-", "SeqLip (exact pairs)"),
    "seqlip_greedy": Look("#CC79A7", "x", ":", "greedy SeqLip (estimate)"),
    "seqlip_alternating": Look("#CC79A7", "+", ":", "SeqLip by alternation (estimate)"),
    "frobenius": Look("#7A7A7A", "h", "-", "Frobenius norms"),
    "liplt": Look("#E69F00", "s", "-", "LipLT"),
    "eclipse": Look("#009E73", "D", "-", "ECLipsE-Fast"),
    "eclipse_search": Look("#117733", "d", "-", "ECLipsE-Fast, searched"),
    "lipsdp_descent": Look("#56B4E9", "p", "-", "LipSDP by descent"),
    "lipsdp": Look("#332288", "P", "-", "LipSDP by a solver"),
    "exact": Look("#000000", "*", "-", "exact"),
    "search": Look("#0072B2", "o", "-", "lower bound by search"),
    "grid": Look("#0072B2", "X", ":", "lower bound on a grid"),
    "data": Look("#0072B2", ".", "--", "lower bound on points"),
}
"""What each method to bound a Lipschitz constant looks like."""


NORM_LOOKS = {
    "certified": Look("#D55E00", "^", "-", "certified (ours)"),
    "gram": Look("#009E73", "D", "-", "Gram iteration"),
    "norm2toep": Look("#E69F00", "s", "-", "norm2toep"),
    "farnia_ryu": Look("#0072B2", "o", ":", "Farnia, Ryu"),
    "singla_feizi": Look("#CC79A7", "v", "-", "Singla & Feizi"),
    "araujo": Look("#7A7A7A", "<", "-", "Araujo"),
}
"""What methods to bound the norm of a matrix or convolution look like, if several figures have them."""


OPAQUE: dict[str, Any] = {
    "frameon": True,
    "framealpha": 1,
    "facecolor": "white",
    "edgecolor": "none",
    "borderpad": 0.1,
}
"""A legend that hides what is behind it, such as the line of a threshold."""


def corner_note(figure: Figure, text: str) -> None:
    """Scale, seeds and the like, small in the lower right corner."""
    figure.text(0.995, -0.005, text, ha="right", va="top", fontsize=6, color="#555555")


def title_of_weights(pretrained: bool) -> str:
    """A title for nets of a paper whose trained weights are not there, none for those that are."""
    return "" if pretrained else "random weights: no reproduction until trained ones are given"


def use_style(style: Path) -> None:
    """Apply the project's style sheet."""
    plt.style.use(style)


def draw_seeds(axes: Axes, data: pd.DataFrame, x: str, y: str, look: Look) -> None:
    """Mean over seeds with a band of one standard deviation.

    The band ends at the lowest seed where it would go below that, so that no band shows a loss
    below 0. ``data`` has one row per seed and value of ``x``. Non-finite values are left out. Where
    some seeds stopped at the epoch cap the mean's marker is hollow.
    """
    finite = data[np.isfinite(data[y])].sort_values(x)
    groups = finite.groupby(x)
    mean, deviation = groups[y].mean(), groups[y].std().fillna(0)
    low = np.maximum(mean - deviation, groups[y].min())
    axes.fill_between(mean.index, low, mean + deviation, color=look.color, alpha=0.18, linewidth=0)
    axes.plot(
        *(mean.index, mean),
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        markevery=[],  # for the legend; on the line some are hollow
        label=look.label,
    )
    capped = groups["stop_reason"].apply(lambda reasons: (reasons == "epoch_cap").any())
    for hollow in (False, True):
        part = mean[capped == hollow]
        axes.plot(
            part.index,
            part,
            linestyle="none",
            marker=look.marker,
            color=look.color,
            markerfacecolor="white" if hollow else look.color,
            markeredgewidth=0.8,
        )


def mark_diverged(axes: Axes, data: pd.DataFrame, x: str) -> None:
    """A cross on the upper edge over each ``x`` at which a seed diverged."""
    where = sorted(data.loc[data["stop_reason"] == "diverged", x].unique())
    if where:
        axes.plot(
            where,
            [1.0] * len(where),
            linestyle="none",
            marker="X",
            markersize=5,
            color="#CC0000",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="a seed diverged",
        )


def draw_threshold(axes: Axes, width: float) -> None:
    """The interpolation threshold as a vertical line."""
    axes.axvline(width, color="#444444", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)


def width_axis(axes: Axes, widths: Sequence[int]) -> None:
    """Logarithmic axis with ticks at the powers of two among ``widths``, all of which lie on it."""
    axes.update_datalim([(width, 0) for width in widths], updatey=False)
    axes.set_xscale("log", base=2)
    powers = [w for w in sorted(widths) if w & (w - 1) == 0] or sorted(widths)
    axes.set_xticks(powers[:: max(1, -(-len(powers) // 8))])
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())


def plain_log_axis(axes: Axes) -> None:
    """Logarithmic y axis with numbers, the more of them per decade the shorter it is.

    Of axes that share it the one that was drawn last has to come last.
    """
    if not axes.dataLim.intervaly[1] > 0:  # nothing to show, every seed diverged
        axes.set_ylim(0.1, 1)
    axes.set_yscale("log")
    limits = [other.dataLim for other in axes.get_shared_y_axes().get_siblings(axes)]
    low, high = min(one.minposy for one in limits), max(one.intervaly[1] for one in limits)
    log_numbers(axes.yaxis, low, high)


def plain_log_x(axes: Axes) -> None:
    """The same for an x axis, on which all has been drawn."""
    axes.set_xscale("log")
    log_numbers(axes.xaxis, *axes.get_xlim())


def save(figure: Figure, pdf: Path, png: Path) -> None:
    """Write both formats without dates, so that equal figures are equal files."""
    for path, metadata in ((pdf, {"CreationDate": None}), (png, {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], metadata=metadata)
        write_bytes(path, buffer.getvalue())
    plt.close(figure)
