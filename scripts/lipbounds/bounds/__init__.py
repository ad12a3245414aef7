"""Lower and upper bounds on the Lipschitz constant of a network."""

from lipbounds.bounds.lower import LowerBound, lower_bound
from lipbounds.bounds.search import SearchResult, search_lower_bound
from lipbounds.bounds.upper import UpperBound, upper_bound
from lipbounds.operators import Layer, LayerConstant, UnknownLayerError, register_rule

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
