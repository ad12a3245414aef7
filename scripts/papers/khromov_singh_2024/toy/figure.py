"""Draw the net on three Gaussians: its classes, its Jacobian norm on the plane, and its bounds."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from papers.khromov_singh_2024.toy.bounds import ROWS, draw_history, draw_numbers
from papers.khromov_singh_2024.toy.maps import draw_classes, draw_legend, draw_map, plane, square_name
from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured, select
from pipeline.figures.looks import corner_note
from pipeline.figures.room import Context, Facts, Tables, only

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


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Classes and two maps above; the bounds at the end, and on the way there, below."""
    table = only(tables)
    figure = plt.figure(figsize=(6.9, 4.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.16, 1))
    numbers, history = below.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_plane(above, table, facts, context)
    draw_numbers(numbers, facts, context)
    draw_history(history, table)
    settings = context["settings"]
    corner_note(
        figure,
        f"{context['scale']} scale, one net 2-{'-'.join(map(str, settings['hidden_sizes']))}-3, "
        f"{settings['steps']:,} steps of gradient descent at rate {settings['learning_rate']:g}, "
        f"grids of {settings['grid_points']}x{settings['grid_points']} points",
    )
    return figure


def _draw_plane(figure: Any, table: pd.DataFrame, facts: Facts, context: Context) -> None:
    """Three panels of ``figure``, which is a part of one."""
    classes, near, far = figure.subplots(1, 3)
    inner, outer = sorted(context["settings"]["half_sides"])
    exact = facts["values"]["exact"]["measured"]
    for axes, half_side in ((near, inner), (far, outer)):
        place = facts["largest_norm_at"][_square(half_side)]["exact"]
        mesh = draw_map(axes, table, half_side, exact, place)
    draw_classes(classes, table, inner)
    _draw_square(far, inner)
    classes.set_title("a   predicted classes")
    near.set_title(f"b   Jacobian norm on {square_name(inner)}")
    far.set_title(f"c   Jacobian norm on {square_name(outer)}")
    bar = figure.colorbar(mesh, ax=far, aspect=22, pad=0.03)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(width=0.4)
    draw_legend(figure, table)


def _draw_square(axes: Axes, half_side: float) -> None:
    side = half_side
    axes.plot(
        [-side, side, side, -side, -side],
        [-side, -side, side, side, -side],
        color="white",
        linewidth=0.7,
        linestyle=(0, (4, 2)),
    )


def measure(tables: Tables, context: Context) -> Facts:
    """All numbers beside those of the paper, where the largest norm lies, and what is certified."""
    table = only(tables)
    values = _values(table, context)
    comparable = _comparable(context)
    printed = context["printed"] if comparable else {}
    settings = context["settings"]
    sides = sorted(settings["half_sides"])
    return {
        "the_paper's_net": comparable,
        "values": {
            name: {"measured": value} | _beside_paper(printed, name, value)
            for name, value in values.items()
        },
        "over_the_exact_maximum": {name: values[name] / values["exact"] for name in ROWS},
        "certified": {
            name: bool(_row(table, name, None)["certified"]) for name in ("tightest", "best", "c_upper")
        },
        "largest_norm_at": {
            _square(half_side): {
                "grid": _place(table, "grid", half_side),
                "exact": _place(table, "exact", half_side),
                "distance_to_decision_boundary": _distance_to_boundary(table, half_side),
                "pixel": 2 * half_side / (settings["map_points"] - 1),
            }
            for half_side in sides
        },
        "where_norms_are_large": at_the_boundary(tables),
        "grids_equal": values["grid_5"] == values["grid_10"],
        "area_of_the_steepest_region": _fact(table, "steepest_area", sides[0]),
        "area_of_a_grid_cell": {
            _square(half_side): (2 * half_side / (settings["grid_points"] - 1)) ** 2
            for half_side in sides
        },
        "linear_regions": {
            _square(row["half_side"]): int(row["value"])
            for _, row in table[table["name"] == "regions"].iterrows()
        },
    }


def _square(half_side: float) -> str:
    """A square [-half_side, half_side]^2 as it is named in the facts."""
    return f"half side {half_side:g}"


def _fact(table: pd.DataFrame, name: str, half_side: float | None = None) -> float:
    return float(_row(table, name, half_side)["value"])


def _place(table: pd.DataFrame, name: str, half_side: float | None = None) -> tuple[float, float]:
    row = _row(table, name, half_side)
    return float(row["x"]), float(row["y"])


def _row(table: pd.DataFrame, name: str, half_side: float | None) -> pd.Series:
    part = table[(table["kind"] == "fact") & (table["name"] == name)]
    return (part if half_side is None else part[part["half_side"] == half_side]).iloc[-1]


def _values(table: pd.DataFrame, context: Context) -> dict[str, float]:
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


def _beside_paper(printed: Mapping[str, str], name: str, value: float) -> dict[str, float]:
    """The printed number, how far ``value`` is from it, and what its last digit leaves open."""
    if name not in printed:
        return {}
    paper, decimals = float(printed[name]), len(printed[name].partition(".")[2])
    return {
        "paper": paper,
        "relative_difference": value / paper - 1,
        "printed_to": 0.5 * 10.0**-decimals / abs(paper),
    }


def _distance_to_boundary(table: pd.DataFrame, half_side: float) -> float | None:
    """From the largest norm to the nearest point of the map whose neighbour has another class."""
    classes = plane(table, half_side, "predicted")
    values = classes.to_numpy()
    changes = np.zeros(values.shape, dtype=bool)
    changes[:-1] |= values[:-1] != values[1:]
    changes[:, :-1] |= values[:, :-1] != values[:, 1:]
    rows, columns = np.nonzero(changes)
    if len(rows) == 0:
        return None
    x, y = _place(table, "exact", half_side)
    return float(np.hypot(classes.columns[columns] - x, classes.index[rows] - y).min())


def at_the_boundary(tables: Tables) -> Facts:
    """How nearly training points reach the largest norm, and how near to the boundary that lies."""
    return {
        "c_lower_over_grid": measured(_reached, tables),
        "larger_over_smaller_grid": measured(_gain_of_larger_square, tables),
        "share_nearer_to_the_boundary": measured(_share_nearer, tables),
    }


def _grids(tables: Tables) -> pd.DataFrame:
    """The largest norm on each grid, from the smallest square on."""
    facts = select(tables, "toy", kind="fact")
    grids = facts[facts["name"] == "grid"].sort_values("half_side")
    if len(grids) < 2:
        raise UntestedError("the table toy has fewer than two grids")
    return grids


def _reached(tables: Tables) -> float:
    small = _grids(tables)["value"].iloc[0]
    return _fact(tables["toy"], "c_lower") / float(small)


def _gain_of_larger_square(tables: Tables) -> float:
    values = _grids(tables)["value"]
    return float(values.iloc[-1] / values.iloc[0])


def _share_nearer(tables: Tables) -> float:
    """Share of the small map's points with a smaller distance to points of other classes than the
    point nearest to the place of the largest norm has."""
    smallest = _grids(tables).iloc[0]
    maps = select(tables, "toy", kind="map", half_side=smallest["half_side"])
    points, classes = maps[["x", "y"]].to_numpy(float), maps["predicted"].to_numpy()
    distances = np.full(len(points), np.inf)
    for kind in np.unique(classes):
        if (classes != kind).any():
            others = cKDTree(points[classes != kind])
            distances[classes == kind] = others.query(points[classes == kind])[0]
    place = smallest[["x", "y"]].to_numpy(float)
    own = distances[np.square(points - place).sum(1).argmin()]
    return float((distances < own).mean())


@claim(
    "C7",
    "The largest Jacobian norm lies at the decision boundary, and training points nearly reach it",
    reported="C_lower / largest on a grid 0.942; a larger square adds nothing",
    unit="C_lower / largest on a grid",
    refuted="The largest norm lies where much of the square is nearer to the boundary, training points "
    "miss a fifth of it, or a larger square has more.",
    untested="The net or a grid is missing.",
    since="2026-11-25",
)
def steepest_at_boundary(facts: Facts) -> Finding:
    """Of the one net on three Gaussians, without intervals. C_lower over the largest norm on the grid of
    the small square is at least 0.8; the large square adds at most 1 %; at most a tenth of the small
    square lies nearer to the decision boundary than the place of the largest norm."""
    found = facts["where_norms_are_large"]
    return combine(
        {
            "C_lower / largest on the grid": judge_fact(found["c_lower_over_grid"], 0.8),
            "large / small square": judge_fact(found["larger_over_smaller_grid"], 0, 1.01),
            "share nearer to the boundary": judge_fact(found["share_nearer_to_the_boundary"], 0, 0.1),
        }
    )
