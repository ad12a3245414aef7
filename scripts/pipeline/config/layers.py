"""Settings in layers, each knowing the file and the place that it was written at.

A layer on top states what differs. A mapping is merged key by key, unless its ``name`` differs: it
is then another kind of thing and replaces what was below, as a list or a number does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where something was written."""

    file: str
    path: Location

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(map(str, self.path)) or '(top level)'}"

    def below(self, *keys: str | int) -> "Origin":
        """A place further down."""
        return Origin(self.file, self.path + keys)


@dataclass(frozen=True)
class Node:
    """A value, or a mapping of names to nodes.

    ``origin`` is where the topmost layer states it, ``first`` where the lowest one does.
    """

    content: Any
    origin: Origin
    first: Origin

    @property
    def children(self) -> "dict[str, Node]":
        """What is in it, nothing for a value."""
        return self.content if isinstance(self.content, dict) else {}

    def without(self, *keys: str) -> "Node":
        """All but these."""
        kept = {name: node for name, node in self.children.items() if name not in keys}
        return Node(kept, self.origin, self.first)


def node(value: Any, origin: Origin) -> Node:
    """A layer as it was written."""
    if isinstance(value, Mapping):
        value = {str(name): node(part, origin.below(str(name))) for name, part in value.items()}
    return Node(value, origin, origin)


def overlay(below: Node, above: Node) -> Node:
    """``above`` on top of ``below``."""
    if not _same_kind(below, above):
        return above
    merged = dict(below.children)
    for name, part in above.children.items():
        merged[name] = overlay(merged[name], part) if name in merged else part
    return Node(merged, above.origin, below.first)


def _same_kind(below: Node, above: Node) -> bool:
    if not (isinstance(below.content, dict) and isinstance(above.content, dict)):
        return False
    named = above.children.get("name", below.children.get("name"))
    return named is below.children.get("name") or plain(named) == plain(below.children.get("name"))


def plain(tree: Node | None) -> Any:
    """The values without their origins."""
    if tree is None:
        return None
    if isinstance(tree.content, dict):
        return {name: plain(part) for name, part in tree.content.items()}
    return tree.content


def node_at(tree: Node, *keys: str) -> Node | None:
    """What is stated at a place, if anything is."""
    found: Node | None = tree
    for key in keys:
        found = None if found is None else found.children.get(key)
    return found


def origin_of(tree: Node, location: Location, *, missing: bool = False) -> Origin:
    """Where the thing at ``location`` was written, or should have been if it is ``missing``.

    Keys of ``location`` that are the ``name`` of a section, as pydantic inserts them, are skipped.
    """
    for place, key in enumerate(location):
        part = tree.children.get(str(key))
        if part is None:
            if key == plain(tree.children.get("name")):
                continue
            rest = [k for k in location[place:] if isinstance(k, int) or k]
            return (tree.first if missing else tree.origin).below(*rest)
        tree = part
    return tree.first if missing else tree.origin


def expand(value: Any) -> Any:
    """Keys with dots written out: ``{"a.b": 1}`` is ``{"a": {"b": 1}}``."""
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, part in value.items():
        first, _, rest = str(key).partition(".")
        own = expand({rest: part}) if rest else expand(part)
        present = found.get(first)
        if isinstance(present, dict) and isinstance(own, dict):
            own = _merged(present, own)
        found[first] = own
    return found


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    found = dict(first)
    for key, value in second.items():
        both = isinstance(found.get(key), dict) and isinstance(value, dict)
        found[key] = _merged(found[key], value) if both else value
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by their dotted paths."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, part in value.items():
        yield from leaves(part, f"{path}.{key}" if path else key)
