"""What is wrong with settings that are each valid: epochs beyond the end, more points than there are.

A list that a set-up inherits may go beyond its end, and what is beyond is left out: the paper's lists
of epochs serve the other scales too, and overrides shorten a training. A list is a mistake
where it is stated in the layer that states the end, or in one above it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nets import parts
from nets.settings import LARGEST, MOST_REPEATS
from pipeline.config.errors import quoted
from pipeline.config.layers import Node, Origin, node_at
from pipeline.config.rooms import StudyAbout
from pipeline.config.training import Setup

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

Trees = Mapping[str, Mapping[str, Node]]
"""Set-ups by name and scale."""


def training_problems(name: str, scale: str, tree: Node, setup: Setup, home: Origin) -> Iterator[str]:
    """What is wrong with a training, whose variants are written out. ``home`` is where it is stated."""
    yield from _huge(tree)
    variants = node_at(tree, "variants")
    whole = [(tree, setup), *((variants.children[v], s) for v, s in setup.variants.items() if variants)]
    for part, one in whole:
        end = one.training.max_epochs
        for path in (("training", "keep_epochs"), ("training", "schedule", "drop_epochs")):
            listed = node_at(part, *path)
            limit = node_at(part, "training", "max_epochs")
            if listed is None or limit is None:
                continue
            if not _in_force(_layer(listed, name, scale, home), _layer(limit, name, scale, home)):
                continue
            for epoch in listed.content:
                if epoch > end:
                    yield (
                        f"{listed.origin}: epoch {epoch} lies beyond max_epochs, {end}; leave it out, "
                        "or raise max_epochs"
                    )
        yield from _too_many_points(part, one.dataset)


def study_problems(
    name: str, scale: str, tree: Node, about: StudyAbout, trainings: Trees, home: Origin
) -> Iterator[str]:
    """What is wrong with a study, given the trees of its trainings, which are valid."""
    yield from _huge(tree)
    yield from _too_many_repeats(tree)
    if len(about.data) == 1:
        yield from _too_many_points(tree, about.data[0])
    runs = {run: trainings[run][scale] for run in about.runs if run in trainings}
    widths = {run: _widths(part) for run, part in runs.items()}
    yield from _not_there(
        node_at(tree, "widths"),
        {width for some in widths.values() for width in some},
        [(run, node_at(part, "widths")) for run, part in runs.items()],
        (name, scale, home),
    )
    ends = [(run, node_at(part, "training", "max_epochs")) for run, part in runs.items()]
    listed = node_at(tree, "epochs")
    if listed is None or not isinstance(listed.content, list) or not ends or about.untrained:
        return
    if not _stated_above(listed, ends, (name, scale, home)):
        return
    last = max(end.content for _, end in ends if end is not None)
    for epoch in listed.content:
        if epoch > last:
            end = f"the end of {_names(runs)}, {last}"
            yield f"{listed.origin}: epoch {epoch} lies beyond {end}; leave it out"


def _not_there(
    listed: Node | None,
    trained: set[int],
    sources: list[tuple[str, Node | None]],
    place: tuple[str, str, Origin],
) -> Iterator[str]:
    if listed is None or not sources or not _stated_above(listed, sources, place):
        return
    for width in listed.content:
        if width not in trained:
            runs = _names(dict(sources))
            known = ", ".join(map(str, sorted(trained)))
            yield (
                f"{listed.origin}: width {width} is not trained by {runs} at scale {place[1]}; use some "
                f"of {known}, or add it to the widths there"
            )


def _widths(tree: Node) -> set[int]:
    """Of a training and its variants."""
    variants = node_at(tree, "variants")
    parts_of = [tree, *(variants.children.values() if variants else ())]
    return {width for part in parts_of if (own := node_at(part, "widths")) for width in own.content}


def _names(runs: Mapping[str, Any]) -> str:
    return " or ".join(runs)


def _stated_above(
    listed: Node, sources: list[tuple[str, Node | None]], place: tuple[str, str, Origin]
) -> bool:
    """Whether a study's list counts although overrides change one of its trainings."""
    name, scale, home = place
    layer = _layer(listed, name, scale, home)
    overridden = [own for run, own in sources if own and own.origin.path[:2] == ("overrides", run)]
    return layer >= _OVERRIDDEN or not overridden


_INHERITED, _OWN, _OVERRIDDEN = 0, 2, 4


def _layer(stated: Node, name: str, scale: str, home: Origin) -> int:
    """How far up something is stated: by others, the scale itself, its variant, an override."""
    path = stated.origin.path
    variant = "variants" in path
    if path[:3] == ("overrides", name, scale):
        return _OVERRIDDEN + variant
    own = (*home.path, scale)
    return _OWN + variant if (home.file, own) == (stated.origin.file, path[: len(own)]) else _INHERITED


def _in_force(listed: int, limit: int) -> bool:
    return listed > _INHERITED and listed >= limit


def _too_many_points(tree: Node, dataset: str) -> Iterator[str]:
    asked = node_at(tree, "training_points")
    there = parts.stated("data", dataset, "TRAINING_POINTS")
    if asked is not None and asked.content is not None and there is not None and asked.content > there:
        yield (
            f"{asked.origin}: {asked.content} training points are asked for, and {dataset} has {there}; "
            "lower it, or write null for all"
        )


_REPEATS = ("seeds", "draws", "trainings", "repeats", "starts", "searches")


def _too_many_repeats(tree: Node) -> Iterator[str]:
    """By their names, for the types of a study enter the digest of its code."""
    for key, part in tree.children.items():
        yield from _too_many_repeats(part)
        asked = part.content
        if key in _REPEATS and isinstance(asked, int) and MOST_REPEATS < asked <= LARGEST:
            yield f"{part.origin}: {asked} is out of range; ask for at most {MOST_REPEATS}"


def _huge(tree: Node) -> Iterator[str]:
    """Whole numbers that nothing can have, whatever the type of the setting."""
    for part in tree.children.values():
        yield from _huge(part)
    if not tree.children and _largest(tree.content) > LARGEST:
        yield (
            f"{tree.origin}: {quoted(tree.content)} is out of range; whole numbers are at most {LARGEST}"
        )


def _largest(value: Any) -> int:
    if isinstance(value, list | tuple):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int) else 0
