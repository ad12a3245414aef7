"""The plane: predicted classes of the net on three Gaussians, and its Jacobian norm."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D

from pipeline.figures.numbers import PLAIN

CLASSES = (
    ("o", "#004C7D", "#D3E5F1"),
    ("v", "#8A4B00", "#FBEBD0"),
    ("s", "#7A2E5D", "#E3BFD5"),
)
"""Marker, its colour and the light colour of the region of each class."""


def square_name(half_side: float) -> str:
    """The square [-half_side, half_side]^2 in print."""
    return f"[\u2212{half_side:g}, {half_side:g}]\u00b2"


def plane(table: pd.DataFrame, half_side: float, column: str) -> pd.DataFrame:
    """Values over y (rows) and x (columns)."""
    part = table[(table["kind"] == "map") & (table["half_side"] == half_side)]
    return part.pivot(index="y", columns="x", values=column).astype(float)


def draw_classes(axes: Axes, table: pd.DataFrame, half_side: float) -> None:
    """Predicted classes, the training points, and where the true densities are equal (dotted)."""
    classes = plane(table, half_side, "predicted")
    tints = ListedColormap([tint for _, _, tint in CLASSES])
    mesh: dict[str, Any] = {
        "vmin": -0.5,
        "vmax": len(CLASSES) - 0.5,
        "rasterized": True,
        "shading": "nearest",
    }
    axes.pcolormesh(classes.columns, classes.index, classes, cmap=tints, **mesh)
    _draw_boundary(axes, classes, "#222222", "white")
    points = table[table["kind"] == "train_point"]
    for label in sorted(points["label"].unique()):
        part = points[points["label"] == label]
        marker, color, _ = CLASSES[int(label)]
        axes.scatter(
            part["x"], part["y"], s=11, marker=marker, color=color, edgecolor="white", linewidth=0.4
        )
    reach = 2 * half_side
    for angle in (90, 210, 330):  # halfway between the means of the classes
        x, y = reach * math.cos(math.radians(angle)), reach * math.sin(math.radians(angle))
        axes.plot([0, x], [0, y], color="#444444", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=2)
    _square_axes(axes, half_side)
    axes.set_ylabel("$x_2$", labelpad=0)


def draw_map(
    axes: Axes, table: pd.DataFrame, half_side: float, largest: float, place: Sequence[float]
) -> QuadMesh:
    """Jacobian norms up to the ``largest``, with a ring around the ``place`` (x, y) where that is."""
    norms = plane(table, half_side, "value")
    lowest = table.loc[table["kind"] == "map", "value"].min()
    mesh = axes.pcolormesh(
        norms.columns,
        norms.index,
        norms,
        cmap="cividis",
        vmin=lowest,
        vmax=largest,
        rasterized=True,
        shading="nearest",
    )
    _draw_boundary(axes, plane(table, half_side, "predicted"), "white", "black")
    axes.plot(*place, **_maximum_marker())
    _square_axes(axes, half_side)
    return mesh


def _draw_boundary(axes: Axes, classes: pd.DataFrame, color: str, around: str) -> None:
    for label in range(len(CLASSES)):
        inside = (classes == label).to_numpy(dtype=float)
        if 0 < inside.mean() < 1:
            lines = axes.contour(
                classes.columns, classes.index, inside, levels=[0.5], colors=color, linewidths=0.6
            )
            lines.set_path_effects(
                [patheffects.Stroke(linewidth=1.4, foreground=around), patheffects.Normal()]
            )


def _maximum_marker() -> dict[str, Any]:
    return {
        "marker": "o",
        "markersize": 10,
        "markerfacecolor": "none",
        "markeredgecolor": "#D55E00",
        "markeredgewidth": 1.1,
        "linestyle": "none",
        "path_effects": [
            patheffects.Stroke(linewidth=2.9, foreground="black"),
            patheffects.Stroke(linewidth=2.2, foreground="white"),
            patheffects.Normal(),
        ],
    }


def _square_axes(axes: Axes, half_side: float) -> None:
    axes.set_xlim(-half_side, half_side)
    axes.set_ylim(-half_side, half_side)
    axes.set_aspect("equal")
    axes.grid(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    ticks = [-half_side, -half_side / 2, 0, half_side / 2, half_side]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PLAIN)
    axes.set_xlabel("$x_1$", labelpad=1)


def draw_legend(figure: Any, table: pd.DataFrame) -> None:
    """The classes, the boundaries and the ring, above all panels of ``figure`` or of a part of one."""
    labels = sorted(table.loc[table["kind"] == "train_point", "label"].unique())
    handles = [
        Line2D(
            [], [], linestyle="none", marker=CLASSES[int(label)][0], markersize=4.5,
            color=CLASSES[int(label)][1], label=f"class {int(label) + 1}",
        )
        for label in labels
    ]  # fmt: skip
    outline = [patheffects.Stroke(linewidth=2.4, foreground="#222222"), patheffects.Normal()]
    handles += [
        Line2D([], [], color="white", linewidth=1.2, path_effects=outline, label="decision boundary"),
        Line2D([], [], color="#444444", linestyle=(0, (1, 1.5)), label="best possible boundary"),
        Line2D([], [], label="largest norm", **_maximum_marker()),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.4)
