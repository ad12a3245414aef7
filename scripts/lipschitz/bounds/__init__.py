"""Lower and upper bounds on the Lipschitz constant of a network."""

from lipschitz.bounds.graph import Layer
from lipschitz.bounds.lower import LowerBound, lower_bound
from lipschitz.bounds.rules import LayerConstant, UnknownLayerError, register_rule
from lipschitz.bounds.search import SearchResult, search_lower_bound
from lipschitz.bounds.upper import UpperBound, upper_bound

__all__ = [
    "Layer",
    "LayerConstant",
    "LowerBound",
    "SearchResult",
    "UnknownLayerError",
    "UpperBound",
    "lower_bound",
    "register_rule",
    "search_lower_bound",
    "upper_bound",
]
