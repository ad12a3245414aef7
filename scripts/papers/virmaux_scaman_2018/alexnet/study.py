"""AutoLip of AlexNet layer by layer, with and without the factors of overlapping max-pooling."""

import math
from itertools import pairwise
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.bounds.seqlip import alternating_pair_factor
from lipbounds.bounds.upper import upper_bound
from lipbounds.rounding import product_up
from nets.settings import NonNegative, Section
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.pretrained import torchvision_model


class Settings(Section):
    """AutoLip of AlexNet, layer by layer."""

    weights: str | None = Field(
        description="file of pretrained weights: .safetensors, or torchvision's own .pth under its "
        "published name (checked); null: a random initialisation"
    )
    seed: NonNegative = Field(description="seed of the random initialisation, and of the triplets")
    image_size: Annotated[int, Field(strict=True, ge=63)] = Field(
        description="height and width of the images"
    )
    part: Literal["network", "features"] = Field(
        description="features: only the convolutions and poolings"
    )
    seqlip_triplets: NonNegative = Field(
        description="leading singular triplets of each fully connected layer for the SeqLip estimate "
        "of these layers; 0: no estimate"
    )


FULLY_CONNECTED = ("classifier.1", "classifier.4", "classifier.6")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per layer (method autolip), and one per pair of layers with a SeqLip factor.

    ``value`` is the layer's constant, or the pair factor relative to the product of the two norms'
    shares in it; the cumulated columns hold the product up to there.
    """
    model, origin, pretrained = torchvision_model("alexnet", settings.weights, settings.seed)
    network = model.features if settings.part == "features" else model
    assert isinstance(network, nn.Module)
    bound = upper_bound(network, (3, settings.image_size, settings.image_size))
    LOG.info("AutoLip: %.6g", bound.value)
    shared = {"weights": origin, "pretrained": pretrained}
    rows, cumulated, unpooled = [], 1.0, 1.0
    for layer in bound.layers:
        cumulated = product_up([cumulated, layer.norm.value])
        if layer.kind != "MaxPool2d":
            unpooled = product_up([unpooled, layer.norm.value])
        rows.append(
            {"layer": layer.name, "type": layer.kind, "method": "autolip", "kind": layer.norm.kind}
            | {"certified": layer.norm.certified, "value": layer.norm.value}
            | {"cumulated": cumulated, "cumulated_without_pooling": unpooled}
            | {"seconds": layer.seconds, **shared}
        )
    if settings.part == "network" and settings.seqlip_triplets:
        for name, ratio in _seqlip_ratios(model, settings).items():
            cumulated, unpooled = cumulated * ratio, unpooled * ratio
            rows.append(
                {"layer": name, "type": "pair", "method": "seqlip", "kind": "estimate"}
                | {"certified": False, "value": ratio}
                | {"cumulated": cumulated, "cumulated_without_pooling": unpooled}
                | {"seconds": math.nan, **shared}
            )
    return pd.DataFrame(rows)


def _seqlip_ratios(model: nn.Module, settings: Settings) -> dict[str, float]:
    """Pair factors of neighbouring fully connected layers over the norms that they replace.

    They are found by alternating maximisation from the leading singular triplets alone, from below,
    so the products with them are estimates and no bounds. In a chain W_3 D W_2 D' W_1 the singular
    values of W_2 are shared out to both pairs as roots.
    """
    triplets, count = [], settings.seqlip_triplets
    for name in FULLY_CONNECTED:
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            found = torch.svd_lowrank(weight.detach(), q=min(count + 20, *weight.shape), niter=8)
        left, values, right = (factor[..., :count].double() for factor in found)
        triplets.append((left, values, right))
        LOG.info("singular triplets of %s done", name)
    ratios = {}
    last = len(triplets) - 1
    for index, ((left, before, _), (_, after, right)) in enumerate(pairwise(triplets)):
        from_below = before if index == 0 else before.sqrt()
        to_above = after if index + 1 == last else after.sqrt()
        factor = alternating_pair_factor(to_above[:, None] * right.T, left * from_below, (0.0, 1.0))
        name = f"{FULLY_CONNECTED[index]}, {FULLY_CONNECTED[index + 1]}"
        ratios[name] = factor.value / (from_below[0] * to_above[0]).item()
    return ratios
