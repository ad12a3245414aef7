"""Puts the page together: one file of HTML that loads nothing else.

Each figure is compressed and is unpacked by the browser when a reader asks for it. Charts are drawn by
Vega-Lite, whose JavaScript comes out of the Python package that brings it.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from pipeline.jobs.command import CommandError

PARTS = ("page.html", "page.css", "chart.js", "page.js")
"""The files of the page beside this one."""

VEGA_LITE = "6.4"

_LIBRARY = "globalThis.vegaEmbed = vegaEmbed;"


@dataclass(frozen=True)
class Shown:
    """A figure at one scale: what the list says of it, all of its data, its picture (WebP)."""

    name: str
    scale: str
    source: str
    title: str
    data: Mapping[str, Any]
    picture: bytes

    @property
    def key(self) -> str:
        """What its parts are called in the page."""
        return f"{self.scale}-{self.name}"


def page(figures: Sequence[Shown], parts: Mapping[str, str]) -> str:
    """The page in HTML. ``parts`` has the texts of :data:`PARTS` by name."""
    listed = [
        {"name": one.name, "scale": one.scale, "source": one.source, "title": one.title}
        for one in figures
    ]
    return Template(parts["page.html"]).substitute(
        style=parts["page.css"],
        library=library(),
        script=parts["chart.js"] + parts["page.js"],
        index=as_json(listed).replace("<", "\\u003c"),
        figures="\n".join(_embedded(one) for one in figures),
        scales=escape(", ".join(dict.fromkeys(one.scale for one in figures))),
    )


def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. Raises :class:`CommandError` without them."""
    try:
        import vl_convert
    except ImportError:
        raise CommandError(
            "vl-convert-python is not installed, which has the charts of the page; install it with: "
            "make explore, or pip install -r envs/requirements-docs.txt"
        ) from None
    return str(vl_convert.javascript_bundle(_LIBRARY, vl_version=VEGA_LITE))


def read_parts(paths: Sequence[Path]) -> dict[str, str]:
    """The files of the page by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def as_json(value: Any) -> str:
    """Compact JSON. Raises ValueError for numbers that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def packed(value: Any) -> str:
    """JSON of ``value``, compressed, in letters that HTML leaves alone; equal values are equal texts."""
    return base64.b64encode(gzip.compress(as_json(value).encode(), 9, mtime=0)).decode()


def _embedded(one: Shown) -> str:
    picture = base64.b64encode(one.picture).decode()
    return (
        f'<script type="text/plain" id="data-{one.key}">{packed(one.data)}</script>\n'
        f'<script type="text/plain" id="picture-{one.key}">{picture}</script>'
    )
