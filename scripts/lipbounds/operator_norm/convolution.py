"""Norms of convolution layers: stride, padding, dilation, groups and padding mode included.

A zero-padded convolution of an input of size n is a compression of the circular one on a torus of
size N >= n + p, so the norm of that one, the largest spectral norm of the kernel's symbol over the
frequencies of the torus, bounds it. A stride s turns into s**d times as many input channels on a
torus s times smaller (polyphase form). On a coarser torus of N points per axis the maximum over all
frequencies is at most the maximum over the grid divided by cos(pi (k - 1) / (2 N)) per axis, because
along one axis the symbol is a trigonometric polynomial of degree (k - 1) / 2 (Riesz).

Sources: Sedghi et al., ICLR 2019 (circular, exact); Senderovich et al., 2022 (polyphase); Delattre
et al., ICML 2023 and 2024 (circular against zero padding).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from lipbounds.operator_norm.certificate import top_eigenvalue_upper
from lipbounds.operator_norm.lanczos import lanczos
from lipbounds.operator_norm.matrix import scaled_to_one, unscaled
from lipbounds.operator_norm.result import OperatorNorm
from lipbounds.rounding import gamma, product_up, sqrt_up, squared_frobenius_upper, up
from lipbounds.threads import map_single_threaded

Padding = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]
PADDING_MODES = ("zeros", "circular", "reflect", "replicate")

_CHUNK_ELEMENTS = 1 << 17
"""Complex entries of the Gram matrices that a thread works on at a time (2 MiB: they stay in cache)."""


_MOST_AT_ONCE, _FEWEST_AT_ONCE = 128, 4
"""Frequencies: more a thread takes in pieces, so that all threads get some; fewer would read all of the
autocorrelation for each."""


@dataclass(frozen=True)
class Convolution:
    """What a convolution layer does, besides its weight. One entry per spatial axis.

    ``padding`` holds (before, after) per axis.
    """

    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str

    @classmethod
    def of(
        cls,
        kernel_size: tuple[int, ...],
        input_size: int | tuple[int, ...],
        *,
        stride: int | tuple[int, ...] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
    ) -> Self:
        """From the arguments of ``torch.nn.Conv2d``. Raises ``ValueError`` as :func:`conv_norm`."""
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"no padding mode {padding_mode!r}; known: {', '.join(PADDING_MODES)}")
        dilations = _each(dilation, len(kernel_size))
        layer = cls(
            input_size=_each(input_size, len(kernel_size)),
            kernel_size=kernel_size,
            stride=_each(stride, len(kernel_size)),
            padding=_pairs(padding, kernel_size, dilations),
            dilation=dilations,
            groups=groups,
            padding_mode=padding_mode,
        )
        if min(layer.output_size) < 1:
            raise ValueError(
                f"an input of size {layer.input_size} with padding {layer.padding} is smaller than "
                f"the kernel {kernel_size} with dilation {dilations}"
            )
        return layer

    @property
    def output_size(self) -> tuple[int, ...]:
        """Spatial size of the output."""
        return tuple(
            (n + before + after - d * (k - 1) - 1) // s + 1
            for n, k, s, (before, after), d in zip(
                self.input_size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        )


def conv2d_norm(
    weight: Tensor,
    input_size: int | tuple[int, int] | None,
    *,
    stride: int | tuple[int, ...] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    method: str = "certified",
    ord: float = 2,
    grid: int | None = None,
) -> OperatorNorm:
    """:func:`conv_norm` for a weight of shape (out, in / groups, height, width)."""
    if weight.dim() != 4:
        raise ValueError(f"weight must be (out, in / groups, height, width), not {tuple(weight.shape)}")
    return conv_norm(
        weight,
        input_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        method=method,
        ord=ord,
        grid=grid,
    )


def conv_norm(
    weight: Tensor,
    input_size: int | tuple[int, ...] | None,
    *,
    stride: int | tuple[int, ...] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    method: str = "certified",
    ord: float = 2,
    grid: int | None = None,
) -> OperatorNorm:
    """Norm of a convolution as a linear map of flattened inputs, padding and stride included.

    Parameters
    ----------
    weight
        (out, in / groups, *kernel) with 1 to 3 spatial axes, any real floating dtype.
    input_size
        Spatial size of the input; None bounds every size at once (zero padding only).
    stride, padding, dilation, groups, padding_mode
        As in ``torch.nn.Conv2d``; padding also as a pair (before, after) per axis, or ``same``.
    method
        ``certified``: an upper bound, proved with rounding. ``lanczos``: the norm approached from
        below (``kind="lower"``), so that the two enclose it.
    ord
        2, or 1 or inf (``certified`` only): largest column or row sum of moduli.
    grid
        At most this many frequencies per axis, but no fewer than about two per kernel point: faster,
        and looser by the cosine factor. None: as many as the input needs (no factor), or 8 per
        kernel point for ``input_size=None``.

    Raises
    ------
    ValueError
        For an empty, non-floating or non-finite weight, an unknown option, or an input smaller than
        the kernel.
    """
    kernel = _checked_kernel(weight, groups)
    geometry = None
    if input_size is not None:
        geometry = Convolution.of(
            tuple(kernel.shape[2:]),
            input_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
        )
    if method == "lanczos":
        if geometry is None or ord != 2:
            raise ValueError("method lanczos needs an input_size and ord=2")
        return _lanczos_norm(kernel, geometry)
    if method != "certified":
        raise ValueError(f"no method {method!r}; use certified or lanczos")
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if geometry is None:
        if padding_mode != "zeros" or ord != 2:
            raise ValueError("a bound for every input_size needs padding_mode zeros and ord=2")
        axes = kernel.dim() - 2
        return _any_size_norm(kernel, _each(stride, axes), _each(dilation, axes), groups, grid)
    if ord != 2:
        return _sum_norm(kernel, geometry, ord)
    return certified_conv_norm(kernel, geometry, grid=grid)


def certified_conv_norm(
    kernel: Tensor, geometry: Convolution, *, grid: int | None = None
) -> OperatorNorm:
    """Certified spectral norm for a float64 kernel; ``grid`` as in :func:`conv_norm`."""
    geometry = _with_dividing_stride(geometry)
    size, pad_factor, how = _torus(geometry)
    taps = _taps(kernel, geometry.stride, geometry.dilation, geometry.groups)
    value, points, cosine = _torus_norm(taps, size, grid)
    if cosine > 1:
        how += f", cosine factor {cosine:.4f}"
    return OperatorNorm(
        product_up([value, pad_factor]),
        "upper",
        certified=True,
        how=f"{how}, {'x'.join(map(str, points))} frequencies",
    )


# Geometry


def _checked_kernel(weight: Tensor, groups: int) -> Tensor:
    if weight.dim() not in (3, 4, 5) or weight.numel() == 0:
        raise ValueError(
            f"weight must be non-empty, (out, in / groups, *kernel) with 1 to 3 spatial axes, "
            f"not {tuple(weight.shape)}"
        )
    if not weight.is_floating_point():
        raise ValueError(f"weight must be real and floating, not {weight.dtype}")
    if groups < 1 or len(weight) % groups:
        raise ValueError(f"groups must divide the {len(weight)} output channels, not be {groups}")
    kernel = weight.detach().cpu().to(torch.float64)
    if not kernel.isfinite().all():
        raise ValueError("weight has NaN or infinite entries")
    return kernel


def _each(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes or min(values) < 1:
        raise ValueError(f"{value!r} is not a positive integer for each of the {axes} spatial axes")
    return values


def _pairs(
    padding: Padding,
    kernel_size: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(f"no padding {padding!r}; use same, valid or numbers")
    values = (padding,) * len(kernel_size) if isinstance(padding, int) else padding
    pairs = tuple((p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in values)
    if len(pairs) != len(kernel_size) or min(map(min, pairs)) < 0:
        raise ValueError(f"padding {padding!r} does not fit a kernel of size {kernel_size}")
    return pairs


def _with_dividing_stride(geometry: Convolution) -> Convolution:
    """With circular padding, strides that do not divide the input size set to one.

    That only adds outputs, unless two outputs of the strided layer were the same one of these.
    """
    sizes = zip(geometry.input_size, geometry.stride, geometry.output_size, strict=True)
    distinct = all(s * (out - 1) < n for n, s, out in sizes)
    if geometry.padding_mode != "circular" or not distinct:
        return geometry
    strides = zip(geometry.input_size, geometry.stride, geometry.output_size, strict=True)
    dividing = tuple(s if n % s == 0 and s * out <= n else 1 for n, s, out in strides)
    return replace(geometry, stride=dividing)


def _torus(geometry: Convolution) -> tuple[tuple[int, ...], float, str]:
    """Polyphase torus whose circular convolution bounds the layer; a factor; a few words on it."""
    n, out, s = geometry.input_size, geometry.output_size, geometry.stride
    if geometry.padding_mode == "circular" and all(
        size % step == 0 and count * step <= size for size, count, step in zip(n, out, s, strict=True)
    ):
        torus = tuple(size // step for size, step in zip(n, s, strict=True))
        return torus, 1.0, "circular: largest symbol on the torus of the input"
    if geometry.padding_mode == "zeros":
        return _padded_torus(geometry), 1.0, "largest symbol on a torus of input and padding"
    factor = padding_norm(geometry)
    padded = tuple(size + sum(p) for size, p in zip(n, geometry.padding, strict=True))
    torus = tuple(-(-size // step) for size, step in zip(padded, s, strict=True))
    return torus, factor, f"{geometry.padding_mode} padding ({factor:.4g}) times largest symbol"


def _padded_torus(geometry: Convolution) -> tuple[int, ...]:
    """Points per axis: neither indices of padding nor outputs meet others when they wrap around."""
    return tuple(
        max(-(-(n + max(pair)) // s), out)
        for n, pair, s, out in zip(
            geometry.input_size, geometry.padding, geometry.stride, geometry.output_size, strict=True
        )
    )


def padding_norm(geometry: Convolution) -> float:
    """Norm of the padding alone: it copies entries, so the root of the largest number of copies."""
    return sqrt_up(
        math.prod(
            copies(geometry.padding_mode, n, pair)
            for n, pair in zip(geometry.input_size, geometry.padding, strict=True)
        )
    )


def copies(mode: str, size: int, pair: tuple[int, int]) -> int:
    """How often padding by ``pair`` repeats the entry of an axis that it repeats most."""
    if mode in ("zeros", "constant"):
        return 1
    index = torch.arange(size, dtype=torch.float64).view(1, 1, -1)
    padded = functional.pad(index, pair, mode=mode)
    return int(torch.bincount(padded.flatten().long()).max())


# Symbols


@dataclass(frozen=True)
class _Taps:
    """Polyphase kernel: ``matrices`` (taps, groups, out, in) at integer ``offsets`` (taps, axes)."""

    offsets: Tensor
    matrices: Tensor


def _taps(kernel: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int) -> _Taps:
    """Taps of the polyphase form; taps that meet at one offset keep to their own phase's columns."""
    out, channels = kernel.shape[:2]
    positions = torch.cartesian_prod(
        *[torch.arange(k) * d for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    ).view(-1, kernel.dim() - 2)
    steps = torch.tensor(stride)
    blocks, phases = positions // steps, positions % steps
    place = torch.tensor([math.prod(stride[i + 1 :]) for i in range(len(stride))])
    phase = (phases * place).sum(1)
    offsets, which = torch.unique(blocks, dim=0, return_inverse=True)
    matrices = kernel.new_zeros(len(offsets), math.prod(stride), out, channels)
    matrices[which, phase] = kernel.flatten(2).permute(2, 0, 1)
    per_group = matrices.view(len(offsets), -1, groups, out // groups, channels)
    per_group = per_group.permute(0, 2, 3, 1, 4).flatten(3)
    met = per_group.flatten(0, 2).any(0)  # a kernel shorter than its stride meets not all phases
    return _Taps(offsets, (per_group[..., met] if met.any() else per_group).contiguous())


def _torus_norm(
    taps: _Taps, size: tuple[int, ...], grid: int | None
) -> tuple[float, tuple[int, ...], float]:
    """Largest spectral norm of the symbol on a torus, certified; the grid used; its cosine factor.

    The kernel is scaled by a power of two. With A the sum of the moduli of the taps, the entries of
    the computed Gram matrices are off by at most ``gamma_q A A^T``, where q counts, with a margin of
    two for complex moduli, the terms of both sums and 40 units for sines and cosines of arguments
    reduced exactly.
    """
    spread = (taps.offsets.amax(0) - taps.offsets.amin(0)).tolist()
    # along an axis with one tap the modulus of the symbol is constant
    size = tuple(n if degree else 1 for n, degree in zip(size, spread, strict=True))
    points, cosine = _coarser(size, spread, grid)
    scaled, exponent = scaled_to_one(taps.matrices)
    if exponent is None:
        return 0.0, points, 1.0
    if scaled.shape[2] > scaled.shape[3]:
        scaled = scaled.mT
    scaled = scaled.contiguous()
    modulus = scaled.abs().sum(0)
    terms = 2 * (len(scaled) * scaled.shape[-1] + 3 ** len(points) * len(scaled)) + 80
    rounding = gamma(terms) * max(squared_frobenius_upper(group) for group in modulus)
    top = _largest_over_torus(scaled, taps.offsets, points)
    worst = up(top + up(rounding * (1 + 1e-12)))
    return product_up([unscaled(sqrt_up(worst), exponent), cosine]), points, cosine


def _largest_over_torus(matrices: Tensor, offsets: Tensor, points: tuple[int, ...]) -> float:
    """Bound of the top eigenvalues of the computed Gram matrices of all groups at all frequencies.

    A part of the frequencies is cheap where the shift that it is tried with is above its eigenvalues.
    So they come in a random order, in waves of twice as many parts as the one before, each with the
    largest shift so far: about one part of a wave needs a larger one, however many threads there are.
    """
    gram_at = _grams(matrices, offsets, points)
    entries = matrices.shape[1] * matrices.shape[2] ** 2
    at_once = min(_MOST_AT_ONCE, max(_FEWEST_AT_ONCE, _CHUNK_ELEMENTS // entries))
    parts = _scattered(points).split(at_once)
    if len(parts) == 1:
        return top_eigenvalue_upper(gram_at(*parts))[0]
    bound = shift = 0.0
    seen = 0
    while seen < len(parts):
        wave = parts[seen : max(1, 2 * seen)]
        found = map_single_threaded(partial(_top_of_part, gram_at, shift), wave)
        bound, shift = (max(values) for values in zip((bound, shift), *found, strict=True))
        seen += len(wave)
    return bound


def _top_of_part(
    gram_at: Callable[[Tensor], Tensor], shift: float, frequencies: Tensor
) -> tuple[float, float]:
    return top_eigenvalue_upper(gram_at(frequencies), shift)


def _coarser(
    size: tuple[int, ...], spread: list[int], grid: int | None
) -> tuple[tuple[int, ...], float]:
    """The grid within the asked limit, and the factor that makes up for its coarseness."""
    if grid is None:
        return size, 1.0
    points, factor = [], 1.0
    for n, degree in zip(size, spread, strict=True):
        count = min(n, max(grid, 2 * degree))
        points.append(count)
        if count < n and degree:
            cosine = math.cos(math.pi * degree / (2 * count)) - 1e-15
            factor = product_up([factor, up(up(1 / cosine))])
    return tuple(points), factor


def _grams(matrices: Tensor, offsets: Tensor, points: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """A function from frequencies (f, axes) to the Gram matrices (f * groups, m, m) of the symbol there.

    Through the autocorrelation of the kernel or directly, whichever takes fewer operations; of a kernel
    with one tap they are real.
    """
    taps, _, rows, columns = matrices.shape
    lags = len(torch.unique((offsets.unsqueeze(1) - offsets).flatten(0, 1), dim=0)) // 2
    frequencies = math.prod(points) // 2 + 1
    direct = frequencies * rows * columns * (4 * taps + 8 * rows)
    by_lags = taps * (taps + 1) * rows * rows * columns + 4 * frequencies * lags * rows * rows
    if direct < by_lags:
        return partial(_direct_grams, matrices, offsets, points)
    center, lag, halves = _autocorrelation(matrices, offsets)
    if not len(lag):
        return lambda frequencies: center.repeat(len(frequencies), 1, 1)
    even, odd = (halves + halves.mT).flatten(1), (halves.mT - halves).flatten(1)
    return partial(_grams_by_lags, center, lag, even, odd, points)


def _direct_grams(
    matrices: Tensor, offsets: Tensor, points: tuple[int, ...], frequencies: Tensor
) -> Tensor:
    cosines, sines = _waves(frequencies, offsets, points)
    flat = matrices.flatten(1)
    symbol = torch.complex(cosines @ flat, -(sines @ flat)).view(-1, *matrices.shape[2:])
    below = (symbol @ symbol.mH).tril(-1)
    diagonal = torch.view_as_real(symbol).square().sum((-2, -1))
    return below + below.mH + torch.diag_embed(diagonal)


def _grams_by_lags(
    center: Tensor,
    lag: Tensor,
    even: Tensor,
    odd: Tensor,
    points: tuple[int, ...],
    frequencies: Tensor,
) -> Tensor:
    cosines, sines = _waves(frequencies, lag, points)
    real = torch.addmm(center.flatten(), cosines, even)
    return torch.complex(real, sines @ odd).view(-1, *center.shape[1:])


def _scattered(points: tuple[int, ...]) -> Tensor:
    """Integer frequencies (f, axes), one of each pair of opposite ones, 0 first and then in no order."""
    axes = [torch.arange(n) for n in points[:-1]] + [torch.arange(points[-1] // 2 + 1)]
    frequencies = torch.cartesian_prod(*axes).view(-1, len(points))
    order = torch.randperm(len(frequencies) - 1, generator=torch.Generator().manual_seed(0)) + 1
    return torch.cat([frequencies[:1], frequencies[order]])


def _waves(frequencies: Tensor, offsets: Tensor, points: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """cos and sin of the angle of each frequency at each offset, (f, taps)."""
    turns = torch.zeros(len(frequencies), len(offsets), dtype=torch.float64)
    for axis, n in enumerate(points):
        turns += (torch.outer(frequencies[:, axis], offsets[:, axis]) % n).double() / n
    angle = 2 * math.pi * (turns % 1)
    return angle.cos(), angle.sin()


def _autocorrelation(matrices: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sum_b B_(b+l) B_b^T for l = 0 (groups, m, m), one of each pair of other lags l (lags, axes), and
    the same sums there (lags, groups, m, m)."""
    sums: dict[tuple[int, ...], Tensor] = {}
    for index, offset in enumerate(offsets):
        # offsets are sorted, so each later tap is at a lag that is lexicographically positive
        products = matrices[index:] @ matrices[index].mT
        shifts = (offsets[index:] - offset).tolist()
        for shift, product in zip(map(tuple, shifts), products, strict=True):
            sums[shift] = sums[shift] + product if shift in sums else product
    zero = (0,) * offsets.shape[1]
    center = sums.pop(zero)
    lag = torch.tensor(list(sums)).view(-1, len(zero))
    halves = torch.stack(list(sums.values())) if sums else center.new_zeros(0, *center.shape)
    return center.tril() + center.tril(-1).mT, lag, halves


# Other norms


def _any_size_norm(
    kernel: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int, grid: int | None
) -> OperatorNorm:
    taps = _taps(kernel, stride, dilation, groups)
    spread = (taps.offsets.amax(0) - taps.offsets.amin(0)).tolist()
    points = grid or max(16, 8 * (max(spread) + 1))
    value, used, cosine = _torus_norm(taps, tuple([10**9] * len(spread)), points)
    how = f"any size: largest symbol, cosine factor {cosine:.4f}, {'x'.join(map(str, used))} frequencies"
    return OperatorNorm(value, "upper", certified=True, how=how)


def _sum_norm(kernel: Tensor, geometry: Convolution, ord: float) -> OperatorNorm:
    """Largest row sum (inf), or column sum (1) of the polyphase taps, rounded up."""
    moduli = _taps(kernel, geometry.stride, geometry.dilation, geometry.groups).matrices.abs().sum(0)
    total = moduli.sum(-1 if ord == math.inf else -2).max().item()
    terms = kernel.numel() // len(kernel) if ord == math.inf else kernel.numel()
    bound = up(total * (1 + gamma(terms + 2)))
    if geometry.padding_mode not in ("zeros",) and ord == 1:
        bound = product_up([bound, padding_norm(geometry), padding_norm(geometry)])
    return OperatorNorm(bound, "upper", certified=True, how=f"sum of moduli, ord {ord}")


def _lanczos_norm(kernel: Tensor, geometry: Convolution) -> OperatorNorm:
    """Lanczos in float32, where convolutions are fast; the value itself is taken in float64."""
    channels = kernel.shape[1] * geometry.groups
    shape = (1, channels, *geometry.input_size)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    scaled, exponent = scaled_to_one(kernel)
    if exponent is None:
        return OperatorNorm(0.0, "lower", certified=True, how="zero kernel")
    single = scaled.to(torch.float32)
    with torch.enable_grad():
        probe = torch.zeros_like(start).requires_grad_()
        output = convolve(probe, single, geometry)
    result = lanczos(
        lambda x: convolve(x, single, geometry),
        lambda y: torch.autograd.grad(output, probe, y, retain_graph=True)[0],
        start,
        steps=60,
        tolerance=1e-6,
    )
    vector = result.vector.double()
    value = (convolve(vector, scaled, geometry).norm() / vector.norm()).item()
    how = f"Lanczos, relative residual {result.residual / max(result.value, 1e-30) ** 2:.0e}"
    return OperatorNorm(math.ldexp(value, exponent), "lower", certified=False, how=how)


def convolve(x: Tensor, kernel: Tensor, geometry: Convolution) -> Tensor:
    """The convolution itself, of a batch (b, in, *size)."""
    before_after = [p for pair in reversed(geometry.padding) for p in pair]
    mode = "constant" if geometry.padding_mode == "zeros" else geometry.padding_mode
    padded = functional.pad(x, before_after, mode=mode)
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[x.dim() - 3]
    return function(
        padded, kernel, stride=geometry.stride, dilation=geometry.dilation, groups=geometry.groups
    )
