"""The small multiples: what is held equal from left to right, what is compared from above."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.beyond.decoupled import cuts
from pipeline.figures.looks import (
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.room import Context
from pipeline.figures.width import loss_label, shades

_STOP = Look("#7A7A7A", "P", "--", "at the stop")
_SIZES = {
    "logit_norm": Look("#CC79A7", "v", "-", "mean norm of logits"),
    "margin": Look("#009E73", "s", "--", "mean margin"),
}
_C = {"c_lower": r"$C_\mathrm{lower}$", "c_upper": r"$C_\mathrm{upper}$"}

Curves = Iterator[tuple[Look, pd.DataFrame]]


def draw(
    sweep: cuts.Sweep, losses: Sequence[float], errors: Sequence[float], context: Context
) -> Figure:
    """Three columns with the same scales, and one of ratios with those of its own."""
    figure = plt.figure(figsize=(6.9, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.72, 1])
    panels = left.subplots(3, 3, sharex=True, sharey="row")
    columns = {
        "a   same updates": _at_updates(sweep),
        "b   same training loss": _at_loss(sweep, losses),
        "c   same training error": _at_error(sweep, errors),
    }
    for column, (title, curves) in zip(panels.T, columns.items(), strict=True):
        _draw_column(column, list(curves), title)
    beside = right.subplots(3, 1, sharex=True)
    _draw_over_sizes(beside, sweep)
    labels = [f"{_C[name]} (logits per unit of input)" for name in cuts.BOUNDS]
    settings = context["settings"]["equal_updates"]
    for axes, label in zip(panels[:, 0], [*labels, f"test {loss_label(settings)}"], strict=True):
        axes.set_ylabel(label)
    _finish([*panels.flat, *beside.flat], sweep)
    for axes in (*panels[-1], beside[-1]):
        axes.set_xlabel("width")
    seeds = sweep.data["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds, bands: ±1 std")
    return figure


def _at_updates(sweep: cuts.Sweep) -> Curves:
    for look, epoch in zip(shades([f"{e:,} epochs" for e in sweep.epochs]), sweep.epochs, strict=True):
        yield look, cuts.at_epoch(sweep.data, epoch)


def _at_loss(sweep: cuts.Sweep, losses: Sequence[float]) -> Curves:
    yield _STOP, sweep.stop[sweep.stop["width"].isin(sweep.data["width"].unique())]
    for look, loss in zip(shades([f"{loss:g} nats" for loss in losses]), losses, strict=True):
        yield look, cuts.reached_by_all(cuts.at_loss(sweep.data, loss), sweep.data)


def _at_error(sweep: cuts.Sweep, errors: Sequence[float]) -> Curves:
    for look, error in zip(shades([f"{100 * error:g} %" for error in errors]), errors, strict=True):
        yield look, cuts.reached_by_half(cuts.at_error(sweep.data, error), sweep.data)


def _draw_column(column: Any, curves: Sequence[tuple[Look, pd.DataFrame]], title: str) -> None:
    for axes, name in zip(column, cuts.MEASURED, strict=True):
        for look, rows in curves:
            draw_seeds(axes, _shown(rows), "width", name, look)
    column[0].set_title(title, fontsize=8)
    _legend(column[0])


def _draw_over_sizes(column: Any, sweep: cuts.Sweep) -> None:
    """Bounds over the sizes of the outputs after all updates, and these themselves below."""
    rows = cuts.over_sizes(cuts.at_epoch(sweep.data, sweep.epochs[-1]), sweep.sizes)
    for axes, bound in zip(column, cuts.BOUNDS, strict=False):
        for size, look in _SIZES.items():
            draw_seeds(axes, _shown(rows), "width", f"{bound}_over_{size}", look)
        axes.set_ylabel(f"{_C[bound]} / scale (1 / unit of input)")
    for size, look in _SIZES.items():
        draw_seeds(column[-1], _shown(rows), "width", size, look)
    column[-1].set_ylabel("scale (logits)")
    column[0].set_title("d   over the scale", fontsize=8)
    _legend(column[0])


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Nets that are compared have not stopped, and so not at the cap."""
    return rows.assign(stop_reason="compared")


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.14), ncols=1, fontsize=6.5, handlelength=2)


def _finish(panels: Sequence[Axes], sweep: cuts.Sweep) -> None:
    widths = sorted(sweep.data["width"].unique()) or [1]
    for axes in panels:
        if not np.isfinite(axes.dataLim.intervaly).all():
            axes.set_ylim(0.1, 1)
        plain_log_axis(axes)
        width_axis(axes, widths)
        draw_threshold(axes, sweep.threshold)
