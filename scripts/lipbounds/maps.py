"""Linear maps as they occur in networks: what is known of them, and how neighbours merge.

A map takes a tensor of one shape to another, whatever its axes mean. Weights are held in float64.
Where merging rounds, ``deviation`` bounds the Frobenius norm of what the map that is meant differs by
from the one that is held (of the sum over taps, for a convolution), and every norm includes it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.operator_norm.convolution import (
    Convolution,
    certified_conv_norm,
    conv_norm,
    convolve,
    padding_norm,
)
from lipbounds.rounding import UNIT_ROUNDOFF, gamma, product_up, sqrt_up, squared_frobenius_upper, sum_up

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Scaling:
    """Multiplies by ``factors``, which broadcast to the tensor that is multiplied."""

    factors: Tensor
    deviation: float = 0.0
    how: str = "largest factor"

    @property
    def axis(self) -> int | None:
        """The only axis, counted from the end, along which factors differ; None for one number.

        0 stands for several axes.
        """
        long = [i - self.factors.dim() for i, size in enumerate(self.factors.shape) if size > 1]
        return None if not long else long[0] if len(long) == 1 else 0

    def norm(self, ord: float) -> OperatorNorm:
        """The largest modulus, whatever the order."""
        value = sum_up([self.factors.abs().max().item(), self.deviation])
        return OperatorNorm(value, "upper", certified=True, how=self.how)


@dataclass(frozen=True)
class Matrix:
    """Multiplies an ``axis``, counted from the end, by ``weight`` (out, in)."""

    weight: Tensor
    deviation: float = 0.0
    axis: int = -1

    def norm(self, ord: float) -> OperatorNorm:
        """Certified norm of the weight."""
        found = linear_norm(self.weight, ord=ord)
        extra = self.deviation * (1.0 if ord == 2 else math.sqrt(max(self.weight.shape)))
        value = sum_up([found.value, extra * (1 + 1e-15)])
        return OperatorNorm(value, "upper", certified=True, how=found.how or "spectral norm")


@dataclass(frozen=True)
class Filter:
    """A convolution with ``kernel`` (out, in / groups, *size), or the transpose of one."""

    kernel: Tensor
    geometry: Convolution
    transposed: bool = False
    deviation: float = 0.0
    grid: int | None = None

    @property
    def operator_deviation(self) -> float:
        """What the deviation of the kernel can change the norm of the map by."""
        return product_up([self.deviation, padding_norm(self.geometry)])

    def norm(self, ord: float) -> OperatorNorm:
        """Certified norm, padding and stride included."""
        if ord == 2:
            found = certified_conv_norm(self.kernel, self.geometry, grid=self.grid)
            return replace(found, value=sum_up([found.value, self.operator_deviation]))
        g = self.geometry
        found = conv_norm(
            self.kernel,
            g.input_size,
            stride=g.stride,
            padding=g.padding,
            dilation=g.dilation,
            groups=g.groups,
            padding_mode=g.padding_mode,
            ord={1: math.inf, math.inf: 1}[ord] if self.transposed else ord,
        )
        channels = 1 + math.sqrt(max(self.kernel.shape[0], self.kernel.shape[1] * g.groups))
        extra = product_up([self.operator_deviation, channels])
        return replace(found, value=sum_up([found.value, extra]))


@dataclass(frozen=True)
class Known:
    """A linear map of which only its norms are known, such as a pooling or a resampling.

    ``apply`` computes it for one float64 tensor, or is None. ``terms`` bounds the number of products
    that a result sums. ``moduli`` computes the map with the moduli of its weights, where some of
    these are negative. ``deviation`` bounds the spectral norm of what the map that is meant differs by
    from ``apply``; the norms include it.
    """

    norms: Callable[[float], OperatorNorm]
    apply: Callable[[Tensor], Tensor] | None = None
    terms: int | None = None
    moduli: Callable[[Tensor], Tensor] | None = None
    deviation: float = 0.0

    def norm(self, ord: float) -> OperatorNorm:
        """The known norm."""
        return self.norms(ord)


@dataclass(frozen=True, eq=False)
class Selection:
    """Each entry of the result, of ``shape``, is one entry or 0: reshapes, slices, copies, zero padding.

    ``index`` gives the flat position in the input of each entry of the flat result, -1 for 0; it is
    None where all entries keep their order. ``copies`` says that an entry may occur more than once.
    ``padding`` says that it is one of this mode, with so many (before, after) entries on each of the
    last axes.
    """

    shape: Shape
    index: Callable[[], Tensor] | None = None
    copies: bool = False
    padding: tuple[str, tuple[tuple[int, int], ...]] | None = None

    @cached_property
    def positions(self) -> Tensor | None:
        """``index``, called once."""
        return None if self.index is None else self.index()

    def norm(self, ord: float) -> OperatorNorm:
        """For 2 the root of the largest number of copies of an entry, for 1 that number."""
        count = 1
        if self.copies and ord != math.inf and self.positions is not None:
            used = self.positions[self.positions >= 0]
            count = int(torch.bincount(used).max()) if len(used) else 0
        how = "moves entries" if count < 2 else f"up to {count} copies"
        return certified(sqrt_up(count) if ord == 2 else float(count), how)


LinearMap: TypeAlias = Scaling | Matrix | Filter | Known | Selection


def certified(value: float, how: str) -> OperatorNorm:
    """An upper bound that is proved."""
    return OperatorNorm(value, "upper", certified=True, how=how)


def compose(first: LinearMap, then: LinearMap, between: Shape) -> LinearMap | None:
    """``then`` after ``first`` as one map, or None where they do not merge.

    ``between`` is the shape of the tensor between the two.
    """
    match first, then:
        case Selection(), Selection():
            return _selected_twice(first, then)
        case Selection(padding=(_, _)), Filter():
            return _padded_filter(first, then, between)
        case Scaling(), Scaling():
            return _scaling_twice(first, then)
        case Matrix(), Scaling():
            return _scaled_matrix(first, then, rows=True)
        case Scaling(), Matrix():
            return _scaled_matrix(then, first, rows=False)
        case Filter(), Scaling():
            return _scaled_filter(first, then, output=True)
        case Scaling(), Filter():
            return _scaled_filter(then, first, output=False)
        case Matrix(), Matrix():
            return _product(first, then)
    return None


def _selected_twice(first: Selection, then: Selection) -> Selection:
    if first.index is None or then.index is None:
        kept = first if then.index is None else then
        return Selection(then.shape, kept.index and (lambda: _known(kept)), kept.copies)

    def index() -> Tensor:
        before, after = _known(first), _known(then)
        return torch.where(after < 0, -1, before[after.clamp(min=0)])

    return Selection(then.shape, index, first.copies or then.copies)


def _known(selection: Selection) -> Tensor:
    assert selection.positions is not None
    return selection.positions


def _padded_filter(first: Selection, then: Filter, between: Shape) -> Filter | None:
    assert first.padding is not None
    g, (mode, pairs) = then.geometry, first.padding
    inner = tuple(n - b - a for n, (b, a) in zip(g.input_size, pairs, strict=False))
    if then.transposed or any(map(any, g.padding)) or len(pairs) != len(inner) or min(inner) < 1:
        return None
    return replace(then, geometry=replace(g, input_size=inner, padding=pairs, padding_mode=mode))


def _scaling_twice(first: Scaling, then: Scaling) -> Scaling | None:
    if then.axis != first.axis and None not in (first.axis, then.axis):
        return None
    factors = first.factors * then.factors
    sizes = first.factors.abs().max().item(), then.factors.abs().max().item()
    deviation = _product_deviation(sizes[0], first.deviation, sizes[1], then.deviation)
    exact = is_exact(first) or is_exact(then)
    rounding = 0.0 if exact else 2 * UNIT_ROUNDOFF * factors.abs().max().item()
    if not _moderate(factors) or _underflows(factors, first.factors, then.factors):
        return None
    return Scaling(factors, sum_up([deviation, rounding]))


def _underflows(product: Tensor, one: Tensor, other: Tensor) -> bool:
    """Whether entries of an elementwise product are too small to be told from 0, and are not 0."""
    small = product.abs() < torch.finfo(product.dtype).tiny
    return bool((small & (one != 0) & (other != 0)).any())


def _moderate(product: Tensor) -> bool:
    """Whether a merged weight is far from overflow and underflow, so that its error terms are."""
    largest = product.abs().max().item()
    return largest == 0 or 1e-100 < largest < 1e100


def _scaled_matrix(matrix: Matrix, scaling: Scaling, *, rows: bool) -> Matrix | None:
    if scaling.axis not in (None, matrix.axis):
        return None
    factors = scaling.factors.reshape(-1)
    weight = matrix.weight * (factors.unsqueeze(1) if rows else factors)
    if not _moderate(weight) or _underflows(
        weight, matrix.weight, factors.unsqueeze(1) if rows else factors
    ):
        return None
    deviation = _scaled_deviation(matrix.weight, matrix.deviation, weight, scaling)
    return Matrix(weight, deviation, matrix.axis)


def _scaled_filter(filter_: Filter, scaling: Scaling, *, output: bool) -> Filter | None:
    kernel, groups = filter_.kernel, filter_.geometry.groups
    if scaling.axis not in (None, 1 - kernel.dim()):
        return None
    factors = scaling.factors.reshape(-1)
    if len(factors) > 1:
        # of the convolution itself; its transpose has input and output exchanged
        if output != filter_.transposed:
            factors = factors.view(-1, *[1] * (kernel.dim() - 1))
        else:
            factors = factors.view(groups, 1, -1).expand(-1, len(kernel) // groups, -1)
            factors = factors.reshape(len(kernel), -1, *[1] * (kernel.dim() - 2))
    scaled = kernel * factors
    if not _moderate(scaled) or _underflows(scaled, kernel, factors):
        return None
    deviation = _scaled_deviation(kernel, filter_.deviation, scaled, scaling, taps=True)
    return replace(filter_, kernel=scaled, deviation=deviation)


def _scaled_deviation(
    before: Tensor, deviation: float, after: Tensor, scaling: Scaling, *, taps: bool = False
) -> float:
    largest = sum_up([scaling.factors.abs().max().item(), scaling.deviation])
    rounding = 0.0 if is_exact(scaling) else 2 * UNIT_ROUNDOFF
    return sum_up(
        [
            product_up([rounding, _frobenius(after, taps)]),
            product_up([largest, deviation]) if deviation else 0.0,
            product_up([_frobenius(before, taps), scaling.deviation]) if scaling.deviation else 0.0,
        ]
    )


def _frobenius(weight: Tensor, taps: bool) -> float:
    """Upper bound of the Frobenius norm, of the moduli summed over taps for a kernel."""
    moduli = weight.abs().flatten(2).sum(2) if taps else weight
    inflation = 1 + gamma(weight.numel() // moduli.numel() + 1)
    return product_up([sqrt_up(squared_frobenius_upper(moduli)), inflation])


def _product_deviation(size_a: float, deviation_a: float, size_b: float, deviation_b: float) -> float:
    parts = [(size_a, deviation_b), (size_b, deviation_a), (deviation_a, deviation_b)]
    return sum_up(product_up([a, b]) for a, b in parts if a and b)


def _product(first: Matrix, then: Matrix) -> Matrix | None:
    if then.axis != first.axis:
        return None
    shape = len(then.weight), first.weight.shape[1]
    if min(shape) > 1024:  # a product of thin matrices, cheaper one by one
        return None
    weight = then.weight @ first.weight
    if not _moderate(weight):
        return None
    sizes = _frobenius(first.weight, taps=False), _frobenius(then.weight, taps=False)
    rounding = product_up([gamma(first.weight.shape[0]), *sizes])
    inherited = _product_deviation(sizes[0], first.deviation, sizes[1], then.deviation)
    return Matrix(weight, sum_up([rounding, inherited]), first.axis)


def add(one: LinearMap, other: LinearMap, shape: Shape) -> LinearMap | None:
    """The sum of two maps of tensors of the same ``shape``, or None where they do not merge."""
    match one, other:
        case Selection(index=None), Selection(index=None) if one.shape == other.shape == shape:
            return Scaling(torch.full((), 2.0, dtype=torch.float64))
        case Selection(index=None), _ if one.shape == shape:
            return add(Scaling(torch.ones((), dtype=torch.float64)), other, shape)
        case _, Selection(index=None) if other.shape == shape:
            return add(other, one, shape)
        case Scaling(), Scaling():
            if one.axis != other.axis and None not in (one.axis, other.axis):
                return None
            factors = one.factors + other.factors
            largest = factors.abs().max().item()
            return Scaling(factors, _sum_deviation(one.deviation, other.deviation, largest))
        case Scaling(), Matrix() | Filter():
            return add(other, one, shape)
        case Matrix(), Matrix() | Scaling():
            matrix = _as_matrix(other, one, shape)
            if matrix is None or matrix.weight.shape != one.weight.shape or matrix.axis != one.axis:
                return None
            weight = one.weight + matrix.weight
            size = _frobenius(weight, taps=False)
            return Matrix(weight, _sum_deviation(one.deviation, matrix.deviation, size), one.axis)
        case Filter(), Filter() | Scaling():
            filter_ = _as_filter(other, one)
            return None if filter_ is None else _sum_of_filters(one, filter_)
    return None


def _sum_deviation(one: float, other: float, size: float) -> float:
    return sum_up([one, other, product_up([2 * UNIT_ROUNDOFF, size])])


def _as_matrix(item: Matrix | Scaling, like: Matrix, shape: Shape) -> Matrix | None:
    if isinstance(item, Matrix):
        return item
    if item.axis not in (None, like.axis):
        return None
    size = shape[like.axis]
    diagonal = torch.diag(item.factors.reshape(-1).expand(size))
    return Matrix(diagonal, item.deviation * math.sqrt(size), like.axis)


def _as_filter(item: Filter | Scaling, like: Filter) -> Filter | None:
    if isinstance(item, Filter):
        return item
    if item.axis not in (None, 1 - like.kernel.dim()):
        return None
    axes = len(like.geometry.input_size)
    channels = like.kernel.shape[1] * like.geometry.groups
    one_tap = Convolution(
        input_size=like.geometry.input_size,
        kernel_size=(1,) * axes,
        stride=(1,) * axes,
        padding=((0, 0),) * axes,
        dilation=(1,) * axes,
        groups=1,
        padding_mode="zeros",
    )
    kernel = torch.diag(item.factors.reshape(-1).expand(channels)).view(
        channels, channels, *one_tap.kernel_size
    )
    return Filter(kernel, one_tap, deviation=item.deviation * math.sqrt(channels), grid=like.grid)


def _sum_of_filters(one: Filter, other: Filter) -> Filter | None:
    """Both kernels in one frame, aligned by the offset of their first tap."""
    a, b = one.geometry, other.geometry
    fits = a.input_size == b.input_size and a.output_size == b.output_size and a.stride == b.stride
    plain = a.padding_mode == b.padding_mode == "zeros" and not (one.transposed or other.transposed)
    if not (fits and plain) or one.kernel.shape[0] != other.kernel.shape[0]:
        return None
    if max(a.stride) > 1 and a.padding != b.padding:
        return None
    kernels = [
        _spread(_ungrouped(f.kernel, f.geometry.groups), f.geometry.dilation) for f in (one, other)
    ]
    before = [max(p[0], q[0]) for p, q in zip(a.padding, b.padding, strict=True)]
    starts = [[w - p[0] for w, p in zip(before, g.padding, strict=True)] for g in (a, b)]
    size = [
        max(s + n for s, n in zip(axis_starts, sizes, strict=True))
        for axis_starts, sizes in zip(
            zip(*starts, strict=True), zip(*[k.shape[2:] for k in kernels], strict=True), strict=True
        )
    ]
    total = kernels[0].new_zeros(*kernels[0].shape[:2], *size)
    for kernel, start in zip(kernels, starts, strict=True):
        window = [slice(s, s + n) for s, n in zip(start, kernel.shape[2:], strict=True)]
        total[(slice(None), slice(None), *window)] += kernel
    after = [
        (out - 1) * s + k - n - w
        for out, s, k, n, w in zip(a.output_size, a.stride, size, a.input_size, before, strict=True)
    ]
    geometry = Convolution(
        input_size=a.input_size,
        kernel_size=tuple(size),
        stride=a.stride,
        padding=tuple((w, max(0, e)) for w, e in zip(before, after, strict=True)),
        dilation=(1,) * len(size),
        groups=1,
        padding_mode="zeros",
    )
    deviation = _sum_deviation(one.deviation, other.deviation, _frobenius(total, taps=True))
    return Filter(total, geometry, deviation=deviation, grid=one.grid)


def _ungrouped(kernel: Tensor, groups: int) -> Tensor:
    if groups == 1:
        return kernel
    out, channels = kernel.shape[:2]
    full = kernel.new_zeros(out, channels * groups, *kernel.shape[2:])
    for g in range(groups):
        rows = slice(g * out // groups, (g + 1) * out // groups)
        full[rows, g * channels : (g + 1) * channels] = kernel[rows]
    return full


def _spread(kernel: Tensor, dilation: tuple[int, ...]) -> Tensor:
    size = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    wide = kernel.new_zeros(*kernel.shape[:2], *size)
    wide[(slice(None), slice(None), *[slice(None, None, d) for d in dilation])] = kernel
    return wide


def is_exact(scaling: Scaling) -> bool:
    """Whether products with the factors do not round: they are powers of two, or zero."""
    mantissas = torch.frexp(scaling.factors).mantissa.abs()
    return scaling.deviation == 0 and bool(((mantissas == 0.5) | (mantissas == 0)).all())


def is_zero(item: LinearMap) -> bool:
    """Whether the map that is held, and the one that is meant, is exactly zero."""
    if isinstance(item, Scaling):
        return item.deviation == 0 and not item.factors.any()
    if isinstance(item, Matrix):
        return item.deviation == 0 and not item.weight.any()
    return isinstance(item, Filter) and item.deviation == 0 and not item.kernel.any()


def image_shape(item: LinearMap, shape: Shape) -> Shape:
    """The shape of the image of a tensor of ``shape``."""
    match item:
        case Scaling():
            return shape
        case Selection():
            return item.shape
        case Matrix():
            found = list(shape)
            found[item.axis] = len(item.weight)
            return tuple(found)
    image = apply(item, torch.zeros(1, *shape, dtype=torch.float64))
    return shape if image is None else tuple(image.shape[1:])


def apply(item: LinearMap, x: Tensor) -> Tensor | None:
    """The map of float64 tensors side by side, (b, *shape), or None where it is not known."""
    if isinstance(item, Scaling):
        return x * item.factors
    if isinstance(item, Matrix):
        return functional.linear(x.movedim(item.axis, -1), item.weight).movedim(-1, item.axis)
    if isinstance(item, Selection):
        flat = x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
        if item.positions is not None:
            kept = flat[:, item.positions.clamp(min=0)]
            flat = kept if (item.positions >= 0).all() else kept * (item.positions >= 0)
        return flat.view(-1, *item.shape)
    if isinstance(item, Filter):
        images = x.flatten(0, -item.kernel.dim())
        found = (
            _transposed(images, item)
            if item.transposed
            else convolve(images, item.kernel, item.geometry)
        )
        return found.unflatten(0, x.shape[: 1 - item.kernel.dim()])
    return torch.vmap(item.apply)(x) if item.apply is not None else None


def _transposed(x: Tensor, item: Filter) -> Tensor:
    g = item.geometry
    function = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
    padding = [p[0] for p in g.padding]
    plain = [
        (out - 1) * s - 2 * p + d * (k - 1) + 1
        for out, s, p, d, k in zip(
            x.shape[2:], g.stride, padding, g.dilation, g.kernel_size, strict=True
        )
    ]
    return function[x.dim() - 3](
        x,
        item.kernel,
        stride=g.stride,
        padding=padding,
        output_padding=[n - m for n, m in zip(g.input_size, plain, strict=True)],
        groups=g.groups,
        dilation=g.dilation,
    )
