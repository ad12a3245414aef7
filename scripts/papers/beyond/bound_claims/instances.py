"""Random instances that several claims are tested on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lipbounds.bounds.chain import Chain
from pipeline.measuring.chain_methods import normal_chain

SIZES = ((4, 8, 3), (4, 5, 5, 3), (3, 4, 4, 4, 2))
"""Nets small enough for enumeration, in turn."""

ROUNDING = 1e-9
"""Relative differences up to this are put down to rounding."""


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers of this shape, in float64."""
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def chains(
    instances: int, generator: torch.Generator, sizes: Sequence[tuple[int, ...]] = SIZES
) -> list[Chain]:
    """Fully connected nets of ``sizes``, in turn, with random normal weights."""
    return [normal_chain(sizes[index % len(sizes)], generator) for index in range(instances)]
