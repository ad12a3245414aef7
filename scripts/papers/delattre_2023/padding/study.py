"""Circular against zero padding: which bounds hold, and how close they are."""

import math
from collections.abc import Iterator

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from lipbounds.operator_norm import OperatorNorm, conv2d_norm
from lipbounds.operator_norm.competitors import sedghi
from lipbounds.operator_norm.gram import toeplitz_gram_norm
from lipbounds.operator_norm.lanczos import affine_norm
from lipbounds.threads import one_thread
from nets.settings import Count, NonNegative, OddCount, Section
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays


class Settings(Section):
    """Bounds of zero-padded convolutions from circular ones."""

    counterexample_sizes: tuple[Count, ...] = Field(
        min_length=1, description="lengths of the input for the kernel q q^T with q = (1, -1, 1)"
    )
    channels: Count = Field(description="channels of input and output of the Gaussian kernels")
    kernel_size: OddCount = Field(description="length of the Gaussian kernels along both axes")
    input_sizes: tuple[Count, ...] = Field(
        min_length=1, description="lengths of the input for them; at least the kernel's"
    )
    draws: Count = Field(description="independent Gaussian kernels")
    norm2toep_steps: Count = Field(description="products of norm2toep")
    reference_steps: Count = Field(
        description="largest number of Lanczos steps, in float64, for the zero-padded norm"
    )
    violation_sizes: tuple[Count, ...] = Field(
        min_length=1, description="lengths of the input for the kernels of one channel"
    )
    violation_draws: Count = Field(description="independent Gaussian kernels of one channel")
    seed: NonNegative = Field(description="seed of the kernels; the first draw has it itself")


_CHUNK = 2**22
"""Entries of the dense matrices held at a time."""


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per part of the figure, input size, kernel and method."""
    with one_thread():  # many small matrices
        rows = [*_counterexample(settings), *_gaussian(settings), *_violations(settings)]
    table = pd.DataFrame(rows)
    return table.assign(ratio=table["value"] / table["zero_padded"])


def _counterexample(settings: Settings) -> Iterator[dict]:
    q = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    kernel = torch.outer(q, q).view(1, 1, 3, 3)
    for size in settings.counterexample_sizes:
        exact = dense_zero_padded_norms(kernel, size).item()
        for method, norm in {
            "circular": sedghi(kernel, size),
            "certified": conv2d_norm(kernel, size, padding=1),
        }.items():
            yield _row("counterexample", size, 0, method, norm, exact)


def _gaussian(settings: Settings) -> Iterator[dict]:
    channels, length = settings.channels, settings.kernel_size
    for draw in range(settings.draws):
        generator = torch.Generator().manual_seed(settings.seed + draw)
        shape = (channels, channels, length, length)
        kernel = torch.randn(shape, generator=generator, dtype=torch.float64)
        kernel = kernel / math.sqrt(channels * length**2)
        any_size = toeplitz_gram_norm(kernel, steps=settings.norm2toep_steps).item()
        for size in settings.input_sizes:
            exact = _zero_padded_norm(kernel, size, settings.reference_steps)
            for method, norm in _bounds(kernel, size, any_size).items():
                yield _row("gaussian", size, draw, method, norm, exact)
        LOG.info("Gaussian kernel %d done", draw)


def _bounds(kernel: Tensor, size: int, any_size: float) -> dict[str, OperatorNorm]:
    length = kernel.shape[2]
    circular = sedghi(kernel, size)
    degree, spread = length // 2, length - 1
    cosine = math.cos(math.pi * spread / (2 * size)) if spread < size else 0.0
    linear = 1 - 2 * degree / size
    return {
        "circular": circular,
        "certified": conv2d_norm(kernel, size, padding=length // 2),
        "cosine": _upper(circular.value / cosine**2 if cosine > 0 else math.inf),
        "linear": _upper(circular.value / linear if linear > 0 else math.inf),
        "norm2toep": _upper(any_size),
    }


def _violations(settings: Settings) -> Iterator[dict]:
    generator = torch.Generator().manual_seed(settings.seed)
    count = settings.violation_draws
    kernels = torch.randn(count, 1, 3, 3, generator=generator, dtype=torch.float64)
    for size in settings.violation_sizes:
        exact = dense_zero_padded_norms(kernels, size).tolist()
        taken_over = torch.fft.fft2(_wrapped(kernels[:, 0], size)).abs().amax((1, 2)).tolist()
        for draw, (zero, circular) in enumerate(zip(exact, taken_over, strict=True)):
            yield _row("violations", size, draw, "circular", _upper(circular), zero)
        LOG.info("one channel, input size %d done", size)


def _row(
    part: str, size: int, draw: int, method: str, norm: OperatorNorm, exact: float
) -> dict[str, object]:
    return {
        "part": part,
        "input_size": size,
        "draw": draw,
        "method": method,
        "kind": norm.kind,
        "certified": norm.certified,
        "bounds_zero_padding": method != "circular",
        "value": norm.value,
        "zero_padded": exact,
    }


def _upper(value: float) -> OperatorNorm:
    return OperatorNorm(value, "upper", certified=False)


def dense_zero_padded_norms(kernels: Tensor, size: int) -> Tensor:
    """Norms of zero-padded convolutions of one channel, (b, 1, k, k), from their matrices."""
    inputs = torch.eye(size**2, dtype=kernels.dtype).view(-1, 1, size, size)
    norms = []
    for chunk in kernels.split(max(1, _CHUNK // size**4)):
        images = functional.conv2d(inputs, chunk, padding=kernels.shape[2] // 2)
        matrices = images.flatten(2).permute(1, 2, 0)
        norms.append(torch.linalg.eigvalsh(matrices.mT @ matrices)[:, -1].clamp(min=0).sqrt())
    return torch.cat(norms)


def _zero_padded_norm(kernel: Tensor, size: int, steps: int) -> float:
    padding = kernel.shape[2] // 2
    shape = (1, kernel.shape[1], size, size)
    return affine_norm(
        lambda x: functional.conv2d(x, kernel, padding=padding), shape, steps=steps, seed=1
    ).value


def _wrapped(kernels: Tensor, size: int) -> Tensor:
    """Kernels (b, k, k) on a torus, where taps that meet are added."""
    result = kernels.new_zeros(len(kernels), size, size)
    for row in range(kernels.shape[1]):
        for column in range(kernels.shape[2]):
            result[:, row % size, column % size] += kernels[:, row, column]
    return result
