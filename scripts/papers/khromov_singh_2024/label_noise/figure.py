"""Draw the largest Jacobian norm and the test loss over width and label noise."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from pipeline.figures.looks import (
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import BOUNDS, curve_facts, loss_label, note, prepared, shades
from pipeline.statistics.intervals import peak_location

_NOISE = "label noise (%)"
_LOWER = r"$C_\mathrm{lower}$ (logits per unit of input)"
_PEAKS = {
    "c_upper": Look("#D55E00", "^", "-", r"$C_\mathrm{upper}$"),
    "c_lower": Look("#0072B2", "o", "-", r"$C_\mathrm{lower}$"),
    "test_loss": Look("#000000", "D", "--", "test loss"),
}
_SIDE = 1.06
"""Factor in width between marks of different quantities at the same noise."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Heat maps above, cuts through them, and where along the width each row peaks."""
    data = prepared(only(tables))
    threshold = context["settings"]["threshold_width"]
    test_loss = f"test {loss_label(context['settings'])}"
    figure = plt.figure(figsize=(6.9, 7.2), layout="constrained")
    # rows of their own, for what stands beside the panels differs
    panels = np.array([row.subplots(1, 2) for row in figure.subfigures(3, 1)])
    _draw_heat(panels[0, 0], means(data, "c_lower"), _LOWER)
    _draw_heat(panels[0, 1], means(data, "test_loss"), test_loss)
    _draw_over_width(panels[1, 0], data, "c_lower", threshold)
    _draw_over_noise(panels[1, 1], data, "c_lower")
    _draw_over_width(panels[2, 0], data, "test_loss", threshold)
    _draw_peaks(panels[2, 1], data, threshold)
    for axes in panels[1]:
        axes.set_ylabel(_LOWER)
    panels[2, 0].set_ylabel(test_loss)
    for letter, axes in zip("abcdef", panels.flat, strict=True):
        axes.set_title(letter)
    corner_note(figure, note(data, context))
    return figure


def means(data: pd.DataFrame, name: str) -> pd.DataFrame:
    """Means over seeds, a row for each noise and a column for each width."""
    finite = data[np.isfinite(data[name])]
    return finite.pivot_table(index="noise", columns="width", values=name, aggfunc="mean")


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks along the width for each noise, and along the noise for each width."""
    data = prepared(only(tables))
    names = (*BOUNDS, "test_loss", "test_error")
    return {
        "over_width": {
            str(noise): {name: curve_facts(rows, name) for name in names}
            for noise, rows in data.groupby("noise")
        },
        "over_noise": {
            str(width): {name: curve_facts(rows, name, "noise") for name in names}
            for width, rows in data.groupby("width")
        },
        "mean_c_lower": _cells(means(data, "c_lower")),
        "mean_test_loss": _cells(means(data, "test_loss")),
        "stop_reasons": data["stop_reason"].value_counts().sort_index().to_dict(),
    }


def _cells(table: pd.DataFrame) -> Facts:
    return {
        f"noise {noise}": {str(width): float(value) for width, value in row.dropna().items()}
        for noise, row in table.iterrows()
    }


def _draw_heat(axes: Axes, table: pd.DataFrame, label: str) -> None:
    """The table as coloured cells with their values, the largest of each row framed."""
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
    for row in np.flatnonzero(~np.isnan(values).all(axis=1)):
        corner = (np.nanargmax(values[row]) + 0.04, row + 0.06)
        axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor="#D0006F", linewidth=1.6))
    axes.set_xticks(np.arange(len(table.columns)) + 0.5, table.columns)
    axes.set_yticks(np.arange(len(table.index)) + 0.5, table.index)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set(xlabel="width", ylabel=_NOISE)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, label=label)
    plain_log_axis(bar.ax)


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


def _draw_peaks(axes: Axes, data: pd.DataFrame, threshold: float) -> None:
    """The width of the largest mean for each noise, with its bootstrap interval."""
    for side, (name, look) in enumerate(_PEAKS.items()):
        rows = data[np.isfinite(data[name])]
        peaks = {noise: peak_location(one, "width", name) for noise, one in rows.groupby("noise")}
        noises = [float(noise) for noise in peaks]
        shift = _SIDE ** (side - 1)
        where = np.array([peak.position for peak in peaks.values()])
        low = np.nan_to_num([peak.position - peak.low for peak in peaks.values()])
        high = np.nan_to_num([peak.high - peak.position for peak in peaks.values()])
        axes.errorbar(
            noises, where * shift, (low * shift, high * shift), color=look.color, marker=look.marker,
            linestyle=look.line, label=look.label, capsize=2, linewidth=1, elinewidth=0.8,
        )  # fmt: skip
    widths = sorted(data["width"].unique())
    axes.set_yscale("log", base=2)
    axes.set_yticks(widths, [str(width) for width in widths])
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
