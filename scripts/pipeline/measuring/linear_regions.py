"""All linear regions of a ReLU net on a square of the plane, by cutting it along the kinks.

In each region the net is affine and its Jacobian one matrix, so the largest norm over the regions is
the exact Lipschitz constant on the square, in the 2-norm, up to rounding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lipbounds.jacobian import jacobian_norms

Point = tuple[float, float]
Polygon = list[Point]


class SteepestRegion(NamedTuple):
    """The region with the largest Jacobian norm of the ``regions`` in all."""

    value: float
    x: float
    y: float
    """A point inside."""
    area: float
    regions: int


def steepest_region(model: nn.Sequential, half_side: float) -> SteepestRegion:
    """The linear region of largest Jacobian norm (2-norm) on ``[-half_side, half_side]^2``.

    Parameters
    ----------
    model
        Linear layers from two inputs on, float64, with a ReLU between each two. The number of
        regions grows like the number of neurons to the power 2; 200 neurons take a second.
    half_side
        Half the length of the square.

    Notes
    -----
    The norm is that at a point of the region, so it is never above the truth by more than rounding.
    Regions whose width is of the order of rounding may be missed.
    """
    polygons = linear_regions(model, half_side)
    centers = torch.from_numpy(np.stack([_center(polygon) for polygon in polygons]))
    norms = jacobian_norms(model, centers)
    best = int(norms.argmax())
    x, y = centers[best].tolist()
    return SteepestRegion(norms[best].item(), x, y, polygon_area(polygons[best]), len(polygons))


def linear_regions(model: nn.Sequential, half_side: float) -> list[Polygon]:
    """The linear regions on ``[-half_side, half_side]^2`` as convex polygons that cover it."""
    side = half_side
    square = [(-side, -side), (side, -side), (side, side), (-side, side)]
    cells: list[tuple[Polygon, np.ndarray, np.ndarray]] = [(square, np.eye(2), np.zeros(2))]
    linear = [module for module in model if isinstance(module, nn.Linear)]
    for layer in linear[:-1]:
        weight = _array(layer.weight)
        bias = 0.0 if layer.bias is None else _array(layer.bias)
        cut = []
        for polygon, matrix, offset in cells:
            # the input of the ReLUs behind this layer is affine on the whole polygon
            slopes, heights = weight @ matrix, weight @ offset + bias
            for part in _cut(polygon, slopes, heights):
                active = slopes @ _center(part) + heights > 0
                cut.append((part, slopes * active[:, None], heights * active))
        cells = cut
    return [polygon for polygon, _, _ in cells]


def polygon_area(polygon: Sequence[Point]) -> float:
    """Area of a polygon without crossings."""
    x, y = np.asarray(polygon).T
    x, y = x - x[0], y - y[0]  # exact enough for a tiny polygon far from the origin
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def _cut(polygon: Polygon, slopes: np.ndarray, offsets: np.ndarray) -> list[Polygon]:
    """Parts of a convex polygon on which each of the functions ``slopes @ p + offsets`` has one sign."""
    reach = np.abs(slopes) @ np.abs(np.asarray(polygon)).max(0) + np.abs(offsets)
    tolerance = 4 * np.finfo(np.float64).eps * reach
    waiting = [(polygon, np.arange(len(offsets)))]
    parts = []
    while waiting:
        part, which = waiting.pop()
        heights = slopes[which] @ np.asarray(part).T + offsets[which][:, None]
        crossing = (heights.min(1, initial=0) < -tolerance[which]) & (
            heights.max(1, initial=0) > tolerance[which]
        )
        if not crossing.any():
            parts.append(part)
            continue
        first = int(crossing.argmax())
        crossing[first] = False
        waiting += [(half, which[crossing]) for half in _halves(part, heights[first].tolist())]
    return parts


def _halves(polygon: Polygon, heights: list[float]) -> tuple[Polygon, Polygon]:
    """The parts of a convex polygon above and not above zero."""
    above: Polygon = []
    below: Polygon = []
    before, height_before = polygon[-1], heights[-1]
    for here, height in zip(polygon, heights, strict=True):
        if (height > 0) != (height_before > 0):
            share = height_before / (height_before - height)
            corner = (
                before[0] + share * (here[0] - before[0]),
                before[1] + share * (here[1] - before[1]),
            )
            above.append(corner)
            below.append(corner)
        (above if height > 0 else below).append(here)
        before, height_before = here, height
    return above, below


def _center(polygon: Polygon) -> np.ndarray:
    return np.asarray(polygon).mean(0)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float64).numpy()
