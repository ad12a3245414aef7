"""Norms of the convolutions of ResNet-18, layer by layer, by every method of the comparison."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.operator_norm import OperatorNorm, conv2d_norm
from lipbounds.operator_norm.competitors import araujo, farnia_ryu, singla_feizi
from lipbounds.operator_norm.gram import conv_gram_norm
from lipbounds.threads import one_thread
from nets.settings import Count, Device, NonNegative, PositiveFloat, Section
from pipeline.jobs.device import choose_device
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.pretrained import torchvision_model
from pipeline.measuring.timing import timed


class Settings(Section):
    """Norms of the 20 convolutions of ResNet-18 by every method of the comparison."""

    weights: str | None = Field(
        description="file of pretrained weights: .safetensors, or torchvision's own .pth under its "
        "published name (checked); null: a random initialisation"
    )
    seed: NonNegative = Field(description="seed of the random initialisation")
    image_size: Count = Field(description="height and width of the images")
    layers: Count = Field(description="number of convolutions measured, from the first on (all: 20)")
    gram_steps: Count = Field(description="products of Gram iteration (circular padding)")
    power_steps: Count = Field(description="power steps with the convolution (Ryu)")
    singla_steps: Count | None = Field(
        description="power steps for each unfolding (Singla & Feizi); null: singular values"
    )
    araujo_samples: Count = Field(description="points per axis of the grid (Araujo)")
    repeats: Count = Field(description="timed calls after one that does not count")
    time_budget: PositiveFloat = Field(description="seconds after which a call is not repeated")
    device: Device = Field(description="where to compute, and measure time; auto: CUDA if there is one")


OPERATORS = {
    "circular": "circular padding, stride 1",
    "gram": "circular padding, stride 1",
    "certified": "the layer: zero padding, its stride",
    "farnia_ryu": "zero padding, stride 1",
    "singla_feizi": "any size, stride 1",
    "araujo": "any size, stride 1",
}

THREADED = ("circular", "certified")
"""Methods that share out the frequencies among all threads; the others gain nothing from a second."""

PUBLISHED = pd.DataFrame(
    [
        (15.9164, 15.916, 15.869, 28.895, 31.371),
        (6.0060, 6.004, 5.979, 9.327, 15.716),
        (5.3414, 5.341, 5.322, 6.289, 15.328),
        (6.9997, 7.000, 6.976, 8.712, 14.832),
        (3.8162, 3.816, 3.802, 5.402, 13.850),
        (4.7070, 4.707, 4.687, 5.898, 16.089),
        (5.7223, 5.722, 5.684, 7.214, 25.556),
        (None, 1.914, 1.914, 1.914, 6.396),
        (4.4096, 4.399, 4.381, 6.779, 18.964),
        (4.8851, 4.885, 4.858, 7.571, 21.350),
        (7.3948, 7.395, 7.353, 8.454, 39.846),
        (6.5829, 6.583, 6.448, 8.036, 40.971),
        (None, 1.215, 1.215, 1.215, 5.973),
        (6.3609, 6.361, 6.227, 7.572, 30.154),
        (7.6767, 7.677, 7.525, 9.166, 31.999),
        (9.9906, 9.991, 9.747, 11.003, 51.370),
        (9.0939, 9.094, 8.380, 10.452, 52.755),
        (None, 2.047198, 2.047190, 2.046242, 11.873),
        (17.5995, 17.600, 16.265, 18.374, 65.607),
        (7.4794, 7.479, 6.797, 7.596, 63.703),
    ],
    columns=["circular", "gram", "farnia_ryu", "singla_feizi", "araujo"],
    dtype=float,
)
"""Values published for torchvision's ImageNet weights, in the order of the layers.

circular: singular values in the notebook of Singla & Feizi, on finer grids (hence above the others
in places); the others: a notebook of Delattre et al. (7 Gram products, 100 power steps, 50, 20).
"""

PUBLISHED_SIZE = 224
"""Length of the images that the published values are for."""


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per layer and method; published values only beside pretrained weights and their size."""
    device = choose_device(settings.device)
    model, origin, pretrained = torchvision_model("resnet18", settings.weights, settings.seed)
    comparable = pretrained and settings.image_size == PUBLISHED_SIZE
    sizes = input_sizes(model, settings.image_size)
    rows = []
    for index, (name, size) in enumerate(list(sizes.items())[: settings.layers]):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        weight = layer.weight.detach().to(device)
        for method, function in _methods(settings, layer, weight, size).items():
            with nullcontext() if method in THREADED else one_thread():
                norm, timing = timed(function, settings.repeats, budget_s=settings.time_budget)
            published = PUBLISHED[method][index] if comparable and method in PUBLISHED else None
            rows.append(
                {"index": index, "layer": name, "shape": "x".join(map(str, weight.shape))}
                | {"stride": layer.stride[0], "input_size": size, "method": method}
                | {"operator": OPERATORS[method], "kind": norm.kind, "certified": norm.certified}
                | {"value": norm.value, "published": published, **timing._asdict()}
                | {"device": device.type, "weights": origin, "pretrained": pretrained}
            )
        LOG.info("%s done", name)
    table = pd.DataFrame(rows)
    exact = table[table["method"] == "circular"].set_index("layer")["value"]
    return table.assign(ratio=table["value"] / table["layer"].map(exact))


def _methods(
    settings: Settings, layer: nn.Conv2d, weight: Tensor, size: int
) -> dict[str, Callable[[], OperatorNorm]]:
    zero: dict[str, Any] = {"padding": layer.padding, "stride": layer.stride}
    return {
        "circular": partial(conv2d_norm, weight, size, padding=layer.padding, padding_mode="circular"),
        "gram": lambda: OperatorNorm(
            conv_gram_norm(weight, size, steps=settings.gram_steps).item(), "upper", certified=False
        ),
        "certified": partial(conv2d_norm, weight, size, **zero),
        "farnia_ryu": partial(farnia_ryu, weight, size, steps=settings.power_steps),
        "singla_feizi": partial(singla_feizi, weight, size, steps=settings.singla_steps),
        "araujo": partial(araujo, weight, size, samples=settings.araujo_samples),
    }


def input_sizes(model: nn.Module, image_size: int) -> dict[str, int]:
    """Length of the input of every convolution, by its path, in the order of the modules."""
    sizes = {name: 0 for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[name] = inputs[0].shape[-1]

    hooks = [model.get_submodule(name).register_forward_pre_hook(partial(note, name)) for name in sizes]
    with torch.no_grad():
        model(torch.zeros(1, 3, image_size, image_size))
    for hook in hooks:
        hook.remove()
    return sizes
