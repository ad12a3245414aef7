"""Operator norms of linear maps: matrices, convolutions, and affine functions given as code."""

from lipschitz.operator_norm.matrix import linear_norm
from lipschitz.operator_norm.result import Kind, OperatorNorm

__all__ = ["Kind", "OperatorNorm", "linear_norm"]
