"""Draw bounds and losses of convolutional nets at attacked images against width."""

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import Again
from pipeline.claims.findings import nearest
from pipeline.figures.attacks import attack_facts, draw_ratios, without_check
from pipeline.figures.looks import (
    Look,
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.perturbed import radius_looks
from pipeline.figures.room import Context, Facts, Tables, only

WAYS = ("exact", "authors")
"""How images are put back into the ball and the box."""

AUTHORS = Look("#D55E00", "X", "-", "step of the authors' code")

PAPERS_RADIUS = 0.5


def measure(tables: Tables, context: Context) -> Facts:
    """Bounds and losses relative to those without attack; the same with the step of the authors."""
    table, settings = only(tables), context["settings"]["adversarial_cnn"]
    exact, authors = (_of(table, way) for way in WAYS)
    return attack_facts(exact, settings, context["printed"]) | {
        "with_the_step_of_the_authors": attack_facts(authors, settings, context["printed"]),
        "attacks": {way: _reach(without_check(_of(table, way), settings)) for way in WAYS},
    }


def _of(table: pd.DataFrame, way: str) -> pd.DataFrame:
    """The rows of one way to stay in the box, and those of the images as they are."""
    return table[table["projection"].isin(["none", way])]


def _reach(data: pd.DataFrame) -> dict[str, Any]:
    """How far images have gone over the radius, and the farthest out of the box, by radius."""
    return {
        f"{radius:g}": {
            "distance_over_radius": float(own["distance"].mean() / radius),
            "out_of_the_box": float(own["out_of_the_box"].max()),
        }
        for radius, own in data[data["radius"] > 0].groupby("radius")
    }


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds at attacked training images, also relative to those without, losses and distances."""
    settings = context["settings"]
    data = without_check(only(tables), settings["adversarial_cnn"])
    figure, grid = plt.subplots(2, 2, figsize=(6.9, 4.6), layout="constrained", sharex=True)
    bounds, ratios, losses, distances = grid.flat
    train, test = (data[data["points"] == part] for part in ("train", "test"))
    for look, rows in _curves(train):
        draw_seeds(bounds, rows, "width", "c_lower", look)
    for look, rows in _curves(test):
        draw_seeds(losses, rows, "width", "loss", look)
    moved = [curve for curve in _curves(train) if (curve[1]["radius"] > 0).all()]
    for look, rows in moved:
        shares = rows.assign(share=rows["distance"] / rows["radius"])
        draw_seeds(distances, shares, "width", "share", look)
    clean = train[train["radius"] == 0]
    draw_ratios(ratios, [(look, pd.concat([clean, rows])) for look, rows in moved], facts["paper"])
    _label(grid, sorted(data["width"].unique()), settings["cnn_cifar10"]["threshold_width"])
    handles, labels = bounds.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    hollow = "; hollow: epoch cap" if "epoch_cap" in set(data["stop_reason"]) else ""
    seeds = data["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds, band: ±1 std{hollow}")
    return figure


def _label(grid: Any, widths: list[int], threshold: float) -> None:
    bounds, ratios, losses, distances = grid.flat
    for axes in grid.flat:
        width_axis(axes, widths)
        draw_threshold(axes, threshold)
    for axes in (bounds, losses):
        plain_log_axis(axes)
    for axes in grid[1]:
        axes.set_xlabel("width")
    bounds.set(title="a   training images", ylabel=r"$C_\mathrm{lower}$ (logits per unit of input)")
    ratios.set(title="b   training images", ylabel=r"relative to $C_\mathrm{lower}$ of radius 0")
    losses.set(title="c   test images", ylabel="cross-entropy (nats)")
    distances.set(title="d   training images", ylabel="mean distance over radius", ylim=(0, 1.08))


def _curves(rows: pd.DataFrame) -> Iterator[tuple[Look, pd.DataFrame]]:
    """No attack, exact projections by radius, and the step of the authors at the paper's radius."""
    looks = radius_looks(sorted(rows["radius"].unique()), "radius {:g}")
    exact = _of(rows, "exact")
    for radius, look in looks.items():
        label = look.label if radius > 0 else "no attack"
        yield look._replace(label=label), exact[exact["radius"] == radius]
    authors = nearest(rows[rows["projection"] == "authors"], "radius", PAPERS_RADIUS)
    radius = authors["radius"].iloc[0]
    yield AUTHORS._replace(label=f"radius {radius:g}, {AUTHORS.label}"), authors


ON_CIFAR10 = Again(
    "C8",
    on="CIFAR-10",
    reported="ratios 0.94 to 1.05 (radius 0.5)",
    since="2026-11-28",
    of_a_change=False,
)
