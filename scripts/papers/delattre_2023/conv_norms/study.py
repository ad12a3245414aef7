"""Norms of random convolutions by every method, against the norm of the zero-padded layer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

from lipbounds.operator_norm import OperatorNorm, conv2d_norm
from lipbounds.operator_norm.competitors import COMPETITORS
from lipbounds.operator_norm.gram import conv_gram_norm, toeplitz_gram_norm
from lipbounds.operator_norm.lanczos import lanczos
from lipbounds.threads import one_thread
from nets.settings import Count, Device, NonNegative, OddCount, PositiveFloat, Section
from pipeline.jobs.device import choose_device
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.timing import timed


class ConvolutionCase(Section):
    """One random kernel that stands in the table besides the sweeps."""

    channels: Count = Field(description="channels of input and output")
    kernel_size: OddCount = Field(description="length of the kernel along both axes")
    input_size: Count = Field(description="length of the input along both axes")
    scale: PositiveFloat = Field(description="the standard normal kernel is divided by this")
    seed: NonNegative = Field(description="seed of the kernel")


class Settings(Section):
    """Norms of convolutions by every method: how far from the truth, and how long."""

    channels: Count = Field(description="channels of input and output where they are not swept")
    kernel_size: OddCount = Field(description="length of the kernel where it is not swept")
    input_size: Count = Field(description="length of the input along both axes where it is not swept")
    sweep_channels: tuple[Count, ...] = Field(min_length=1, description="numbers of channels")
    sweep_kernel_sizes: tuple[OddCount, ...] = Field(min_length=1, description="lengths of the kernel")
    sweep_input_sizes: tuple[Count, ...] = Field(min_length=1, description="lengths of the input")
    cases: tuple[ConvolutionCase, ...] = Field(description="kernels with published values")
    draws: Count = Field(description="independent Gaussian kernels for each point of a sweep")
    gram_steps: Count = Field(description="products of Gram iteration (circular padding)")
    norm2toep_steps: Count = Field(description="products of norm2toep (zero padding)")
    power_steps: Count = Field(description="power steps with the convolution (Farnia; Ryu)")
    singla_steps: Count | None = Field(
        description="power steps for each unfolding (Singla & Feizi); null: singular values"
    )
    araujo_samples: Count = Field(description="points per axis of the grid (Araujo)")
    reference_steps: Count = Field(
        description="largest number of Lanczos steps, in float64, for the zero-padded norm"
    )
    repeats: Count = Field(description="timed calls after one that does not count")
    time_budget: PositiveFloat = Field(description="seconds after which a call is not repeated")
    device: Device = Field(description="where to compute, and measure time; auto: CUDA if there is one")
    seed: NonNegative = Field(description="seed of the kernels of the sweeps")


REFERENCE_TOLERANCE = 1e-7
"""Residual at which the reference stops: the norm itself is then far more accurate."""

OURS = {
    "gram": ("circular", True),
    "norm2toep": ("any size", True),
    "certified": ("zero padding", True),
    "lanczos": ("zero padding", False),
}
"""Methods besides the competitors: the operator that they are for, and whether they bound it."""


@dataclass(frozen=True)
class _Point:
    case: str
    channels: int
    kernel_size: int
    input_size: int
    seed: int
    scale: float = 1.0

    def kernel(self) -> Tensor:
        shape = (self.channels, self.channels, self.kernel_size, self.kernel_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed)) / self.scale


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per kernel and method; float32 kernels (the certified bound and the reference: float64)."""
    device = choose_device(settings.device)
    for function in _methods(settings, torch.ones(1, 1, 1, 1, device=device), 1).values():
        function()  # what only the first call of all costs
    rows = []
    for point in _points(settings):
        kernel = point.kernel().to(device)
        with one_thread():  # threads that wait for each other blur the times on a busy machine
            zero, residual = zero_padded_norm(kernel, point.input_size, settings.reference_steps)
            circular = COMPETITORS["sedghi"].function(kernel.double(), point.input_size).value
            for method, function in _methods(settings, kernel, point.input_size).items():
                norm, timing = timed(function, settings.repeats, budget_s=settings.time_budget)
                operator, sound = _promise(method)
                rows.append(
                    vars(point)
                    | {"method": method, "kind": norm.kind, "certified": norm.certified}
                    | {"operator": operator, "bounds_zero_padding": _bounds_zero(norm, operator, sound)}
                    | {"value": norm.value, **timing._asdict(), "device": device.type}
                    | {"zero_padded": zero, "residual": residual, "circular": circular}
                    | {"gap": norm.value / zero - 1, "circular_gap": norm.value / circular - 1}
                )
        sizes = f"{point.channels} channels, kernel {point.kernel_size}, input {point.input_size}"
        LOG.info("%s done", sizes)
    return pd.DataFrame(rows)


def _points(settings: Settings) -> Iterator[_Point]:
    base = (settings.channels, settings.kernel_size, settings.input_size)
    swept = [(c, *base[1:]) for c in settings.sweep_channels]
    swept += [(base[0], k, base[2]) for k in settings.sweep_kernel_sizes]
    swept += [(*base[:2], n) for n in settings.sweep_input_sizes]
    for channels, kernel_size, input_size in sorted({base, *swept}):
        for draw in range(settings.draws):
            yield _Point("sweep", channels, kernel_size, input_size, settings.seed + draw)
    for case in settings.cases:
        name = (
            f"{case.channels}x{case.channels}x{case.kernel_size}x{case.kernel_size} on {case.input_size}"
        )
        yield _Point(name, case.channels, case.kernel_size, case.input_size, case.seed, case.scale)


def _methods(settings: Settings, kernel: Tensor, size: int) -> dict[str, Callable[[], OperatorNorm]]:
    options: dict[str, dict] = {
        "farnia_ryu": {"steps": settings.power_steps},
        "singla_feizi": {"steps": settings.singla_steps},
        "araujo": {"samples": settings.araujo_samples},
    }
    padding = kernel.shape[2] // 2
    ours: dict[str, Callable[[], OperatorNorm]] = {
        "gram": lambda: _upper(conv_gram_norm(kernel, size, steps=settings.gram_steps)),
        "norm2toep": lambda: _upper(toeplitz_gram_norm(kernel, steps=settings.norm2toep_steps)),
        "certified": partial(conv2d_norm, kernel, size, padding=padding),
        "lanczos": partial(conv2d_norm, kernel, size, padding=padding, method="lanczos"),
    }
    return ours | {
        name: partial(competitor.function, kernel, size, **options.get(name, {}))
        for name, competitor in COMPETITORS.items()
    }


def _upper(value: Tensor) -> OperatorNorm:
    return OperatorNorm(value.item(), "upper", certified=False)


def _promise(method: str) -> tuple[str, bool]:
    if method in OURS:
        return OURS[method]
    return COMPETITORS[method].operator, COMPETITORS[method].sound


def _bounds_zero(norm: OperatorNorm, operator: str, sound: bool) -> bool:
    """Whether the value is an upper bound of the zero-padded norm in exact arithmetic."""
    return sound and norm.kind == "upper" and not operator.startswith("circular")


def zero_padded_norm(kernel: Tensor, size: int, steps: int) -> tuple[float, float]:
    """Norm of the zero-padded convolution (output as large as the input), and relative residual.

    Lanczos in float64, to a residual at which the value no longer changes in the digits shown.
    """
    weight = kernel.double()
    padding = weight.shape[2] // 2
    shape = (1, weight.shape[1], size, size)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = lanczos(
        lambda x: functional.conv2d(x, weight, padding=padding),
        lambda y: conv2d_input(shape, weight, y, padding=padding),
        start.to(weight.device),
        steps=steps,
        tolerance=REFERENCE_TOLERANCE,
    )
    return result.value, result.residual / result.value**2
