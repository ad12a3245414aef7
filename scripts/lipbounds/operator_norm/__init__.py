"""Operator norms of linear maps: matrices, convolutions, and affine functions given as code."""

from lipbounds.operator_norm.convolution import conv2d_norm, conv_norm
from lipbounds.operator_norm.lanczos import affine_norm
from lipbounds.operator_norm.matrix import linear_norm
from lipbounds.operator_norm.result import Kind, OperatorNorm

__all__ = ["Kind", "OperatorNorm", "affine_norm", "conv2d_norm", "conv_norm", "linear_norm"]
