"""Gram iteration: upper bounds of spectral norms that converge at the rate of repeated squaring.

For a matrix G let ``G_1 = G`` and ``G_{t+1} = G_t^H G_t``. After T products the value
``|G_{T+1}|_F^(2^-T)`` is the Schatten norm of G of order 2^(T+1): at or above the spectral norm, at
most ``rank^(2^-(T+1))`` times as large, and nonincreasing in T (Delattre, Barthélemy, Araujo &
Allauzen, Efficient bound of Lipschitz constant for convolutional layers by Gram iteration, ICML
2023; zero padding and rescaling: Delattre, Barthélemy & Allauzen, Spectral norm of convolutional
layers with circular and zero paddings, 2024).

The differentiable functions compute in the dtype and on the device of their argument (half precision
in float32), also under autocast. They are upper bounds up to rounding; ``certified_gram_norm`` is
one with rounding included.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipbounds.gram_iteration import full_precision, iterated, nonzero, pulled_back
from lipbounds.gram_iteration import gram_norm_and_gradient as gram_norm_and_gradient
from lipbounds.rounding import gamma, sqrt_up, squared_frobenius_upper, up

_CHUNK = 2**22
"""Numbers held at a time in one array of Gram matrices of many frequencies."""


def gram_norm(weight: Tensor, *, steps: int = 6) -> Tensor:
    """Gram iteration of real or complex matrices, differentiable once.

    Parameters
    ----------
    weight
        (..., m, n), floating or complex; every matrix is treated for itself.
    steps
        The number T of Gram products, from 0 (the Frobenius norm).

    Returns
    -------
    Schatten norms of order 2^(T+1), shape (...), real. Zero matrices have value and gradient 0;
    matrices with NaN or infinite entries have the value NaN.

    Raises
    ------
    ValueError
        For negative steps, fewer than two axes, an empty matrix or an integer dtype.

    Notes
    -----
    With ``H = G G^H / s^2`` and s the value, the gradient is ``G/s H^(2^T - 1)``: no other factor
    remains, because ``|H^(2^(T-1))|_F = 1`` for T >= 1. The power is the product of the Grams
    ``H, H^2, H^4, ...`` of the forward pass (Delattre et al. 2023, backward pass of the algorithm,
    rearranged so that nothing leaves the range of floats).
    """
    _check_steps(steps, least=0)
    if weight.dim() < 2 or weight.numel() == 0:
        raise ValueError(f"weight must be a non-empty matrix, not {tuple(weight.shape)}")
    with full_precision(weight):
        value: Tensor = _GramNorm.apply(_working_precision(weight), steps)
    return value.to(_real(weight.dtype))


def gram_enclosure(weight: Tensor, *, steps: int) -> tuple[float, float]:
    """A lower and an upper bound of the spectral norm of one matrix, up to rounding.

    They are ``value r^(-2^-(T+1))`` and ``value`` of ``gram_norm`` in float64, r the smaller side of
    ``weight`` (m, n), T the steps. Raises ValueError where ``gram_norm`` does, and for batches.
    """
    if weight.dim() != 2:
        raise ValueError(f"weight must be a matrix, not {tuple(weight.shape)}")
    working = _working_precision(weight.detach())
    value = gram_norm(working.to(_double(working.dtype)), steps=steps).item()
    return value * min(weight.shape) ** -(2.0 ** -(steps + 1)), value


def certified_gram_norm(weight: Tensor, *, steps: int = 10) -> float:
    """Gram iteration with all rounding errors added: never below the spectral norm.

    Parameters
    ----------
    weight
        (m, n), real floating: the stored numbers are the matrix, converted to float64 without error.
    steps
        The number T of Gram products, from 0.

    Returns
    -------
    A bound at most ``min(m, n)^(2^-(T+1))`` times the norm, apart from a few rounding errors; inf
    where it exceeds the largest float.

    Raises
    ------
    ValueError
        For negative steps, another shape or dtype, an empty matrix, NaN or infinite entries.

    Notes
    -----
    Proof. Let A be the matrix, turned so that it has at least as many rows m as columns n. Step t
    takes B, whose Frobenius norm is at most f (computed upward), and the power of two c with
    ``c <= f < 2 c``; it forms B' as B / c and G as ``B'^T B'``. With u = 2^-53, v = 2^-1022 and
    gamma_k = k u / (1 - k u):

    - Division by c is exact but for results below v, rounded or flushed: ``|B'_ij - B_ij/c| <= v``,
      so ``sigma(B) <= c (sigma(B') + w)`` with ``w = m n v``. The first division, by a power of two
      near the largest entry and not f, is of the same kind.
    - Inner products of length m, in any order, fused or not, give ``|G - B'^T B'| <= gamma_m
      |B'|^T |B'| + 2 m v`` entry by entry (2 m: each product and each sum may underflow). With f' a
      bound of ``|B'|_F``, ``|G - B'^T B'|_F <= e = gamma_m f'^2 + 2 m n^2 v``.
    - ``sigma(B')^2 = sigma(B'^T B') <= sigma(G) + e``, whether G is symmetric or not. So a bound U
      of sigma(G) gives ``c (sqrt(U + e) + w)`` for B, with m replaced by n from the second step on.
    - The last G has ``sigma(G) <= |G|_F``. Squares that underflow in a Frobenius norm are covered by
      its rounding upward, as the sums are at least 1/(16 m n).

    Every scalar operation is rounded upward. The matrix product has to be a conventional one, with
    no Strassen-like algorithm, and subnormal entries of ``weight`` have to be read as they are
    (``torch.set_flush_denormal`` off). (Rescaled recursion of Delattre et al. 2023; error terms:
    Higham, Accuracy and Stability of Numerical Algorithms, section 3.5.)
    """
    _check_steps(steps, least=0)
    matrix = _finite_matrix(weight)
    largest = matrix.abs().max().item()
    if largest == 0:
        return 0.0
    exponent = math.frexp(largest)[1]
    # in two steps: one power of two alone may overflow for subnormal entries
    half = -exponent // 2
    matrix = matrix * math.ldexp(1.0, half) * math.ldexp(1.0, -exponent - half)
    first_loss = _lost_in_scaling(matrix)
    levels = []
    for _ in range(steps):
        scale = 2.0 ** (math.frexp(_frobenius_upper(matrix))[1] - 1)
        matrix = matrix / scale
        rows, columns = matrix.shape
        frobenius = _frobenius_upper(matrix)
        underflow = 2.0 * rows * columns**2 * 2.0**-1022
        error = up(up(gamma(rows) * up(frobenius * frobenius)) + underflow)
        levels.append((scale, error, _lost_in_scaling(matrix)))
        matrix = matrix.T @ matrix
    bound = _frobenius_upper(matrix)
    for scale, error, loss in reversed(levels):
        bound = scale * up(sqrt_up(up(bound + error)) + loss)
    try:
        return up(math.ldexp(up(bound + first_loss), exponent))
    except OverflowError:
        return math.inf


def conv_gram_norm(kernel: Tensor, input_size: int | Sequence[int], *, steps: int = 6) -> Tensor:
    """Gram iteration of a convolution with circular padding and stride 1, differentiable once.

    Its matrix is block diagonal in the Fourier basis, with the symbols ``K(w) = sum_a K[..., a]
    exp(-i w.a)`` on the grid of frequencies as blocks; the value is the largest over that grid, of
    which half suffices as the kernel is real (Delattre et al. 2023). Kernels longer than the input
    wrap round it.

    Parameters
    ----------
    kernel
        (out, in, *k), floating, with one, two or three spatial axes.
    input_size
        Spatial size of the input: one number, or one for each axis.
    steps
        The number of Gram products, from 0.

    Returns
    -------
    0-d tensor in the dtype of ``kernel``. The gradient is that of the symbol where the maximum lies;
    value and gradient of a zero kernel are 0.

    Raises
    ------
    ValueError
        For negative steps, sizes that do not fit the kernel or are not positive, an empty kernel, or
        another shape or dtype.
    """
    _check_steps(steps, least=0)
    working, sizes = _checked_convolution(kernel, input_size)
    if working.shape[0] > working.shape[1]:
        working = working.transpose(0, 1)
    with full_precision(kernel):
        with torch.no_grad():
            worst = _worst_frequency(working, sizes, steps)
        real, imaginary = symbols(working, sizes, worst)
        return gram_norm(torch.complex(real, imaginary)[0], steps=steps).to(kernel.dtype)


def conv_gram_enclosure(
    kernel: Tensor, input_size: int | Sequence[int], *, steps: int
) -> tuple[float, float]:
    """A lower and an upper bound of the circular convolution's norm, up to rounding.

    They are ``value r^(-2^-(T+1))`` and ``value`` of ``conv_gram_norm`` in float64, r the smaller
    number of channels, T the steps. Raises ValueError where ``conv_gram_norm`` does.
    """
    working, sizes = _checked_convolution(kernel.detach(), input_size)
    value = conv_gram_norm(working.double(), sizes, steps=steps).item()
    return value * min(kernel.shape[:2]) ** -(2.0 ** -(steps + 1)), value


def toeplitz_gram_norm(kernel: Tensor, *, steps: int = 5) -> Tensor:
    """Bound of a convolution with zero padding, for inputs of every size; differentiable.

    The convolution on the infinite grid has the norm S, the maximum of ``sigma(K(w))`` over all
    frequencies, not only those of a grid. ``(K K^H)^(2^(T-1))`` is a convolution whose kernel R has
    length ``2^T (k - 1) + 1``, and ``max_i sum_{j,a} |R_ij[a]|`` bounds its norm ``S^(2^T)``. Zero
    padding, circular padding and stride of any size only restrict that operator. (Delattre et al.
    2024, norm2toep; R comes from symbols on a grid as long as R, so that nothing wraps.)

    Parameters
    ----------
    kernel
        (out, in, *k), floating, with one, two or three spatial axes.
    steps
        The number T of Gram products, from 1. The error falls to about 0.4 at each step while work
        and memory grow by 2 for each spatial axis.

    Returns
    -------
    0-d tensor in the dtype of ``kernel``; value and gradient of a zero kernel are 0.

    Raises
    ------
    ValueError
        For fewer steps than 1, an empty kernel, or another shape or dtype.
    """
    _check_steps(steps, least=1)
    working, _ = _checked_convolution(kernel, 1)
    if working.shape[0] > working.shape[1]:
        working = working.transpose(0, 1)
    sums, scale = _laurent_row_sums(working, steps)
    top = sums.max()
    root = nonzero(top) ** (2.0**-steps)
    return torch.where(top == 0, 0.0, root * scale).to(kernel.dtype)


def spectral_rescaling(weight: Tensor, *, steps: int) -> Tensor:
    """The diagonal D with ``|D^-1 M|_2 <= 1``, up to rounding; differentiable.

    ``D_ii = (sum_j |((M M^T)^(2^(T-1)))_ij|)^(2^-T)``: by diagonal dominance ``(M M^T)^(2^(T-1)) <=
    D^(2^T)``, and roots of order 2^(T-1) keep the order of matrices (Delattre et al. 2024, spectral
    rescaling; T = 1 is the almost-orthogonal layer of Prach & Lampert 2022).

    Parameters
    ----------
    weight
        M, (out, in), floating.
    steps
        The number T of Gram products, from 1.

    Returns
    -------
    The diagonal, (out,), positive. Rows of zeros, and rows too small for their powers to be
    represented, get the scale of the largest: larger than needed, which keeps the bound.

    Raises
    ------
    ValueError
        For fewer steps than 1, an empty matrix, or another shape or dtype.
    """
    _check_steps(steps, least=1)
    if weight.dim() != 2 or weight.numel() == 0 or not weight.is_floating_point():
        raise ValueError(f"weight must be a real matrix, not {tuple(weight.shape)} of {weight.dtype}")
    working = _working_precision(weight)
    scale = nonzero(working.detach().abs().amax())
    with full_precision(weight):
        gram = (working / scale) @ (working / scale).mT
        for step in range(1, steps + 1):
            gram, scale = _rescaled(gram, scale, step)
            if step < steps:
                gram = gram @ gram
    return _rescaling_factors(gram.abs().sum(1), scale, steps).to(weight.dtype)


def conv_spectral_rescaling(kernel: Tensor, *, steps: int) -> Tensor:
    """The factors D, one for each output channel, with ``|D^-1 K|_2 <= 1``, up to rounding.

    As ``spectral_rescaling``, for the convolution on the infinite grid: the rows of
    ``toeplitz_gram_norm``, with the output channels as its rows. Dividing each output channel of the
    kernel by its factor makes the layer 1-Lipschitz for every input size, stride, and zero or
    circular padding.

    Parameters
    ----------
    kernel
        (out, in, *k), floating, with one, two or three spatial axes.
    steps
        The number T of Gram products, from 1.

    Returns
    -------
    (out,), positive and differentiable; channels of zeros get the scale of the largest.

    Raises
    ------
    ValueError
        For fewer steps than 1, an empty kernel, or another shape or dtype.
    """
    _check_steps(steps, least=1)
    working, _ = _checked_convolution(kernel, 1)
    sums, scale = _laurent_row_sums(working, steps)
    return _rescaling_factors(sums, scale, steps).to(kernel.dtype)


def half_spectrum(sizes: Sequence[int]) -> Tensor:
    """Frequencies of a real signal on a torus, one of each conjugate pair.

    Returns (f, axes), int64, in the order of ``torch.fft.rfftn``: frequency j of an axis of n points
    stands for the angle 2 pi j / n.
    """
    axes = [torch.arange(size) for size in (*sizes[:-1], sizes[-1] // 2 + 1)]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def symbols(kernel: Tensor, sizes: Sequence[int], frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts of ``K(w) = sum_a K[..., a] exp(-i w.a)``.

    Parameters
    ----------
    kernel
        (out, in, *k), float32 or float64.
    sizes
        Points of the torus along each spatial axis; shorter ones than the kernel wrap it.
    frequencies
        (f, axes), int64, on the CPU, as ``half_spectrum`` has them.

    Returns
    -------
    Two contiguous tensors (f, out, in).

    Notes
    -----
    Two products with the cosines and sines of all taps. For kernels of a few taps that is faster
    than a Fourier transform, whose result would have to be transposed.
    """
    phases = torch.ones(len(frequencies), 1, dtype=torch.complex128)
    for axis, (size, length) in enumerate(zip(sizes, kernel.shape[2:], strict=True)):
        turns = frequencies[:, axis, None] * torch.arange(length) % size
        angles = turns.double() * (2 * math.pi / size)
        factors = torch.complex(angles.cos(), -angles.sin())
        phases = (phases[:, :, None] * factors[:, None, :]).flatten(1)
    columns = kernel.flatten(2).flatten(0, 1).T
    shape = (len(frequencies), *kernel.shape[:2])
    return (
        (phases.real.to(columns) @ columns).reshape(shape),
        (phases.imag.to(columns) @ columns).reshape(shape),
    )


class _GramNorm(torch.autograd.Function):
    """Value and gradient of ``gram_norm`` for matrices (..., m, n) that need no conversion."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, steps: int) -> Tensor:
        value, *saved = iterated(weight, steps)
        ctx.save_for_backward(*saved)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        with full_precision(upstream):
            return pulled_back(upstream, *ctx.saved_tensors), None


def _worst_frequency(kernel: Tensor, sizes: tuple[int, ...], steps: int) -> Tensor:
    """The frequency of the largest value, (1, axes); out <= in for the smaller Grams."""
    frequencies = half_spectrum(sizes)
    unit = kernel / nonzero(kernel.abs().amax())
    rows, columns = kernel.shape[:2]
    best, worst = -math.inf, frequencies[:1]
    for chunk in frequencies.split(max(1, _CHUNK // (rows * columns))):
        index, log = _worst_of(*symbols(unit, sizes, chunk), steps, best)
        if log > best:
            best, worst = log, chunk[index : index + 1]
    return worst


def _worst_of(real: Tensor, imaginary: Tensor, steps: int, best: float) -> tuple[int, float]:
    """Index and log of the largest value among symbols (f, m, n), m <= n, or (0, -inf).

    Frequencies are dropped once their value, which only falls, is below the lower end of another's
    enclosure, or below ``best``; symbols that are zero among them.
    """
    norm = (real.square().sum((1, 2)) + imaginary.square().sum((1, 2))).sqrt()
    index, logs = torch.arange(len(real), device=real.device), norm.log()
    shape = (-1, 1, 1)
    gram = None
    for step in range(1, steps + 1):
        if gram is None:
            unit = nonzero(norm).reshape(shape)
            gram = _packed_gram(real / unit, imaginary / unit)
        else:
            gram = _packed_square(gram / nonzero(norm).reshape(shape))
        norm = torch.linalg.matrix_norm(gram)
        logs = logs + norm.log() * 2.0**-step
        least = max(best, logs.max().item() - math.log(real.shape[1]) * 2.0 ** -(step + 1))
        keep = logs >= least
        if keep.sum() < 0.75 * len(keep):
            index, logs, norm, gram = index[keep], logs[keep], norm[keep], gram[keep]
        if len(index) == 0:
            return 0, -math.inf
    position = int(logs.argmax())
    return int(index[position]), logs[position].item()


def _packed_gram(real: Tensor, imaginary: Tensor) -> Tensor:
    """``Re H + Im H`` of ``H = G G^H``: two real products, where the complex one takes four.

    Re H is symmetric and Im H antisymmetric, so the sum holds both, with the Frobenius norm of H.
    """
    both = real + imaginary
    return both @ both.mT - 2 * (real @ imaginary.mT)


def _packed_square(packed: Tensor) -> Tensor:
    """``Re H^2 + Im H^2`` of the Hermitian H with ``Re H + Im H = packed``.

    With A, B the symmetric and antisymmetric part: ``A A + B B + A B + B A = (A+B)(A-B) + 2 A B``.
    """
    turned = packed.mT
    return packed @ turned + 0.5 * ((packed + turned) @ (packed - turned))


def _laurent_row_sums(kernel: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """``sum_{j,a} |R_ij[a]|``, (out,), of the kernel R of ``(K K^H)^(2^(T-1)) / s^(2^T)``; and s."""
    scale = nonzero(kernel.detach().abs().amax())
    sizes = [2**steps * (length - 1) + 1 for length in kernel.shape[2:]]
    with full_precision(kernel):
        gram = _packed_gram(*symbols(kernel / scale, sizes, half_spectrum(sizes)))
        for step in range(1, steps + 1):
            gram, scale = _rescaled(gram, scale, step)
            if step < steps:
                gram = _packed_square(gram)
    spectrum = torch.complex(0.5 * (gram + gram.mT), 0.5 * (gram - gram.mT))
    spectrum = spectrum.reshape(*sizes[:-1], sizes[-1] // 2 + 1, *gram.shape[1:])
    power = torch.fft.irfftn(spectrum, s=sizes, dim=tuple(range(len(sizes))))
    return power.abs().flatten(0, -3).sum((0, 2)), scale


def _rescaled(gram: Tensor, scale: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Grams over their largest entry, a constant for the gradient; the scale of the matrix itself."""
    largest = nonzero(gram.detach().abs().amax())
    return gram / largest, scale * largest ** (2.0**-step)


def _rescaling_factors(sums: Tensor, scale: Tensor, steps: int) -> Tensor:
    """``s * sums^(2^-T)``, and s where the sum is so small that terms of it may be lost."""
    limits = torch.finfo(sums.dtype)
    small = sums <= limits.tiny / limits.eps
    return scale * torch.where(small, 1.0, sums) ** (2.0**-steps)


def _lost_in_scaling(matrix: Tensor) -> float:
    return matrix.numel() * 2.0**-1022


def _frobenius_upper(matrix: Tensor) -> float:
    return sqrt_up(squared_frobenius_upper(matrix))


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


def _double(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64


def _working_precision(weight: Tensor) -> Tensor:
    if not (weight.is_floating_point() or weight.is_complex()):
        raise ValueError(f"weight must be floating or complex, not {weight.dtype}")
    if weight.is_complex():
        return weight
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.float()


def _check_steps(steps: int, *, least: int) -> None:
    if steps < least:
        raise ValueError(f"steps must be at least {least}, not {steps}")


def _finite_matrix(weight: Tensor) -> Tensor:
    """The real matrix in float64 on the CPU, with at least as many rows as columns."""
    if weight.dim() != 2 or weight.numel() == 0 or not weight.is_floating_point():
        raise ValueError(f"weight must be a real matrix, not {tuple(weight.shape)} of {weight.dtype}")
    matrix = weight.detach().cpu().to(torch.float64)
    if not matrix.isfinite().all():
        raise ValueError("weight has NaN or infinite entries")
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T


def _checked_convolution(
    kernel: Tensor, input_size: int | Sequence[int]
) -> tuple[Tensor, tuple[int, ...]]:
    """The kernel in working precision, and the input's size along each of its spatial axes."""
    axes = kernel.dim() - 2
    if axes not in (1, 2, 3) or kernel.numel() == 0 or not kernel.is_floating_point():
        raise ValueError(
            f"kernel must be real, (out, in, *k) with one to three spatial axes, not "
            f"{tuple(kernel.shape)} of {kernel.dtype}"
        )
    sizes = (input_size,) * axes if isinstance(input_size, int) else tuple(input_size)
    if len(sizes) != axes or min(sizes) < 1:
        raise ValueError(f"input_size must be {axes} positive numbers, not {sizes}")
    return _working_precision(kernel), sizes
