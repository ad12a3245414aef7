"""What a figure shows, read off the figure itself: panels with their axes, curves, bands and bars.

So a page has the numbers that are drawn and no others, whichever figure a room has drawn.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FuncFormatter

from pipeline.explore.labels import plain
from pipeline.explore.legends import WHITE, Names, as_hex, color_of, is_dashed, is_stroked, marker_of

MOST_CELLS = 2_000
"""Of a map; panels with larger ones are left to the picture."""

Numbers = list[float | None]


@dataclass
class Axis:
    """One axis of a panel. ``ticks`` has places and texts where these are no places."""

    label: str
    scale: str
    constant: float | None
    ticks: list[tuple[float, str]] | None
    reverse: bool


@dataclass
class Series:
    """A curve or points. ``low`` and ``high`` are the ends of a band or of error bars.

    ``hollow`` says which marks are hollow, and ``faint`` that the curve is drawn behind others.
    """

    label: str
    color: str
    marker: str
    line: bool
    dashed: bool
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    bars: bool = False
    faint: bool = False
    hollow: list[bool] | None = None


@dataclass
class Boxes:
    """Bars or the cells of a map: rows of left, right, lower and upper edge, and the value of a cell."""

    label: str
    color: str
    cells: list[list[float]]
    log: bool = False


@dataclass
class Panel:
    """One pair of axes. ``rules`` are lines across it: the axis they stand on, the place, a label."""

    title: str
    x: Axis
    y: Axis
    series: list[Series] = field(default_factory=list)
    rules: list[tuple[str, float, str]] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)


def panels(figure: Figure) -> list[Panel]:
    """The panels of a figure that show numbers, in its order. Keys of colours and texts are none.

    The figure has been saved or drawn before: its ticks have their texts only then.
    """
    names = Names(figure)
    shown = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    found = [_panel(axes, names) for axes in shown]
    _complete_labels(found)
    _complete_axes(shown, found)
    return [
        panel
        for axes, panel in zip(shown, found, strict=True)
        if (panel.series or panel.boxes) and not _large_map(axes)
    ]


def _large_map(axes: Axes) -> bool:
    meshes = (one for one in axes.collections if isinstance(one, QuadMesh))
    return any(np.ma.asarray(mesh.get_array()).size > MOST_CELLS for mesh in meshes)


def notes(figure: Figure) -> list[str]:
    """Small texts outside of the panels: scale, seeds, what bands and hollow marks are."""
    left_out = f"Maps of more than {MOST_CELLS:,} cells are in the picture alone."
    texts = [text for one in figure.texts if (text := plain(one.get_text()))]
    return [*texts, *([left_out] if any(map(_large_map, figure.axes)) else [])]


def _panel(axes: Axes, names: "Names") -> Panel:
    titles = (axes.get_title(where) for where in ("left", "center", "right"))
    panel = Panel(plain(" ".join(filter(None, titles))), _axis(axes.xaxis), _axis(axes.yaxis))
    for line in axes.lines:
        _add_line(panel, axes, line, names)
    for collection in axes.collections:
        _add_collection(panel, axes, collection, names)
    for container in axes.containers:
        if isinstance(container, BarContainer):
            panel.boxes.append(_bars(container, names, axes))
    return panel


def _axis(axis: DrawnAxis) -> Axis:
    scale = axis.get_scale()
    constant = getattr(axis.get_transform(), "linthresh", None) if scale == "symlog" else None
    label = plain(axis.get_label().get_text())
    return Axis(label, scale, constant, _named_ticks(axis), bool(axis.get_inverted()))


def _named_ticks(axis: DrawnAxis) -> list[tuple[float, str]] | None:
    """Places and texts of ticks that say something else than where they are."""
    if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
        return None
    texts = [plain(label.get_text()) for label in axis.get_majorticklabels()]
    places = map(float, axis.get_majorticklocs())
    ticks = [(at, text) for at, text in zip(places, texts, strict=False) if text]
    return ticks if any(_says_more(at, text) for at, text in ticks) else None


def _says_more(at: float, text: str) -> bool:
    """Whether a text is another number than ``at``, or none: 25k and 10^4 are numbers."""
    number = re.sub(
        r"^(-?)10\^(-?\d+)$", r"\g<1>1e\2", text.replace("\N{MINUS SIGN}", "-").replace("k", "e3")
    )
    try:
        return not np.isclose(float(number.replace(",", "")), at, rtol=1e-3)
    except ValueError:
        return True


def _add_line(panel: Panel, axes: Axes, line: Line2D, names: Names) -> None:
    """A curve, marks on one that is there, or a rule across the panel."""
    if not line.get_visible() or not len(np.atleast_1d(line.get_xdata())):
        return
    color, marker, dashed = color_of(line), marker_of(line), is_dashed(line)
    in_x, in_y = line.get_transform().contains_branch_seperately(axes.transData)
    label = names.of(line, color, marker, dashed)
    x, y = _numbers(line.get_xdata()), _numbers(line.get_ydata())
    if not (in_x and in_y):
        own = label if label == plain(str(line.get_label())) else ""
        panel.rules += [("x" if in_x else "y", at, own) for at in _places(x if in_x else y)]
        return
    if len(x) == 2 and is_stroked(line) and not marker and _crosses(axes, x, y):
        return
    hollow = marker != "" and as_hex(line.get_markerfacecolor()) == WHITE
    if marker and not is_stroked(line) and _marks_on_a_curve(panel.series, color, x, y, marker, hollow):
        return
    series = Series(label, color, marker, is_stroked(line) and len(x) > 1, dashed, x, y)
    series.hollow = [hollow] * len(x)
    series.faint = series.line and ((line.get_alpha() or 1) < 0.8 or line.get_linewidth() < 1)
    _add_series(panel, series)


def _add_series(panel: Panel, series: Series) -> None:
    """As one of its own, or single points with others of their looks."""
    for other in panel.series if not series.line else ():
        if not other.line and other.low is None and _look(other) == _look(series):
            other.x += series.x
            other.y += series.y
            other.hollow = [*(other.hollow or []), *(series.hollow or [])]
            return
    panel.series.append(series)


def _look(series: Series) -> tuple[object, ...]:
    return series.label, series.color, series.marker


def _places(values: Numbers) -> list[float]:
    return list(dict.fromkeys(value for value in values if value is not None))


def _crosses(axes: Axes, x: Numbers, y: Numbers) -> bool:
    """Whether a stroke of two points is a guide from edge to edge."""
    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    if None in (*x, *y):
        return False
    first, last = sorted(value for value in x if value is not None)
    return y[0] == y[1] and first <= left and last >= right and low < high


def _marks_on_a_curve(
    drawn: Iterable[Series], color: str, x: Numbers, y: Numbers, marker: str, hollow: bool
) -> bool:
    """Whether marks lie on a curve of their colour that is there; then they become its own."""
    marks = set(zip(x, y, strict=True))
    for series in drawn:
        points = list(zip(series.x, series.y, strict=True))
        if series.line and series.color == color and marks <= set(points):
            series.marker = marker
            before = series.hollow or [False] * len(points)
            series.hollow = [
                old or (hollow and p in marks) for old, p in zip(before, points, strict=True)
            ]
            return True
    return not marks


def _add_collection(panel: Panel, axes: Axes, collection: Artist, names: Names) -> None:
    if isinstance(collection, QuadMesh):
        if not _large_map(axes):
            panel.boxes.append(_map(collection))
    elif isinstance(collection, PathCollection):
        color = color_of(collection)
        x, y = np.ma.filled(collection.get_offsets(), np.nan).T
        label = names.of(collection, color)
        panel.series.append(Series(label, color, "o", False, False, _numbers(x), _numbers(y)))
    elif isinstance(collection, LineCollection):
        _add_error_bars(panel, as_hex(collection.get_color()[0]), collection.get_segments())
    elif isinstance(collection, PolyCollection) and hasattr(collection, "get_paths"):
        for path in collection.get_paths():
            _add_band(panel, color_of(collection), np.asarray(path.vertices), names.of(collection, ""))


def _add_band(panel: Panel, color: str, vertices: Any, label: str) -> None:
    """A filled band as the ends of the curve of its colour at the same places, or as one of its own.

    The outline of n places has n lower and n upper ends, and the corners at either end.
    """
    count = (len(vertices) - 3) // 2
    if count < 1:
        return
    x, low = vertices[1 : count + 1].T
    high = vertices[count + 2 : 2 * count + 2][::-1, 1]
    low, high = np.minimum(low, high), np.maximum(low, high)
    ends = dict(zip(x.tolist(), zip(low.tolist(), high.tolist(), strict=True), strict=True))
    for series in sorted(panel.series, key=lambda one: one.marker == ""):
        free = series.line and series.low is None
        if free and series.color == color and _encloses(ends, series):
            series.low = _numbers([ends.get(at, (np.nan, np.nan))[0] for at in series.x])
            series.high = _numbers([ends.get(at, (np.nan, np.nan))[1] for at in series.x])
            return
    band = Series(label, color, "", False, False, _numbers(x), [None] * count)
    band.low, band.high = _numbers(low), _numbers(high)
    panel.series.append(band)


def _encloses(ends: dict[float, tuple[float, float]], series: Series) -> bool:
    points = [
        (ends[x], y) for x, y in zip(series.x, series.y, strict=True) if x in ends and y is not None
    ]
    slack = 1 + 1e-9
    inside = (low <= y * slack and y <= high * slack for (low, high), y in points)
    return len(points) >= 0.5 * len(ends) and all(inside)


def _add_error_bars(panel: Panel, color: str, segments: Iterable[Any]) -> None:
    """Upright strokes as the ends of the points of their colour that lie on them."""
    for stroke in segments:
        if len(stroke) != 2 or stroke[0][0] != stroke[1][0]:
            continue
        at, (low, high) = float(stroke[0][0]), sorted((float(stroke[0][1]), float(stroke[1][1])))
        for series in panel.series:
            for place, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
                if series.color == color and x == at and y is not None and low <= y <= high:
                    series.low = series.low or [None] * len(series.x)
                    series.high = series.high or [None] * len(series.x)
                    series.low[place], series.high[place], series.bars = low, high, True


def _map(mesh: QuadMesh) -> Boxes:
    """The cells of a map that have numbers."""
    corners = np.asarray(mesh.get_coordinates())
    shape = corners.shape[0] - 1, corners.shape[1] - 1
    values: Any = np.ma.filled(np.ma.asarray(mesh.get_array(), float), np.nan)
    cells: list[list[float]] = []
    for (row, column), value in np.ndenumerate(values.reshape(shape)):
        (left, low), (right, high) = corners[row, column], corners[row + 1, column + 1]
        if np.isfinite(value):
            cells.append([float(left), float(right), float(low), float(high), float(value)])
    return Boxes("", "", cells, isinstance(mesh.norm, LogNorm))


def _bars(container: BarContainer, names: Names, axes: Axes) -> Boxes:
    rectangles = [patch for patch in container.patches if isinstance(patch, Rectangle)]
    color = color_of(rectangles[0]) if rectangles else ""
    own = str(container.get_label())
    label = plain(own) if own and not own.startswith("_") else names.of(rectangles[0], color, "bar")
    edges = [(one.get_x(), one.get_width(), one.get_y(), one.get_height()) for one in rectangles]
    cells: list[list[float]] = [
        [float(x), float(x + width), float(y), float(y + height), float(width)]
        for x, width, y, height in edges
    ]
    return Boxes(label, color, cells)


def _numbers(values: Any) -> Numbers:
    """Finite numbers as they are, others as None, which JSON has."""
    array = np.asarray(np.ma.filled(np.ma.asarray(values, float), np.nan), float).ravel()
    return [float(value) if np.isfinite(value) else None for value in array]


def _complete_labels(found: Sequence[Panel]) -> None:
    """Name curves without a label by their row, or like those of their looks in another panel."""
    for panel in found:
        for series in panel.series:
            series.label = series.label or _row(panel, series.y)
        for boxes in panel.boxes if panel.y.ticks else ():
            middles = [(low + high) / 2 for _, _, low, high, _ in boxes.cells]
            boxes.label = boxes.label or _row(panel, middles)
    known = {
        (series.color, series.marker): series.label
        for panel in found
        for series in panel.series
        if series.label and series.marker
    }
    for panel in found:
        for series in panel.series:
            series.label = series.label or known.get((series.color, series.marker), "")


def _row(panel: Panel, places: Iterable[float | None]) -> str:
    """The name of the only row that all points of a series are on, if rows have names."""
    rows = {
        text for y in places for at, text in panel.y.ticks or () if y is not None and abs(at - y) < 0.5
    }
    return rows.pop() if len(rows) == 1 else ""


def _complete_axes(shown: Sequence[Axes], found: Sequence[Panel]) -> None:
    """Name axes whose label and ticks only a panel beside them has: the nearest below or to the left."""
    for axes, panel in zip(shown, found, strict=True):
        others = _others(axes, shown, found)
        below = next((there for other, there in others if _below(axes, other)), None)
        left = next(((other, there) for other, there in others if _left(axes, other)), None)
        if below and not _labels_shown(axes.xaxis):
            panel.x.label = panel.x.label or below.x.label
        if left and (axes.get_shared_y_axes().joined(axes, left[0]) or not _labels_shown(axes.yaxis)):
            panel.y.label = panel.y.label or left[1].y.label
            panel.y.ticks = panel.y.ticks or left[1].y.ticks


def _others(axes: Axes, shown: Sequence[Axes], found: Sequence[Panel]) -> list[tuple[Axes, Panel]]:
    """The other panels of its grid, the nearest first."""
    own = axes.get_subplotspec()
    pairs = []
    for other, panel in zip(shown, found, strict=True):
        place = other.get_subplotspec()
        if own and place and other is not axes and own.get_gridspec() is place.get_gridspec():
            away = abs(place.rowspan.start - own.rowspan.start)
            away += abs(place.colspan.start - own.colspan.start)
            pairs.append((away, other, panel))
    pairs.sort(key=lambda pair: pair[0])
    return [(other, panel) for _, other, panel in pairs]


def _below(axes: Axes, other: Axes) -> bool:
    own, place = axes.get_subplotspec(), other.get_subplotspec()
    return bool(
        own and place and place.colspan == own.colspan and place.rowspan.start > own.rowspan.start
    )


def _left(axes: Axes, other: Axes) -> bool:
    own, place = axes.get_subplotspec(), other.get_subplotspec()
    return bool(
        own and place and place.rowspan == own.rowspan and place.colspan.start < own.colspan.start
    )


def _labels_shown(axis: DrawnAxis) -> bool:
    """Whether the ticks have their texts below them."""
    return any(tick.label1.get_visible() for tick in axis.get_major_ticks())
