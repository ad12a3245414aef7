"""Draw the net on three Gaussians: its classes, its Jacobian norm on the plane, and its bounds."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from pipeline.figures.looks import BOUND_LOOKS, LOOKS, Look, corner_note
from pipeline.figures.room import Context, Facts, Tables, only

PRINTED = {
    "parameters": "10703",
    "data_min": "-3.816042",
    "data_max": "4.1605024",
    "initial_train_loss": "1.1601",
    "initial_test_loss": "1.1581",
    "train_loss": "0.0011",
    "test_loss": "4.5887",
    "train_accuracy": "1.0000",
    "test_accuracy": "0.7333",
    "gradient_norm": "0.008574889972805977",
    "c_lower": "135.815",
    "grid_5": "144.1936",
    "grid_10": "144.194",
    "c_upper": "389.097",
}
"""Numbers of the paper and of the notebook released with it, to the digits printed there."""

PAPER = {name: float(digits) for name, digits in PRINTED.items()}

DECISIVE = frozenset(
    {
        "train_points",
        "test_points",
        "distance",
        "hidden_sizes",
        "learning_rate",
        "steps",
        "half_sides",
        "data_seed",
        "model_seed",
    }
)
"""Settings without which a net is not the paper's and has other numbers."""

CLASSES = (
    ("o", "#004C7D", "#D3E5F1"),
    ("v", "#8A4B00", "#FBEBD0"),
    ("s", "#7A2E5D", "#E3BFD5"),
)
"""Marker, its colour and the light colour of the region of each class."""

ROWS = {
    "c_avg": LOOKS["c_avg"],
    "c_lower": LOOKS["c_lower"],
    "grid_5": BOUND_LOOKS["grid"],
    "grid_10": BOUND_LOOKS["grid"],
    "search": BOUND_LOOKS["search"]._replace(marker="P"),
    "exact": BOUND_LOOKS["exact"],
    "tightest": BOUND_LOOKS["lipsdp_descent"],
    "best": BOUND_LOOKS["eclipse"],
    "c_upper": LOOKS["c_upper"],
}
"""The bounds in the order in which they stand below each other, from the least on."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Classes and two maps above; the bounds at the end, and on the way there, below."""
    table = only(tables)
    figure = plt.figure(figsize=(6.9, 4.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.16, 1))
    classes, near, far = above.subplots(1, 3)
    numbers, history = below.subplots(1, 2, width_ratios=(1.25, 1))
    inner, outer = sorted(context["settings"]["half_sides"])
    _draw_classes(classes, table, inner)
    mesh = _draw_map(near, table, inner)
    _draw_map(far, table, outer)
    far.plot(
        [-inner, inner, inner, -inner, -inner],
        [-inner, -inner, inner, inner, -inner],
        color="white",
        linewidth=0.7,
        linestyle=(0, (4, 2)),
    )
    classes.set_title("(a) predicted classes")
    near.set_title(f"(b) Jacobian norm on {_square(inner)}")
    far.set_title(f"(c) Jacobian norm on {_square(outer)}")
    bar = above.colorbar(mesh, ax=far, aspect=22, pad=0.03)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(width=0.4)
    _draw_numbers(numbers, table, context)
    _draw_history(history, table, context)
    _legend(above, table)
    settings = context["settings"]
    corner_note(
        figure,
        f"{context['scale']} scale, one net 2-{'-'.join(map(str, settings['hidden_sizes']))}-3, "
        f"{settings['steps']:,} steps of gradient descent at rate {settings['learning_rate']:g}, "
        f"grids of {settings['grid_points']}x{settings['grid_points']} points",
    )
    return figure


def _square(half_side: float) -> str:
    return f"[\u2212{half_side:g}, {half_side:g}]\u00b2"


def _map(table: pd.DataFrame, half_side: float, column: str) -> pd.DataFrame:
    """Values over y (rows) and x (columns)."""
    part = table[(table["kind"] == "map") & (table["half_side"] == half_side)]
    return part.pivot(index="y", columns="x", values=column).astype(float)


def _draw_classes(axes: Axes, table: pd.DataFrame, half_side: float) -> None:
    classes = _map(table, half_side, "predicted")
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


def _draw_map(axes: Axes, table: pd.DataFrame, half_side: float) -> QuadMesh:
    norms = _map(table, half_side, "value")
    lowest = table.loc[table["kind"] == "map", "value"].min()
    mesh = axes.pcolormesh(
        norms.columns,
        norms.index,
        norms,
        cmap="cividis",
        vmin=lowest,
        vmax=_fact(table, "exact"),
        rasterized=True,
        shading="nearest",
    )
    _draw_boundary(axes, _map(table, half_side, "predicted"), "white", "black")
    place = _place(table, "exact", half_side)
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
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\u2212")))
    axes.set_xlabel("$x_1$", labelpad=1)


def _draw_numbers(axes: Axes, table: pd.DataFrame, context: Context) -> None:
    """A row per bound; the Lipschitz constant of the net as a line through all of them."""
    measured = _measured(table, context)
    paper = PAPER if _comparable(context) else {}
    names = list(ROWS)
    for row, name in enumerate(names):
        look, value = ROWS[name], measured[name]
        axes.plot(value, row, marker=look.marker, color=look.color, markersize=5, zorder=3)
        left = value < measured["exact"] * (1 - 1e-9)
        axes.annotate(
            f"{value:.4g}",
            (value, row),
            xytext=(-7 if left else 7, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
        if name in paper:
            axes.plot(
                paper[name],
                row,
                marker="o",
                markersize=9,
                markerfacecolor="none",
                markeredgecolor="black",
                markeredgewidth=0.7,
            )
    axes.axvline(measured["exact"], color="black", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    axes.set_xscale("log")
    low, high = measured[names[0]], measured[names[-1]]
    axes.set_xlim(low / (high / low) ** 0.25, high * (high / low) ** 0.2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_yticks(range(len(names)), [_label(name, context) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="x")
    axes.set_xlabel("bound of the Lipschitz constant")
    axes.set_title("(d) bounds of the trained net")
    if paper:
        ring = Line2D(
            [], [], linestyle="none", marker="o", markersize=8, markerfacecolor="none",
            markeredgecolor="black", markeredgewidth=0.7, label="paper",
        )  # fmt: skip
        axes.legend(handles=[ring], loc="lower right", borderaxespad=0.2)


def _label(name: str, context: Context) -> str:
    inner, outer = sorted(context["settings"]["half_sides"])
    return {
        "c_avg": r"$C_\mathrm{avg}$, training points",
        "c_lower": r"$C_\mathrm{lower}$, training points",
        "grid_5": f"grid, {_square(inner)}",
        "grid_10": f"grid, {_square(outer)}",
        "search": "search",
        "exact": "exact, by all linear regions",
        "tightest": "tightest certified bound",
        "best": "best fast certified bound",
        "c_upper": r"$C_\mathrm{upper}$, layer product",
    }[name]


def _draw_history(axes: Axes, table: pd.DataFrame, context: Context) -> None:
    """Bounds during training."""
    for name in ("c_upper", "c_lower", "c_avg"):
        look: Look = LOOKS[name]
        part = table[(table["kind"] == "history") & (table["name"] == name)].sort_values("step")
        axes.plot(
            part["step"].astype(float),
            part["value"],
            color=look.color,
            marker=look.marker,
            markersize=2.6,
            linewidth=1.1,
        )
        last = part.iloc[-1]
        axes.annotate(
            look.label.split("  ")[0],
            (float(last["step"]), last["value"]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=look.color,
            fontsize=8,
        )
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    last_step = table["step"].max()
    ticks = [0, *(10.0**power for power in range(0, math.floor(math.log10(last_step)) + 1))]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if value == 0 else f"$10^{{{round(math.log10(value))}}}$")
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.1, last_step * 1.3)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("steps of gradient descent")
    axes.set_ylabel("bound", labelpad=1)
    axes.set_title("(e) bounds during training")


def _legend(figure: Any, table: pd.DataFrame) -> None:
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


def _fact(table: pd.DataFrame, name: str, half_side: float | None = None) -> float:
    return float(_row(table, name, half_side)["value"])


def _place(table: pd.DataFrame, name: str, half_side: float | None = None) -> tuple[float, float]:
    row = _row(table, name, half_side)
    return float(row["x"]), float(row["y"])


def _row(table: pd.DataFrame, name: str, half_side: float | None) -> pd.Series:
    part = table[(table["kind"] == "fact") & (table["name"] == name)]
    return (part if half_side is None else part[part["half_side"] == half_side]).iloc[-1]


def _measured(table: pd.DataFrame, context: Context) -> dict[str, float]:
    """What the paper prints, and the bounds beside it. The exact maximum is that on the whole plane,
    or very nearly: on a square a thousand times larger than those drawn."""
    inner, outer = sorted(context["settings"]["half_sides"])
    values = {
        name: _fact(table, name)
        for name in ("parameters", "data_min", "data_max", "gradient_norm", "c_avg", "c_lower")
    }
    values |= {"grid_5": _fact(table, "grid", inner), "grid_10": _fact(table, "grid", outer)}
    values |= {name: _fact(table, name) for name in ("search", "exact", "tightest", "best", "c_upper")}
    history = table[table["kind"] == "history"]
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        steps = history[history["name"] == name].sort_values("step")["value"]
        values[name] = float(steps.iloc[-1])
        values[f"initial_{name}"] = float(steps.iloc[0])
    return values


def _comparable(context: Context) -> bool:
    """Whether the net is the paper's, so that its numbers should be found again."""
    return not any(
        row["setting"].split(".")[0].split("[")[0] in DECISIVE for row in context["departures"]
    )


def measure(tables: Tables, context: Context) -> Facts:
    """All numbers beside those of the paper, where the largest norm lies, and what is certified."""
    table = only(tables)
    measured = _measured(table, context)
    comparable = _comparable(context)
    inner, outer = sorted(context["settings"]["half_sides"])
    exact = measured["exact"]
    return {
        "the_paper's_net": comparable,
        "values": {
            name: {"measured": value} | (_beside_paper(name, value) if comparable else {})
            for name, value in measured.items()
        },
        "over_the_exact_maximum": {name: measured[name] / exact for name in ROWS},
        "certified": {
            name: bool(_row(table, name, None)["certified"]) for name in ("tightest", "best", "c_upper")
        },
        "largest_norm_at": {
            f"half side {half_side:g}": {
                "grid": _place(table, "grid", half_side),
                "exact": _place(table, "exact", half_side),
                "distance_to_decision_boundary": _distance_to_boundary(table, half_side),
                "pixel": 2 * half_side / (context["settings"]["map_points"] - 1),
            }
            for half_side in (inner, outer)
        },
        "grids_equal": measured["grid_5"] == measured["grid_10"],
        "area_of_the_steepest_region": _fact(table, "steepest_area", inner),
        "area_of_a_grid_cell": {
            f"half side {half_side:g}": (2 * half_side / (context["settings"]["grid_points"] - 1)) ** 2
            for half_side in (inner, outer)
        },
        "linear_regions": {
            f"half side {row['half_side']:g}": int(row["value"])
            for _, row in table[table["name"] == "regions"].iterrows()
        },
    }


def _beside_paper(name: str, value: float) -> dict[str, float]:
    """The printed number, how far ``value`` is from it, and what its last digit leaves open."""
    if name not in PAPER:
        return {}
    paper, decimals = PAPER[name], len(PRINTED[name].partition(".")[2])
    return {
        "paper": paper,
        "relative_difference": value / paper - 1,
        "printed_to": 0.5 * 10.0**-decimals / abs(paper),
    }


def _distance_to_boundary(table: pd.DataFrame, half_side: float) -> float | None:
    """From the largest norm to the nearest point of the map whose neighbour has another class."""
    classes = _map(table, half_side, "predicted")
    values = classes.to_numpy()
    changes = np.zeros(values.shape, dtype=bool)
    changes[:-1] |= values[:-1] != values[1:]
    changes[:, :-1] |= values[:, :-1] != values[:, 1:]
    rows, columns = np.nonzero(changes)
    if len(rows) == 0:
        return None
    x, y = _place(table, "exact", half_side)
    return float(np.hypot(classes.columns[columns] - x, classes.index[rows] - y).min())
