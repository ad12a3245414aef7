"""The largest Jacobian norm and the test loss over width and label noise, measured and drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from pipeline.claims.findings import UntestedError, measured
from pipeline.figures.flanks import fall_on_flanks, narrowest_that_fits, that_fit
from pipeline.figures.looks import (
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts
from pipeline.figures.width import (
    BOUNDS,
    curve_facts,
    loss_label,
    note,
    shades,
    smaller_falls,
)
from pipeline.statistics.curves import hump, spearman
from pipeline.statistics.intervals import Interval, ratio_interval

_NOISE = "label noise (%)"
_LOWER = r"$C_\mathrm{lower}$ (logits per unit of input)"
_PEAKS = {
    "c_upper": Look("#D55E00", "^", "-", r"$C_\mathrm{upper}$"),
    "c_lower": Look("#0072B2", "o", "-", r"$C_\mathrm{lower}$"),
    "test_loss": Look("#000000", "D", "--", "test loss"),
}
_FLANK = 2
"""Flanks end this factor below and above the threshold of the same share of noise."""

_APART = 1.6
"""Per cent of noise between marks of different quantities."""


def noise_facts(data: pd.DataFrame) -> Facts:
    """Peaks along the width for each noise and along the noise for each width, and what moves them.

    ``data`` are prepared rows at the stop, of all widths and shares of noise.
    """
    names = (*BOUNDS, "test_loss", "test_error")
    return {
        "over_width": {
            str(noise): {name: curve_facts(rows, name) for name in names}
            for noise, rows in data.groupby("noise")
        },
        "mean_c_lower": _cells(data, "c_lower"),
        "mean_test_loss": _cells(data, "test_loss"),
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
        "narrowest_that_fits": {
            str(noise): measured(narrowest_that_fits, rows) for noise, rows in data.groupby("noise")
        },
        "fall_over_width_as_trained": {
            str(noise): smaller_falls(rows, ["c_lower"])["c_lower"]
            for noise, rows in data.groupby("noise")
        },
        "fall_on_both_flanks_over_width": {
            str(noise): measured(_fall_over_width, rows) for noise, rows in data.groupby("noise")
        },
        "fall_on_both_sides_over_noise": {
            str(width): measured(_fall_over_noise, rows) for width, rows in data.groupby("width")
        },
        "rank_correlation_of_noise_and_width_of_peak": measured(_peak_follows_noise, data),
        "widest_over_narrowest_that_fits_at_most_noise": measured(_widest_over_narrowest, data),
    }


def _cells(data: pd.DataFrame, name: str) -> Facts:
    """Means over seeds by noise and width."""
    finite = data[np.isfinite(data[name])]
    table = finite.pivot_table(index="noise", columns="width", values=name, aggfunc="mean")
    return {
        f"noise {noise}": {str(width): float(value) for width, value in row.dropna().items()}
        for noise, row in table.iterrows()
    }


def _peak_follows_noise(data: pd.DataFrame) -> Interval | float:
    """Rank correlation over seeds, 0 for one whose peak stays; exactly 0 where all are at one width."""
    rows = data.dropna(subset=["c_lower"])
    peaks = rows.loc[rows.groupby(["noise", "seed"])["c_lower"].idxmax()]
    peaks = peaks.assign(level=peaks["noise"], log_width=np.log(peaks["width"]))
    if peaks["noise"].nunique() > 2 and peaks["width"].nunique() == 1:
        return 0.0
    return spearman(peaks, "level", "log_width", x="noise", unchanged=0.0)


def _fall_over_width(rows: pd.DataFrame) -> Interval:
    """Of C_lower at one share of noise, on both flanks of the threshold of that share."""
    return fall_on_flanks(rows, "c_lower", narrowest_that_fits(rows), _FLANK)


def _fall_over_noise(rows: pd.DataFrame) -> Interval:
    """Of C_lower at one width, where the largest share of noise that it fits is inside of the shares."""
    noises, fitting = sorted(rows["noise"].unique()), that_fit(rows, "noise")
    if not fitting:
        raise UntestedError("no share of noise is fitted, so that the threshold is wider at all of them")
    if fitting[-1] in noises[-1:]:
        raise UntestedError("the largest share of noise is fitted, so that there is none beyond")
    if fitting[-1] in noises[:1]:
        raise UntestedError("only the least share of noise is fitted, so that there is none below")
    return hump(rows, "noise", "c_lower")


def _widest_over_narrowest(data: pd.DataFrame) -> Interval:
    """C_lower of the widest nets over that of the narrowest, of those that fit the most noise."""
    rows = data[data["noise"] == data["noise"].max()]
    fitting = that_fit(rows, "width")
    if len(fitting) < 2:
        raise UntestedError("no two widths fit the labels")
    narrow, wide = (rows[rows["width"] == width] for width in (min(fitting), max(fitting)))
    return ratio_interval(wide["c_lower"], narrow["c_lower"])


def draw_noise(data: pd.DataFrame, facts: Facts, context: Context) -> Figure:
    """Heat maps above, cuts through them, and where along the width each row peaks.

    ``facts`` are those of :func:`noise_facts`.
    """
    threshold = context["settings"]["threshold_width"]
    test_loss = f"test {loss_label(context['settings'])}"
    figure = plt.figure(figsize=(6.9, 7.2), layout="constrained")
    # rows of their own, for what stands beside the panels differs
    panels = np.array([row.subplots(1, 2) for row in figure.subfigures(3, 1)])
    _draw_heat(panels[0, 0], facts, "c_lower", _LOWER)
    _draw_heat(panels[0, 1], facts, "test_loss", test_loss)
    _draw_over_width(panels[1, 0], data, "c_lower", threshold)
    _draw_over_noise(panels[1, 1], data, "c_lower")
    _draw_over_width(panels[2, 0], data, "test_loss", threshold)
    _draw_peaks(panels[2, 1], facts, sorted(data["width"].unique()), threshold)
    for axes in panels[1]:
        axes.set_ylabel(_LOWER)
    panels[2, 0].set_ylabel(test_loss)
    for letter, axes in zip("abcdef", panels.flat, strict=True):
        axes.set_title(letter)
    corner_note(figure, note(data, context))
    return figure


def _draw_heat(axes: Axes, facts: Facts, name: str, label: str) -> None:
    """Means as coloured cells with their values, the largest of each noise framed."""
    table = _from_cells(facts[f"mean_{name}"])
    values = table.to_numpy()
    if np.isnan(values).all():
        return
    norm = LogNorm(np.nanmin(values), np.nanmax(values) * (1 + 1e-9))
    mesh = axes.pcolormesh(values, norm=norm, cmap="viridis", rasterized=True)
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{value:.0f}" if value >= 10 else f"{value:.1f}",
            ha="center",
            va="center",
            fontsize=6 if table.size < 80 else 5,
            color="black" if norm(value) > 0.55 else "white",
        )
    for row, noise in enumerate(table.index):
        peak = facts["over_width"][str(noise)][name]["peak_width"]
        corner = (table.columns.get_loc(peak) + 0.04, row + 0.06)
        axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor="#D0006F", linewidth=1.6))
    axes.set_xticks(np.arange(len(table.columns)) + 0.5, table.columns)
    axes.set_yticks(np.arange(len(table.index)) + 0.5, table.index)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set(xlabel="width", ylabel=_NOISE)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, label=label)
    plain_log_axis(bar.ax)


def _from_cells(cells: Facts) -> pd.DataFrame:
    """The means again: a row for each noise and a column for each width."""
    rows = {int(noise.removeprefix("noise ")): row for noise, row in cells.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", dtype=float)
    table.columns = table.columns.astype(int)
    return table.sort_index().sort_index(axis="columns")


def _draw_over_width(axes: Axes, data: pd.DataFrame, name: str, threshold: float) -> None:
    groups = data.groupby("noise")
    for look, (_, rows) in zip(shades([str(noise) for noise in groups.groups]), groups, strict=True):
        draw_seeds(axes, rows, "width", name, look)
    plain_log_axis(axes)
    width_axis(axes, sorted(data["width"].unique()))
    draw_threshold(axes, threshold)
    axes.set_xlabel("width")
    _legend_at_the_side(axes, "noise (%)")


def _draw_over_noise(axes: Axes, data: pd.DataFrame, name: str) -> None:
    groups = data.groupby("width")
    for look, (_, rows) in zip(shades([str(width) for width in groups.groups]), groups, strict=True):
        draw_seeds(axes, rows, "noise", name, look)
    plain_log_axis(axes)
    axes.set_xlabel(_NOISE)
    _legend_at_the_side(axes, "width")


def _draw_peaks(axes: Axes, facts: Facts, widths: list[int], threshold: float) -> None:
    """The width of the largest mean for each noise, with the interval of its place."""
    shown = [threshold]
    for side, (name, look) in enumerate(_PEAKS.items()):
        peaks = {float(noise): one[name] for noise, one in facts["over_width"].items() if one[name]}
        shifted = [noise + _APART * (side - 1) for noise in peaks]
        where = [peak["peak_width_refined"] for peak in peaks.values()]
        axes.plot(
            shifted, where, look.line, color=look.color, linewidth=0.8, marker=look.marker,
            markersize=2.8, label=look.label,
        )  # fmt: skip
        for noise, peak in zip(shifted, peaks.values(), strict=True):
            if ends := peak["peak_width_interval"]:
                axes.vlines(noise, *ends, color=look.color, linewidth=2.2, alpha=0.6)
                shown += ends
        shown += where
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(shown) / 1.15, max(shown) * 1.15)
    low, high = axes.get_ylim()
    ticks = [width for width in widths if low <= width <= high]
    axes.set_yticks(ticks, [str(width) for width in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(threshold, color="#444444", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    axes.set(xlabel=_NOISE, ylabel="width of the largest mean")
    axes.legend(loc="best")


def _legend_at_the_side(axes: Axes, title: str) -> None:
    axes.legend(
        title=title, title_fontsize=6.5, fontsize=6.5, loc="upper left", bbox_to_anchor=(1, 1.03),
        labelspacing=0.25, handlelength=1.4, borderaxespad=0.2,
    )  # fmt: skip
