"""Other published bounds of a convolution's norm, each for the operator its authors meant.

They are here to be compared with; nothing else in the library rests on them. Every function takes a
kernel (out, in, kh, kw) and the input's size, and returns an ``OperatorNorm`` computed in the
kernel's dtype, without a certificate: ``kind`` says what the value would be in exact arithmetic.
S below is the norm of the convolution on the infinite grid, which bounds those with zero or circular
padding of every size and stride.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

from lipbounds.operator_norm.gram import half_spectrum, symbols
from lipbounds.operator_norm.result import Kind, OperatorNorm

Size = int | Sequence[int]
"""One number for both spatial axes, or one for each."""


@dataclass(frozen=True)
class Competitor:
    """A published formula.

    ``sound`` is True when every value, whatever the options, is an upper bound of the norm of
    ``operator`` in exact arithmetic.
    """

    function: Callable[..., OperatorNorm]
    source: str
    sound: bool
    operator: str
    remark: str


@torch.no_grad()
def reshaped_power(kernel: Tensor, input_size: Size, *, steps: int = 100, seed: int = 0) -> OperatorNorm:
    """Power iteration on the kernel reshaped to (out, in kh kw).

    It approaches the norm of one output pixel as a function of its patch. For inputs at least as
    large as the kernel, a patch is part of the input, so the value is at most the norm of the
    convolution with zero or circular padding (stride 1): ``lower``. For smaller inputs it is an
    ``estimate``. The norm is up to sqrt(kh kw) times as large.

    Raises ValueError for another shape or dtype of the kernel, sizes or steps that are not positive.
    """
    sizes = _checked(kernel, input_size, steps=steps)
    fits = all(size >= length for size, length in zip(sizes, kernel.shape[2:], strict=True))
    value = _power_iteration(kernel.flatten(1), steps, seed)
    kind: Kind = "lower" if fits else "estimate"
    return OperatorNorm(value, kind, certified=False, how=f"reshaped kernel, {steps} power steps")


@torch.no_grad()
def farnia_ryu(
    kernel: Tensor,
    input_size: Size,
    *,
    stride: Size = 1,
    padding: Size | None = None,
    steps: int = 100,
    seed: int = 0,
) -> OperatorNorm:
    """Power iteration with the convolution itself: zero padding, stride and input size as given.

    ``padding`` defaults to half the kernel, (kh // 2, kw // 2). The value is ``|K v|`` for a unit
    vector v, evaluated in float64 at the end: ``lower``.

    Raises ValueError for another shape or dtype of the kernel, sizes, strides or steps that are not
    positive, or a kernel longer than the padded input.
    """
    sizes = _checked(kernel, input_size, steps=steps)
    strides = _pair(stride)
    margins = _pair(padding, least=0) if padding is not None else tuple(k // 2 for k in kernel.shape[2:])
    if any(n + 2 * p < k for n, p, k in zip(sizes, margins, kernel.shape[2:], strict=True)):
        raise ValueError(f"a kernel {tuple(kernel.shape)} does not fit the padded input {sizes}")
    shape = (1, kernel.shape[1], *sizes)
    vector = _random(shape, kernel, seed)
    for _ in range(steps):
        image = functional.conv2d(vector, kernel, stride=strides, padding=margins)
        vector = conv2d_input(shape, kernel, image, stride=strides, padding=margins)
        vector = _unit(vector)
    vector = _unit(vector.double())
    value = functional.conv2d(vector, kernel.double(), stride=strides, padding=margins).norm().item()
    return OperatorNorm(value, "lower", certified=False, how=f"{steps} power steps, zero padding")


@torch.no_grad()
def sedghi(kernel: Tensor, input_size: Size) -> OperatorNorm:
    """The norm of the convolution with circular padding, stride 1: singular values of its symbols.

    Exact, hence ``upper``. One frequency of each conjugate pair is computed, as the kernel is real;
    kernels longer than the input wrap round it.

    Raises ValueError for another shape or dtype of the kernel, or sizes that are not positive.
    """
    sizes = _checked(kernel, input_size)
    value = _largest_symbol_norm(kernel, sizes)
    return OperatorNorm(value, "upper", certified=False, how="singular values of all symbols")


@torch.no_grad()
def senderovich(kernel: Tensor, input_size: Size, *, stride: Size = 1) -> OperatorNorm:
    """The norm of the convolution with circular padding and a stride that divides the input size.

    Exact, hence ``upper``: the s^2 phases of the input are channels of an unstrided convolution on
    the coarse grid, whose symbols' singular values are taken.

    Raises ValueError for another shape or dtype of the kernel, sizes or strides that are not
    positive, or a stride that does not divide its size.
    """
    sizes = _checked(kernel, input_size)
    strides = _pair(stride)
    if any(n % s for n, s in zip(sizes, strides, strict=True)):
        raise ValueError(f"the stride {strides} does not divide the input size {sizes}")
    coarse = (sizes[0] // strides[0], sizes[1] // strides[1])
    value = _largest_symbol_norm(_polyphase(kernel, strides), coarse)
    return OperatorNorm(value, "upper", certified=False, how="singular values of polyphase symbols")


@torch.no_grad()
def singla_feizi(
    kernel: Tensor, input_size: Size, *, steps: int | None = None, seed: int = 0
) -> OperatorNorm:
    """sqrt(kh kw) times the smallest norm of four unfoldings of the kernel.

    The unfoldings are (out kh, in kw), (out kw, in kh), (out, in kh kw) and (in, out kh kw). With
    converged norms (``steps`` None: singular values) the value bounds S: ``upper``. With a number of
    power steps, as published, it may fall below: ``estimate``.

    Raises ValueError for another shape or dtype of the kernel, sizes or steps that are not positive.
    """
    _checked(kernel, input_size, steps=1 if steps is None else steps)
    out, into, height, width = kernel.shape
    unfoldings = (
        kernel.permute(0, 2, 1, 3).reshape(out * height, into * width),
        kernel.permute(0, 3, 1, 2).reshape(out * width, into * height),
        kernel.flatten(1),
        kernel.transpose(0, 1).flatten(1),
    )
    if steps is None:
        norms = [torch.linalg.matrix_norm(unfolding, 2).item() for unfolding in unfoldings]
    else:
        norms = [_power_iteration(unfolding, steps, seed) for unfolding in unfoldings]
    value = math.sqrt(height * width) * min(norms)
    how = "four unfoldings, " + ("singular values" if steps is None else f"{steps} power steps")
    return OperatorNorm(value, "upper" if steps is None else "estimate", certified=False, how=how)


@torch.no_grad()
def araujo(
    kernel: Tensor,
    input_size: Size,
    *,
    samples: int = 50,
    variant: Literal["frobenius", "rows"] = "frobenius",
) -> OperatorNorm:
    """LipGrid: symbols on a grid, their Frobenius norms, and a factor for what lies between.

    ``frobenius`` takes ``max_w |K(w)|_F``, ``rows`` the larger ``sqrt(sum_i max_w sum_j
    |K_ij(w)|^2)``. The grid has N = ``samples`` distinct points on each axis. The factor is
    ``(1 - 2 d / N)^(-1/2)`` for each axis, d = k // 2 being the degree of the symbol in it
    (Pfister & Bresler, Bounding multivariate trigonometric polynomials, 2019), so 1/(1 - 2 d / N)
    for square kernels. The value bounds S: ``upper``.

    Raises ValueError for another shape or dtype of the kernel, sizes that are not positive, an
    unknown variant, or N <= 2 d, where the factor says nothing.
    """
    _checked(kernel, input_size, steps=samples)
    if variant not in ("frobenius", "rows"):
        raise ValueError(f"no variant {variant!r}; use frobenius or rows")
    degrees = [length // 2 for length in kernel.shape[2:]]
    if samples <= 2 * max(degrees):
        raise ValueError(f"a grid of {samples} points is too coarse for degree {max(degrees)}")
    factor = math.prod((1 - 2 * degree / samples) ** -0.5 for degree in degrees)
    grid = (samples, samples)
    rows = torch.cat([symbol.abs().square().sum(2) for symbol in _symbol_chunks(kernel, grid)])
    squared = rows.sum(1).max() if variant == "frobenius" else rows.amax(0).sum()
    value = factor * squared.sqrt().item()
    return OperatorNorm(value, "upper", certified=False, how=f"grid of {samples} points, {variant}")


@torch.no_grad()
def grishina(
    kernel: Tensor,
    input_size: Size,
    *,
    stride: Size = 1,
    steps: int = 100,
    starts: int = 1,
    seed: int = 0,
) -> OperatorNorm:
    """sqrt(kh kw) times the spectral norm of the kernel as a complex tensor.

    S is at most that, because ``K(w)`` contracts the kernel with two vectors of phases, of norms
    sqrt(kh) and sqrt(kw). The tensor norm comes from alternating maximisation over four unit
    vectors, best of several random ``starts``: from below, perhaps a local maximum, so the value is
    an ``estimate``. With a stride, the kernel is that of the phases of the input.

    Raises ValueError for another shape or dtype of the kernel, and for sizes, strides, steps or
    starts that are not positive.
    """
    _checked(kernel, input_size, steps=min(steps, starts))
    kernel = _polyphase(kernel, _pair(stride))
    tensor = kernel.to(torch.complex128 if kernel.dtype == torch.float64 else torch.complex64)
    u, v, a, b = (
        _unit_rows(torch.complex(*_random((2, starts, size), kernel, seed + axis)))
        for axis, size in enumerate(kernel.shape)
    )
    for _ in range(steps):
        # the kernel with its two short vectors taken in, then with its two long ones
        inner = torch.einsum("oihw,sh,sw->soi", tensor, a, b)
        u = _unit_rows(torch.einsum("soi,si->so", inner, v).conj())
        v = _unit_rows(torch.einsum("soi,so->si", inner, u).conj())
        outer = torch.einsum("soi,oihw->shw", u[:, :, None] * v[:, None, :], tensor)
        a = _unit_rows(torch.einsum("shw,sw->sh", outer, b).conj())
        b = _unit_rows(torch.einsum("shw,sh->sw", outer, a).conj())
    norm = torch.einsum("shw,sh,sw->s", outer, a, b).abs().max().item()
    value = math.sqrt(kernel.shape[2] * kernel.shape[3]) * norm
    return OperatorNorm(value, "estimate", certified=False, how=f"tensor norm, {steps} rounds")


@torch.no_grad()
def trivial(kernel: Tensor, input_size: Size) -> OperatorNorm:
    """The smaller of two bounds of S: ``upper``.

    One is the sum over taps of the norms of the matrices ``K[:, :, a]``; the other is the root of
    the largest absolute row sum times the largest absolute column sum of the operator.

    Raises ValueError for another shape or dtype of the kernel, or sizes that are not positive.
    """
    _checked(kernel, input_size)
    taps = torch.linalg.matrix_norm(kernel.permute(2, 3, 0, 1), 2).sum().item()
    totals = kernel.abs().sum((2, 3))
    sums = (totals.sum(1).max() * totals.sum(0).max()).sqrt().item()
    how = "sum of the taps' norms" if taps <= sums else "row and column sums"
    return OperatorNorm(min(taps, sums), "upper", certified=False, how=how)


COMPETITORS: dict[str, Competitor] = {
    "reshaped_power": Competitor(
        reshaped_power,
        "Yoshida & Miyato 2017; Miyato et al. 2018",
        sound=False,
        operator="circular or zero padding",
        remark="The norm of a patch's map, from below; the operator's is up to sqrt(kh kw) times it.",
    ),
    "farnia_ryu": Competitor(
        farnia_ryu,
        "Farnia et al. 2019; Ryu et al. 2019",
        sound=False,
        operator="zero padding",
        remark="Converges to the norm of the layer as it is, from below.",
    ),
    "sedghi": Competitor(
        sedghi,
        "Sedghi et al. 2019",
        sound=True,
        operator="circular",
        remark="Exact for circular padding; a zero-padded layer of the same size can exceed it.",
    ),
    "senderovich": Competitor(
        senderovich,
        "Senderovich et al. 2022",
        sound=True,
        operator="circular, strided",
        remark="Exact for circular padding and a stride that divides the input size.",
    ),
    "singla_feizi": Competitor(
        singla_feizi,
        "Singla & Feizi 2021",
        sound=False,
        operator="any size",
        remark="An upper bound with converged norms; with power iteration, as published, it can "
        "fall below.",
    ),
    "araujo": Competitor(
        araujo,
        "Araujo et al. 2021",
        sound=True,
        operator="any size",
        remark="Too large by up to the root of the smaller number of channels.",
    ),
    "grishina": Competitor(
        grishina,
        "Grishina et al. 2024",
        sound=False,
        operator="any size",
        remark="A bound with the true tensor norm, of which alternating maximisation finds a lower one.",
    ),
    "trivial": Competitor(
        trivial,
        "folklore",
        sound=True,
        operator="any size",
        remark="The smaller of the sum of the taps' norms and the row and column sums.",
    ),
}
"""The formulas by name, in the order of publication but for the last."""


def _checked(kernel: Tensor, input_size: Size, *, steps: int = 1) -> tuple[int, int]:
    if kernel.dim() != 4 or kernel.numel() == 0:
        raise ValueError(f"kernel must be (out, in, kh, kw), not {tuple(kernel.shape)}")
    if kernel.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"kernel must be float32 or float64, not {kernel.dtype}")
    if steps < 1:
        raise ValueError(f"steps, samples and starts must be positive, not {steps}")
    return _pair(input_size)


def _pair(value: Size, *, least: int = 1) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    if min(height, width) < least:
        raise ValueError(f"sizes, strides and paddings must be at least {least}, not {value}")
    return height, width


def _polyphase(kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """(out, in, kh, kw) -> (out, in s s', ceil(kh/s), ceil(kw/s')): one channel for each phase."""
    vertical, horizontal = strides
    out, into, height, width = kernel.shape
    padded = functional.pad(kernel, (0, -width % horizontal, 0, -height % vertical))
    rows, columns = padded.shape[2] // vertical, padded.shape[3] // horizontal
    split = padded.reshape(out, into, rows, vertical, columns, horizontal)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(out, -1, rows, columns)


def _largest_symbol_norm(kernel: Tensor, sizes: tuple[int, int]) -> float:
    chunks = _symbol_chunks(kernel, sizes)
    return max(torch.linalg.svdvals(symbol).max().item() for symbol in chunks)


def _symbol_chunks(kernel: Tensor, sizes: tuple[int, int]) -> Iterator[Tensor]:
    """The symbols at all frequencies of the grid, (f, out, in), as much at a time as fits in memory."""
    for chunk in half_spectrum(sizes).split(max(1, 2**22 // kernel[:, :, 0, 0].numel())):
        yield torch.complex(*symbols(kernel, sizes, chunk))


def _power_iteration(matrix: Tensor, steps: int, seed: int) -> float:
    vector = _unit(_random(matrix.shape[1:], matrix, seed))
    for _ in range(steps):
        vector = _unit(matrix.T @ (matrix @ vector))
    return (matrix @ vector).norm().item()


def _random(shape: Sequence[int], like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    return vector / torch.where(norm == 0, 1.0, norm)


def _unit_rows(vectors: Tensor) -> Tensor:
    norms = vectors.norm(dim=1, keepdim=True)
    return vectors / torch.where(norms == 0, 1.0, norms)
