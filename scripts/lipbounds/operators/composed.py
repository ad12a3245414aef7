"""Several operators that are bounded as one function: of each entry, or of vectors by their lengths."""

from typing import TYPE_CHECKING, TypeAlias

from lipbounds.graph import Graph, Node
from lipbounds.operators import entrywise, radial
from lipbounds.operators.entrywise import Entrywise
from lipbounds.operators.radial import Radial
from lipbounds.operators.table import Behaviour

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

Composed: TypeAlias = Entrywise | Radial


def composed(graph: Graph, ord: float, radius: float) -> tuple[dict[Node, Composed], set[Node]]:
    """The nodes that are better bounded together with those before them, and all nodes that the outputs
    need then."""
    candidates = entrywise.candidates(graph)
    chosen: dict[Node, Composed] = {}
    needed: set[Node] = set()
    waiting = list(graph.outputs)
    while waiting:
        node = waiting.pop()
        if node in needed:
            continue
        needed.add(node)
        entries = candidates.get(node)
        found: Composed | None = None
        if entries is not None and entrywise.is_better(node, entries, radius):
            found = entries
        elif ord == 2:
            found = radial.read(node, radius)
        if found is not None:
            chosen[node] = found
            waiting.append(found.source)
        else:
            waiting += node.inputs
    return chosen, needed


def behaviour(q: "Analysis", found: Composed) -> Behaviour:
    """What a chosen node is."""
    if isinstance(found, Entrywise):
        return entrywise.behaviour(q, found)
    return radial.behaviour(q, found)
