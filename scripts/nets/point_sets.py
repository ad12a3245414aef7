"""Points around and between those of a data set.

Source: Khromov & Singh, ICLR 2024: convex combinations of pairs (the set S* of figure
1) and Gaussian neighbours (appendix S3.3).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def convex_combinations(
    x: Tensor, weights: Sequence[float], count: int, generator: torch.Generator, *, chunk: int = 50_000
) -> Iterator[Tensor]:
    """``count`` points ``w x_i + (1 - w) x_j`` for every ``w`` of ``weights``, in that order.

    Parameters
    ----------
    x
        Points (n, *input), n >= 2.
    weights
        Numbers in [0, 1].
    count
        Points per weight. Each takes one of the n (n - 1) ordered pairs i != j, drawn uniformly and
        with replacement; the paper does not say how it draws them.
    generator
        Source of the pairs. The points on a CPU do not depend on ``chunk``.
    chunk
        Largest number of points that are in memory at a time.

    Returns
    -------
    Iterator[Tensor]
        Chunks (m, *input) with m <= ``chunk``, in the dtype and on the device of ``x``; none spans
        two weights.

    Raises
    ------
    ValueError
        For fewer than two points, weights outside of [0, 1], and a count or chunk below 1. At the
        call, not when the first chunk is asked for.
    """
    if x.dim() < 2 or len(x) < 2 or not x.is_floating_point():
        raise ValueError(
            f"x must be (n, *input) with n >= 2 and floating, not {tuple(x.shape)} of {x.dtype}"
        )
    if not all(0 <= weight <= 1 for weight in weights):
        raise ValueError(f"weights must lie in [0, 1], not {list(weights)}")
    if count < 1 or chunk < 1:
        raise ValueError(f"count and chunk must be at least 1, not {count} and {chunk}")
    sizes = [min(chunk, count - start) for start in range(0, count, chunk)]
    return (_combinations(x, weight, size, generator) for weight in weights for size in sizes)


def _combinations(x: Tensor, weight: float, size: int, generator: torch.Generator) -> Tensor:
    others = len(x) - 1
    # one number per pair, so that the sequence of pairs is the same for all chunk sizes
    pair = torch.randint(len(x) * others, (size,), generator=generator, device=generator.device)
    first = pair.div(others, rounding_mode="floor")
    second = pair % others
    second += second >= first
    return torch.lerp(x[second.to(x.device)], x[first.to(x.device)], weight)


def gaussian_neighbours(x: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """``x + radius * N(0, I)``, one neighbour of every point (n, *input), same dtype and device.

    ``radius`` is the standard deviation of each coordinate, in units of the input.

    Raises ValueError for a negative radius.
    """
    if not radius >= 0:
        raise ValueError(f"radius must be at least 0, not {radius}")
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    return x + radius * noise.to(x.device)
