"""Sums, scalings, dense layers, matrix products and convolutions, by constants.

Each is affine in the arguments that depend on the input; where two of them do, and are multiplied, it
is a product (:mod:`.products`).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lipbounds.graph import Node, Shape
from lipbounds.maps import Filter, Known, LinearMap, Matrix, Scaling, Selection, certified
from lipbounds.operator_norm import linear_norm
from lipbounds.operator_norm.convolution import Convolution
from lipbounds.operators import complexes
from lipbounds.operators.products import matrix_product, product, quotient
from lipbounds.operators.table import Affine, Behaviour, is_complex, operators, weight_of
from lipbounds.rounding import UNIT_ROUNDOFF

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

_LINEAR: dict[str, Any] = {"source": "linear", "tightness": "exact", "complex": True}


def number(value: float, dtype: torch.dtype = torch.float64) -> Scaling:
    """Multiplication by one number, which is rounded to float32 where tensors are no wider."""
    return Scaling(torch.full((), value, dtype=torch.float64), _rounding(value, dtype))


def _rounding(value: Any, dtype: torch.dtype) -> float:
    """What a number of Python may be changed by when it meets tensors of ``dtype``."""
    if isinstance(value, Tensor) or dtype == torch.float64:
        return 0.0
    return abs(float(value) - torch.tensor(float(value), dtype=torch.float32).double().item())


def spread(size: Shape, shape: Shape) -> list[LinearMap]:
    """The maps that broadcast a tensor of ``size`` to ``shape``: none where it has it."""
    if size == shape:
        return []

    def index() -> Tensor:
        count = torch.Size(size).numel()
        return torch.arange(count).view(size).expand(shape).reshape(-1)

    return [Selection(shape, index, copies=True)]


# Sums and scalings


def _sum(node: Node, *terms: tuple[Any, float]) -> Affine:
    parts = []
    for value, factor in terms:
        if isinstance(factor, complex):
            raise ValueError("alpha is complex")
        if isinstance(value, Node):
            factors = [number(float(factor), node.dtype)] if factor != 1 else []
            parts.append((value, [*spread(value.shape, node.shape), *factors]))
    return Affine(parts)


@operators("add.Tensor", "add.Scalar", constant="1 for each term", **_LINEAR)
def _add(q: "Analysis", node: Node, self: Any, other: Any, alpha: float = 1) -> Behaviour:
    return _sum(node, (self, 1), (other, alpha))


@operators("sub.Tensor", "sub.Scalar", constant="1 for each term", **_LINEAR)
def _sub(q: "Analysis", node: Node, self: Any, other: Any, alpha: float = 1) -> Behaviour:
    return _sum(node, (self, 1), (other, -alpha))


@operators("rsub.Tensor", "rsub.Scalar", constant="1 for each term", **_LINEAR)
def _rsub(q: "Analysis", node: Node, self: Any, other: Any, alpha: float = 1) -> Behaviour:
    return _sum(node, (other, 1), (self, -alpha))


@operators("mul.Tensor", "mul.Scalar", constant="largest |factor|", **_LINEAR)
def _mul(q: "Analysis", node: Node, self: Any, other: Any) -> Behaviour:
    if isinstance(self, Node) and isinstance(other, Node):
        _refuse_complex(node)
        return product(q, node, self, other)
    x, factor = (self, other) if isinstance(self, Node) else (other, self)
    if is_complex(node):
        return complexes.scaled(q, node, x, factor)
    return scaled(node, x, weight_of(factor, "a factor"), _rounding(factor, node.dtype))


@operators("div.Tensor", "div.Scalar", constant="1 / smallest |divisor|", **_LINEAR)
def _div(q: "Analysis", node: Node, self: Any, other: Any) -> Behaviour:
    if isinstance(other, Node):
        _refuse_complex(node)
        return quotient(q, node, self, other)
    if is_complex(node):
        return complexes.scaled(q, node, self, 1 / complexes.wide(other))
    divisor = weight_of(other, "a divisor")
    factor = weight_of(1 / divisor, "the inverse of a divisor")
    largest = factor.abs().max().item()
    rounded = _rounding(other, node.dtype) / divisor.abs().min().item()
    return scaled(node, self, factor, largest * (2 * UNIT_ROUNDOFF + 1.01 * rounded))


def _refuse_complex(node: Node) -> None:
    if is_complex(node):
        raise ValueError("is a product of complex numbers that both depend on the input")


def scaled(node: Node, x: Node, factor: Tensor, deviation: float = 0.0) -> Affine:
    """``factor * x`` with broadcasting; ``deviation`` bounds the error of the factors."""
    return Affine([(x, [*spread(x.shape, node.shape), Scaling(factor, deviation)])])


# Matrices


@operators(
    "linear.default",
    constant="norm of the weight",
    source="Gram matrix and Cholesky certificate",
    tightness="1e-10",
    complex=True,
)
def _linear(q: "Analysis", node: Node, input: Any, weight: Any, bias: Any = None) -> Behaviour:
    if isinstance(weight, Node) or not isinstance(input, Node) or isinstance(bias, Node):
        raise ValueError("its weight or bias depends on the input")
    if is_complex(node):
        return complexes.times(q, node, input, torch.atleast_2d(weight), math.prod(input.shape))
    return _times(node, input, torch.atleast_2d(weight_of(weight)), -1)


@operators(
    "matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default", "vdot.default",
    constant="norm of the constant matrix; of several side by side the largest",
    source="Gram matrix and Cholesky certificate",
    tightness="1e-10",
    complex=True,
)  # fmt: skip
def _matmul(q: "Analysis", node: Node, **arguments: Any) -> Behaviour:
    a, b = list(arguments.values())[:2]
    if isinstance(a, Node) and isinstance(b, Node):
        _refuse_complex(node)
        return matrix_product(q, node, a, b)
    if is_complex(node):
        return _complex_matmul(q, node, a, b)
    if isinstance(a, Node):
        weight = weight_of(b)
        return _times(node, a, weight.unsqueeze(0) if weight.dim() == 1 else weight.mT, -1)
    weight = weight_of(a)
    axis = -2 if len(b.shape) > 1 else -1
    return _times(node, b, weight.unsqueeze(0) if weight.dim() == 1 else weight, axis)


def _complex_matmul(q: "Analysis", node: Node, a: Any, b: Any) -> Behaviour:
    x, weight = (a, b) if isinstance(a, Node) else (b, a)
    inner = x.shape[-1] if x is a or len(x.shape) == 1 else x.shape[-2]
    if weight.dim() == 1:
        weight = weight.unsqueeze(0)
    elif x is a:
        weight = weight.mT
    taken = math.prod(node.shape) * inner // weight.shape[-2]
    return complexes.times(q, node, x, weight, taken)


@operators(
    "addmm.default", constant="norm of the constant matrix", source="as matmul", tightness="1e-10"
)
def _addmm(
    q: "Analysis", node: Node, self: Any, mat1: Any, mat2: Any, beta: float = 1, alpha: float = 1
) -> Behaviour:
    if isinstance(mat1, Node) and isinstance(mat2, Node):
        raise ValueError("only a + b @ c with one of b and c constant is supported")
    parts = list(_sum(node, (self, beta)).parts)
    if isinstance(mat1, Node) or isinstance(mat2, Node):
        ((x, maps),) = _matmul(q, node, a=mat1, b=mat2).parts  # type: ignore[union-attr]
        factor = [number(float(alpha), node.dtype)] if alpha != 1 else []
        parts.append((x, [*maps, *factor]))
    return Affine(parts)


def _times(node: Node, x: Node, weight: Tensor, axis: int) -> Affine:
    """Products along an ``axis`` of x with one weight (..., out, in), or one for each batch entry."""
    reshaped = Selection(node.shape)
    if weight.dim() == 2:
        found = list(x.shape)
        found[axis] = len(weight)
        matrix = Matrix(weight, axis=axis)
        return Affine([(x, (matrix,) if tuple(found) == node.shape else (matrix, reshaped))])
    maps: list[LinearMap] = []
    before = x.shape
    if len(before) == 1:  # a vector
        before = (1, *before)
        axis = -1
        maps.append(Selection(before))
    batch = torch.broadcast_shapes(weight.shape[:-2], before[:-2])
    maps += spread(before, (*batch, *before[-2:]))
    stacked = weight.flatten(0, -3)

    def apply(matrices: Tensor, value: Tensor) -> Tensor:
        return matrices @ value if axis == -2 else (matrices @ value.mT).mT

    known = Known(
        lambda ord: certified(
            max(linear_norm(w, ord=ord).value for w in stacked), "largest of the matrices"
        ),
        partial(apply, weight),
        weight.shape[-1],
        partial(apply, weight.abs()),
    )
    return Affine([(x, [*maps, known, reshaped])])


# Convolutions

_CONVOLUTION: dict[str, Any] = {
    "constant": "largest symbol on a torus of input and padding",
    "source": "compression of a circular convolution; polyphase for strides",
    "tightness": "exact for circular padding; 1e-3 or better for zero padding of large inputs",
}


@operators(
    *[f"conv{axes}d.{kind}" for axes in (1, 2, 3) for kind in ("default", "padding")], **_CONVOLUTION
)
def _conv(
    q: "Analysis",
    node: Node,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Behaviour:
    _only_input(input, weight, bias)
    kernel = weight_of(weight)
    axes = kernel.dim() - 2
    geometry = Convolution.of(
        tuple(kernel.shape[2:]),
        input.shape[-axes:],
        stride=_each(stride, axes),
        padding=padding if isinstance(padding, str) else _each(padding, axes),
        dilation=_each(dilation, axes),
        groups=groups,
    )
    return Affine([(input, (Filter(kernel, geometry),))])


@operators(
    "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input",
    constant="norm of the convolution that it transposes",
    source="as for convolutions",
    tightness="as for convolutions",
)  # fmt: skip
def _conv_transpose(
    q: "Analysis",
    node: Node,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Behaviour:
    _only_input(input, weight, bias)
    kernel = weight_of(weight)
    axes = kernel.dim() - 2
    geometry = Convolution.of(
        tuple(kernel.shape[2:]),
        node.shape[-axes:],
        stride=_each(stride, axes),
        padding=_each(padding, axes),
        dilation=_each(dilation, axes),
        groups=groups,
    )
    return Affine([(input, (Filter(kernel, geometry, transposed=True),))])


@operators("convolution.default", **_CONVOLUTION)
def _convolution(
    q: "Analysis", node: Node, transposed: bool, output_padding: Any, **rest: Any
) -> Behaviour:
    if transposed:
        return _conv_transpose(q, node, output_padding=output_padding, **rest)
    return _conv(q, node, **rest)


def _only_input(input: Any, weight: Any, bias: Any) -> None:
    if isinstance(weight, Node) or isinstance(bias, Node) or not isinstance(input, Node):
        raise ValueError("its kernel or bias depends on the input")


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * axes if len(values) == 1 else values
