"""An extension of Sphinx that builds the site from the pages that the repository has, as they are.

README is the first page and gets the table of contents; a page of docs/ that is not in it fails the
build, and so does a link to nowhere. Files of the repository that pages link to get a page each, in
colours. Where figures/explore.html has been made, every page has a link to it.
"""

import posixpath
import re
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx

import lipbounds

CONTENTS = {
    "Results": ("gallery", "claims", "bounds", "explore", "departures"),
    "Run it": (
        "config",
        "data",
        "questions",
        "faults",
        "cluster",
        "archive",
        "plan",
        "plan_errors",
        "costs",
        "benchmarks",
        "benchmarks_orchestration",
    ),
    "Bounds of your own model": (
        "own_model",
        "library",
        "site/api",
        "rules",
        "zoo",
        "benchmarks_bounds",
    ),
    "Change it": ("extending", "../CONTRIBUTING", "../CHANGELOG"),
}
"""Headings of the table of contents, and the pages of docs/ below each."""

EXPLORE = "explore.html"

_SHAPE = re.compile(r"(?<=[(, ])\*(?=\w+\))")
"""The star of (n, *shape), which begins no emphasis."""

_OWN_NAME = re.compile(r":(\w+):`lipbounds(?:\.\w+)*\.(\w+)`")

_PICTURES = (".png", ".svg", ".pdf")


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Add the table of contents to the first page, for the sidebar alone."""
    if page != app.config.root_doc:
        return
    for heading, names in CONTENTS.items():
        pages = "\n".join(posixpath.normpath(f"docs/{name}") for name in names)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```\n"


def link_sources(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Turn links to files of the repository into links to pages that show them, or to pictures."""
    for node in list(doctree.findall(download_reference)):
        file, _ = app.env.relfn2path(node["reftarget"], page)
        if file.endswith(_PICTURES):
            target = posixpath.relpath(_page_of(file), posixpath.dirname(page))
        else:
            target = app.builder.get_relative_uri(page, _page_of(file))
        node.replace_self(nodes.reference("", "", *node.children, refuri=target, internal=True))
        _sources(app).add(file)


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file of the repository that another page links to."""
    app.env.dlfiles.clear()  # they are shown, and not offered for download
    for file in sorted(_sources(app)):
        if file.endswith(_PICTURES):
            continue
        text = (Path(app.srcdir) / file).read_text(encoding="utf-8")
        try:
            lexer = get_lexer_for_filename(file)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight(text, lexer, HtmlFormatter(cssclass="highlight"))
        body = f"<h1>{escape(file)}</h1>\n{code}"
        yield _page_of(file), {"title": escape(file), "body": body, "parents": []}, "page.html"


def announce(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Link to the page to explore the results from the top of every page, if it has been made."""
    if _explored(app).exists():
        address = context["pathto"](EXPLORE, 1)
        context["theme_announcement"] = f'<a href="{address}">Explore the results</a>'


def finish(app: Sphinx, error: Exception | None) -> None:
    """The first page under the name that servers look for, pictures, and the page to explore."""
    if error is not None:
        return
    folder = Path(app.outdir)
    shutil.copyfile(folder / f"{app.config.root_doc}.html", folder / "index.html")
    for file in _sources(app):
        if file.endswith(_PICTURES):
            (folder / _page_of(file)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(app.srcdir) / file, folder / _page_of(file))
    if _explored(app).exists():
        shutil.copyfile(_explored(app), folder / EXPLORE)


def prepare_docstring(
    app: Sphinx, what: str, name: str, described: object, options: object, lines: list[str]
) -> None:
    """Keep the stars of shapes, and find public names where the reference has them."""
    lines[:] = [_OWN_NAME.sub(_public, _SHAPE.sub(r"\*", line)) for line in lines]


def _public(match: re.Match[str]) -> str:
    role, name = match.groups()
    return f":{role}:`~lipbounds.{name}`" if name in lipbounds.__all__ else match.group()


def _explored(app: Sphinx) -> Path:
    return Path(app.srcdir) / "figures" / EXPLORE


def _page_of(file: str) -> str:
    return f"source/{file}"


def _sources(app: Sphinx) -> set[str]:
    """Files that pages of this build link to."""
    if not hasattr(app, "linked_sources"):
        app.linked_sources = set()
    found: set[str] = app.linked_sources
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("doctree-resolved", link_sources)
    app.connect("html-collect-pages", source_pages)
    app.connect("html-page-context", announce)
    app.connect("build-finished", finish)
    app.connect("autodoc-process-docstring", prepare_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
