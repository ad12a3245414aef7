"""What curves, marks and bars of a figure are called: their own labels, or those of legends."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from pipeline.explore.labels import plain

WHITE = "#ffffff"


class Names:
    """What colours, marks and strokes mean, by the legends of a figure."""

    def __init__(self, figure: Figure) -> None:
        self._of_axes = {
            id(axes): _entries(axes.get_legend()) for axes in figure.axes if axes.get_legend()
        }
        self._shared = [entry for legend in figure.legends for entry in _entries(legend)]
        self._all = [*self._shared, *(entry for own in self._of_axes.values() for entry in own)]

    def of(self, artist: Artist, color: str, marker: str = "", dashed: bool | None = None) -> str:
        """The artist's own label, or that of the entries that look like it, the nearest legend first."""
        axes = getattr(artist, "axes", None)
        legends = (self._of_axes.get(id(axes), []), self._shared, self._all)
        own = str(artist.get_label())
        if own and not own.startswith("_"):
            return self._in_full(plain(own), legends)
        for entries in legends:
            alike = _alike(entries, color, marker, dashed)
            if alike:
                return ", ".join(dict.fromkeys(alike))
        return ""

    @staticmethod
    def _in_full(own: str, legends: Iterable[list["_Entry"]]) -> str:
        for entry in (one for entries in legends for one in entries):
            if entry.title and entry.text == f"{entry.title} {own}":
                return entry.text
        return own


class _Entry(NamedTuple):
    """A line of a legend. A number is told with the ``title`` of its legend."""

    handle: Artist | None
    text: str
    title: str


def _entries(legend: Legend | None) -> list[_Entry]:
    if legend is None:
        return []
    title = plain(legend.get_title().get_text()).partition(" (")[0]
    found = []
    for handle, drawn in zip(legend.legend_handles, legend.get_texts(), strict=False):
        text = plain(drawn.get_text())
        counted = title if text[:1].isdigit() else ""
        found.append(_Entry(handle, f"{counted} {text}".strip(), counted))
    return found


def _alike(entries: Sequence[_Entry], color: str, marker: str, dashed: bool | None) -> list[str]:
    """Texts of the entries of the same colour, of those with the same mark and stroke first."""
    same = [(handle, text) for handle, text, _ in entries if color_of(handle) == color]
    lines = [(handle, text) for handle, text in same if isinstance(handle, Line2D)]
    exact = [text for line, text in lines if marker_of(line) == marker and is_dashed(line) is dashed]
    marked = [text for line, text in lines if marker_of(line) == marker]
    stroked = [text for line, text in lines if not marker and is_dashed(line) is dashed]
    filled = [text for handle, text in same if not isinstance(handle, Line2D)]
    return exact or marked or stroked[:1] or filled[:1] or ([] if marker else [t for _, t in same][:1])


def color_of(artist: Any) -> str:
    """Of a line, or the first of a shape's that can be seen: its face, or else its edge."""
    if isinstance(artist, Line2D):
        marks = marker_of(artist) and not is_stroked(artist)
        return as_hex(artist.get_markeredgecolor() if marks else artist.get_color())
    for getter in ("get_facecolor", "get_edgecolor", "get_color"):
        for color in mpl.colors.to_rgba_array(getattr(artist, getter, list)()):
            if color[3] > 0 and as_hex(color) != WHITE:
                return as_hex(color)
    return as_hex(None)


def as_hex(color: Any) -> str:
    """A colour of matplotlib as #rrggbb; grey for what is none."""
    try:
        return str(mpl.colors.to_hex(color))
    except (TypeError, ValueError):
        return "#777777"


def marker_of(line: Line2D) -> str:
    """The mark of a line, nothing if it has none."""
    marker = line.get_marker()
    return "" if str(marker) in ("None", "none", " ", "") else str(marker)


def is_stroked(line: Line2D) -> bool:
    """Whether its points are joined."""
    return str(line.get_linestyle()) not in ("None", "none", " ", "") and line.get_linewidth() > 0


def is_dashed(line: Line2D) -> bool:
    """Whether they are joined by anything but a plain stroke."""
    return is_stroked(line) and line.get_linestyle() != "-"
