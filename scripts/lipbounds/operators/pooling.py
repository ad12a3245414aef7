"""Pooling and resampling: they act on each axis alone, so norms are products over the axes."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lipbounds.graph import Node
from lipbounds.maps import Known, certified
from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.operators.table import Affine, Behaviour, LayerConstant, operators
from lipbounds.rounding import UNIT_ROUNDOFF, product_up, sqrt_up, sum_up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis


def _axes(node: Node) -> int:
    """Spatial axes, from the operator's name: the digit before the d."""
    name = node.operator.split(".")[1]
    return int(name[name.rindex("d") - 1]) if "_with_indices" not in name else int(name[8])


def _each(value: Any, axes: int) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * axes if len(values) == 1 else values


@operators(
    *[f"max_pool{n}d.default" for n in (1, 2, 3)],
    *[f"max_pool{n}d_with_indices.default" for n in (1, 2, 3)],
    constant="root of the largest number of windows that share an entry",
    source="each output is an entry; overlapping windows repeat it",
    tightness="exact",
)
def _max_pool(
    q: "Analysis",
    node: Node,
    self: Node,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Behaviour:
    _refuse_positions(node)
    axes = _axes(node)
    options = [_each(v, axes) for v in (kernel_size, stride or kernel_size, padding, dilation)]
    counts = []
    for n, out, k, s, p, d in zip(self.shape[-axes:], node.shape[-axes:], *options, strict=True):
        index = (torch.arange(out) * s).unsqueeze(1) + torch.arange(k) * d - p
        inside = index[(index >= 0) & (index < n)]
        counts.append(int(torch.bincount(inside, minlength=n).max()))
    return _windows(q, self, counts)


@operators(
    *[f"adaptive_max_pool{n}d.default" for n in (1, 2, 3)],
    constant="root of the largest number of windows that share an entry",
    source="as for max pooling",
    tightness="exact",
)
def _adaptive_max_pool(q: "Analysis", node: Node, self: Node, output_size: Any) -> Behaviour:
    _refuse_positions(node)
    axes = _axes(node)
    counts = []
    for n, out in zip(self.shape[-axes:], node.shape[-axes:], strict=True):
        windows = [range(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]
        counts.append(max(sum(j in window for window in windows) for j in range(n)))
    return _windows(q, self, counts)


def _refuse_positions(node: Node) -> None:
    if not node.dtype.is_floating_point:
        raise ValueError("the positions of the largest entries jump")


def _windows(q: "Analysis", source: Node, counts: list[int]) -> LayerConstant:
    count = math.prod(counts)
    how = f"an entry is in up to {count} windows" if count > 1 else "windows do not overlap"
    value = {1: float(count), 2: sqrt_up(count), math.inf: float(min(count, 1))}[q.ord]
    return LayerConstant(certified(value, how), how, source, selects=True)


_AVERAGE: dict[str, Any] = {
    "constant": "product over the axes of the norms of the operator along them",
    "source": "linear and separable",
    "tightness": "1e-10",
}


@operators(*[f"avg_pool{n}d.default" for n in (1, 2, 3)], **_AVERAGE)
def _average_pool(
    q: "Analysis",
    node: Node,
    self: Node,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Behaviour:
    axes = _axes(node)
    kernel, strides, paddings = (_each(v, axes) for v in (kernel_size, stride or kernel_size, padding))
    # sums along each axis, of which the first is divided
    divisors = [divisor_override, *[1] * (axes - 1)] if divisor_override else [None] * axes
    matrices = [
        torch.nn.functional.avg_pool2d(
            _basis(n).unsqueeze(-1), (k, 1), (s, 1), (p, 0), ceil_mode, count_include_pad, divisor
        )[0, :, :, 0].T
        for n, k, s, p, divisor in zip(
            self.shape[-axes:], kernel, strides, paddings, divisors, strict=True
        )
    ]
    return _separable(node, self, matrices)


@operators(*[f"adaptive_avg_pool{n}d.default" for n in (1, 2, 3)], **_AVERAGE)
def _adaptive_average_pool(q: "Analysis", node: Node, self: Node, output_size: Any) -> Behaviour:
    axes = _axes(node)
    matrices = [
        torch.nn.functional.adaptive_avg_pool1d(_basis(n), out)[0].T
        for n, out in zip(self.shape[-axes:], node.shape[-axes:], strict=True)
    ]
    return _separable(node, self, matrices)


@operators(
    "upsample_linear1d.vec", "upsample_bilinear2d.vec", "upsample_trilinear3d.vec",
    "upsample_bicubic2d.vec", "_upsample_bilinear2d_aa.vec", "_upsample_bicubic2d_aa.vec",
    **_AVERAGE | {"tightness": "1e-10; in float32, whose weights are wrong, 2e-6 of the size"},
)  # fmt: skip
def _upsample(
    q: "Analysis",
    node: Node,
    input: Node,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
) -> Behaviour:
    """The operator along one axis, of images that are constant along the others.

    These keep size 2, because torch confuses the axes of anti-aliased images of width 1. Where the
    input or the result has size 1 itself, it is what the operator does that counts.
    """
    assert node.call is not None
    axes = _axes(node)
    matrices = []
    before, after = input.shape[-axes:], node.shape[-axes:]
    for axis, n in enumerate(before):
        real = [a == axis or min(before[a], after[a]) == 1 for a in range(axes)]
        sizes = [before[a] if real[a] else 2 for a in range(axes)]
        basis = torch.eye(n, dtype=torch.float64).view(
            1, n, *[n if a == axis else 1 for a in range(axes)]
        )
        size, scale = (
            None if option is None else [option[a] if real[a] else plain for a in range(axes)]
            for option, plain in ((output_size, 2), (scale_factors, 1.0))
        )
        image = node.call(basis.expand(1, n, *sizes).contiguous(), size, align_corners, scale)
        matrices.append(image.movedim(axis + 2, 2).reshape(n, after[axis], -1)[:, :, 0].T)
    wrong = [_weight_error(node, *sizes) for sizes in zip(before, after, strict=True)]
    return _separable(node, input, matrices, wrong)


def _weight_error(node: Node, before: int, after: int) -> float:
    """What entries of the matrix along an axis, found in float64, may differ by from those that the
    operator uses.

    Weights are functions of a position, scale * (i + 1/2) - 1/2, which is computed in the dtype of the
    images: three roundings of a number up to n make it wrong by 3 (n + 1) u. The hat of linear weights
    has slope 1, the cubic one (a = -3/4) at most 1.35, and its evaluation adds some 30 u; both are
    continuous, so it does not matter to which side of a pixel a position is rounded. Anti-aliased
    weights are s times as wide where s pixels become one, and divided by their sum of 0.9 s or more,
    which multiplies errors by 8 / s at most. What float64 is wrong by adds to it.
    """
    unit = sum(torch.finfo(dtype).eps / 2 for dtype in (node.dtype, torch.float64))
    factor = 32 / max(1.0, before / (after + 1)) if "_aa" in node.operator else 5
    return unit * (before + 8) * factor


def _basis(size: int) -> Tensor:
    """The unit vectors of an axis as channels, (1, size, size)."""
    return torch.eye(size, dtype=torch.float64).unsqueeze(0)


def _separable(node: Node, source: Node, matrices: list[Tensor], wrong: Sequence[float] = ()) -> Affine:
    """A map that acts by one matrix (out, in) along each spatial axis, whose entries may be ``wrong``
    by so much; by default by the rounding of 1 / n to float64."""
    wrong = wrong or [2 * UNIT_ROUNDOFF] * len(matrices)
    pairs = list(zip(matrices, wrong, strict=True))

    def norms(ord: float) -> OperatorNorm:
        each = [sum_up([linear_norm(m, ord=ord).value, _norm_of_errors(m, e, ord)]) for m, e in pairs]
        return certified(product_up(each), "one axis at a time")

    terms = math.prod(int(matrix.count_nonzero(1).max()) for matrix in matrices)
    moduli = partial(_moduli, matrices)
    return Affine([(source, (Known(norms, partial(_run, node, source), terms, moduli, _off(pairs)),))])


def _norm_of_errors(matrix: Tensor, wrong: float, ord: float) -> float:
    """Of a matrix with entries up to ``wrong`` where ``matrix`` has its own, and next to these."""
    rows, columns = (int(matrix.count_nonzero(axis).max()) + 4 for axis in (1, 0))
    return product_up([wrong, {1: columns, 2: sqrt_up(rows * columns), math.inf: rows}[ord]])


def _off(pairs: list[tuple[Tensor, float]]) -> float:
    """Spectral norm of what the product over the axes may be off by."""
    exact, off = 1.0, 0.0
    for matrix, wrong in pairs:
        norm, error = linear_norm(matrix).value, _norm_of_errors(matrix, wrong, 2)
        off = sum_up([product_up([off, sum_up([norm, error])]), product_up([exact, error])])
        exact = product_up([exact, norm])
    return off


def _run(node: Node, source: Node, x: Tensor) -> Tensor:
    return node.run({source: x}, wide=True)


def _moduli(matrices: list[Tensor], x: Tensor) -> Tensor:
    for axis, matrix in enumerate(matrices, -len(matrices)):
        x = (x.movedim(axis, -1) @ matrix.abs().T).movedim(-1, axis)
    return x
