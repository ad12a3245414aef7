"""Bounds of the Lipschitz constants of neural networks. Plain PyTorch.

From below by data (:func:`lower_bound`, :func:`search_lower_bound`, :func:`jacobian_norms`), from
above by proof (:func:`upper_bound`), and norms of single layers (:func:`linear_norm`,
:func:`conv2d_norm`, :func:`conv_norm`, :func:`affine_norm`). :func:`register_rule` makes a layer known.
"""

from lipbounds.bounds import (
    Layer,
    LayerConstant,
    LowerBound,
    SearchResult,
    UnknownLayerError,
    UpperBound,
    lower_bound,
    register_rule,
    search_lower_bound,
    upper_bound,
)
from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import (
    Kind,
    OperatorNorm,
    affine_norm,
    conv2d_norm,
    conv_norm,
    linear_norm,
)

__all__ = [
    "Kind",
    "Layer",
    "LayerConstant",
    "LowerBound",
    "OperatorNorm",
    "SearchResult",
    "UnknownLayerError",
    "UpperBound",
    "affine_norm",
    "conv2d_norm",
    "conv_norm",
    "jacobian_norms",
    "linear_norm",
    "lower_bound",
    "register_rule",
    "search_lower_bound",
    "upper_bound",
]
