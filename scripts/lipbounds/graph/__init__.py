"""The graph of operators that a model runs: one tensor to one or several, weights folded in."""

from lipbounds.graph.agreement import check
from lipbounds.graph.exporting import export
from lipbounds.graph.plain import plain
from lipbounds.graph.program import Graph, Node, Shape

__all__ = ["Graph", "Node", "Shape", "check", "export", "plain"]
