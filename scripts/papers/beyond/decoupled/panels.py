"""The small multiples: what is held equal from left to right, what is compared from above."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
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
    figure, panels = plt.subplots(3, 4, figsize=(6.9, 5.7), layout="constrained", sharex=True)
    for row in panels:
        for axes in row[1:3]:
            axes.sharey(row[0])
            axes.tick_params(labelleft=False)
    columns = {
        "a   same updates": _at_updates(sweep),
        "b   same loss": _at_loss(sweep, losses),
        "c   same error": _at_error(sweep, errors),
    }
    for column, (title, curves) in zip(panels.T, columns.items(), strict=False):
        _draw_column(column, list(curves), title)
    _draw_over_sizes(panels[:, 3], sweep)
    labels = [f"{_C[name]}\n(logits per unit of input)" for name in cuts.BOUNDS]
    settings = context["settings"]["equal_updates"]
    for axes, label in zip(panels[:, 0], [*labels, f"test {loss_label(settings)}"], strict=True):
        axes.set_ylabel(label, fontsize=7)
    for row in panels:
        _logarithmic(row[:3])
        _logarithmic(row[3:])
    for axes in panels.flat:
        width_axis(axes, sorted(sweep.data["width"].unique()) or [1])
        draw_threshold(axes, sweep.threshold)
    for axes in panels[-1]:
        axes.set_xlabel("width")
    corner_note(figure, _note(sweep, context))
    return figure


def _note(sweep: cuts.Sweep, context: Context) -> str:
    seeds, stopped = (rows["seed"].nunique() for rows in (sweep.data, sweep.stop))
    hollow = "; hollow: epoch cap" if "epoch_cap" in set(sweep.stop["stop_reason"]) else ""
    return f"{context['scale']} scale, {seeds} seeds, {stopped} at the stop, bands: ±1 std{hollow}"


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
            label = look.label if len(rows) else f"{look.label} (too few runs)"
            draw_seeds(axes, _shown(rows), "width", name, look._replace(label=label))
    column[0].set_title(title, fontsize=8)
    _legend(column[0])


def _draw_over_sizes(column: Any, sweep: cuts.Sweep) -> None:
    """Bounds over the sizes of the outputs after all updates, and these themselves below."""
    rows = cuts.over_sizes(cuts.at_epoch(sweep.data, sweep.epochs[-1]), sweep.sizes)
    for axes, bound in zip(column, cuts.BOUNDS, strict=False):
        for size, look in _SIZES.items():
            draw_seeds(axes, _shown(rows), "width", f"{bound}_over_{size}", look)
        axes.set_ylabel(f"{_C[bound]} / scale\n(per unit of input)", fontsize=7)
    for size, look in _SIZES.items():
        draw_seeds(column[-1], _shown(rows), "width", size, look)
    column[-1].set_ylabel("scale (logits)", fontsize=7)
    column[0].set_title("d   over scale", fontsize=8)
    _legend(column[0])


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Nets that are compared along their training have not stopped, and so not at the cap."""
    return rows if "stop_reason" in rows else rows.assign(stop_reason="compared")


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.14), ncols=1, fontsize=6.5, handlelength=2)


def _logarithmic(sharing: Sequence[Axes]) -> None:
    """The scale of panels that share it, some of which may be empty."""
    drawn = [axes for axes in sharing if axes.dataLim.intervaly[1] > 0]
    plain_log_axis((drawn or list(sharing))[0])
