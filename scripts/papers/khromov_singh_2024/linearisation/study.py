"""What a net linearised in its parameters could reach, against what training reached.

After Khromov & Singh, ICLR 2024, appendix S3.1: the Jacobian norms of the linearised net are at most
``sup |J_0| + |theta - theta_0| sup |d2f / dx dtheta|``, all suprema at initialisation. What they are
at the parameters of the trained net is added.
"""

import math
from typing import Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.jacobian import dense_layers, jacobian_norms
from lipbounds.parameter_space import mixed_derivative_norms
from nets.models.fcn import linear_weights
from nets.settings import Count, NonNegative, Section
from nets.training.points import Points
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run


class Settings(Section):
    """Whether a net linearised in its parameters could have the Jacobian norms of the trained one."""

    points: Count = Field(description="random training points for the mixed derivatives")
    seed: NonNegative = Field(description="seed of the choice of these points")


_CHUNK = 500
"""Points at a time."""


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and quantity, and one per point for the norm of the mixed derivative.

    ``c_initial``, ``c_final`` and ``c_linearised`` are the largest Jacobian norms at all training
    points: of the net at the start, at the end, and linearised at the start with the parameters of the
    end.
    """
    rows = []
    for run in runs:
        starts = {net.seed: net for net in run.at_start()}
        for end in run.at_stop():
            found = _rows(settings, run.points(arrays), starts[end.seed], end)
            rows += [run.about | {"seed": end.seed} | row for row in found]
    return pd.DataFrame(rows).astype({"point": "Int64"})


def _rows(
    settings: Settings, points: Points, start: Checkpoint, end: Checkpoint
) -> list[dict[str, Any]]:
    x = points.x
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "points"))
    chosen = torch.randperm(len(x), generator=generator)[: settings.points]
    mixed = mixed_derivative_norms(start.model, x[chosen])
    initial, final = (jacobian_norms(net.model, x).max().item() for net in (start, end))
    distance = _distance(start, end)
    scalars = {
        "c_initial": initial,
        "c_final": final,
        "distance": distance,
        "mixed_largest": mixed.max().item(),
        "c_linearised": _linearised_norms(start, end, x).max().item(),
        "bound": initial + distance * mixed.max().item(),
    }
    rows: list[dict[str, Any]] = [
        {"quantity": name, "point": None, "value": value} for name, value in scalars.items()
    ]
    pairs = zip(chosen.tolist(), mixed.tolist(), strict=True)
    return rows + [{"quantity": "mixed", "point": point, "value": value} for point, value in pairs]


def _linearised_norms(start: Checkpoint, end: Checkpoint, x: Tensor) -> Tensor:
    """Jacobian norms (n,) of the net linearised at the start, with the parameters of the end.

    The Jacobian is a product of weights and slopes of the activations. The slopes do not change with
    the parameters, almost everywhere, and so its derivative is the sum over layers of the product
    with the change of the layer's weight in place of the weight.
    """
    weights = [weight.double() for weight in linear_weights(start.model)]
    ways = [
        weight.double() - before
        for weight, before in zip(linear_weights(end.model), weights, strict=True)
    ]
    norms = []
    for part in x.double().split(_CHUNK):
        slopes = _slopes(start.model, part)
        total = _product(weights, slopes)
        for layer, way in enumerate(ways):
            total = total + _product([*weights[:layer], way, *weights[layer + 1 :]], slopes)
        norms.append(torch.linalg.matrix_norm(total, 2))
    return torch.cat(norms)


def _slopes(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Slopes of the activation behind each linear layer at the points, (n, width, 1)."""
    layers = dense_layers(model, flat=True)
    assert layers is not None  # experiments train fully connected nets only
    slopes = []
    for layer in layers:
        x = x @ layer.weight.double().T
        slopes.append(torch.where(x > 0, 1.0, layer.slope).to(x).unsqueeze(2))
        x = x * slopes[-1].squeeze(2)
    return slopes


def _product(weights: list[Tensor], slopes: list[Tensor]) -> Tensor:
    """``D_L W_L ... D_1 W_1`` at each point, (n, K, d)."""
    product = slopes[0] * weights[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        product = slope * (weight @ product)
    return product


def _distance(start: Checkpoint, end: Checkpoint) -> float:
    """2-norm of the difference of all parameters."""
    pairs = zip(linear_weights(start.model), linear_weights(end.model), strict=True)
    return math.sqrt(sum((a.double() - b.double()).square().sum().item() for a, b in pairs))
