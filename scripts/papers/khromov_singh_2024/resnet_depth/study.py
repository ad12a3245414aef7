"""Bounds of torchvision's ResNets at initialisation, by depth."""

from typing import Literal

import pandas as pd
import torch
from pydantic import Field
from torch import nn

from lipbounds import jacobian_norms, upper_bound
from nets.settings import Count, NonNegative, Section
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.pretrained import torchvision_model


class Settings(Section):
    """Bounds of ResNets at initialisation, by depth."""

    depths: tuple[Literal[18, 34, 50, 101, 152], ...] = Field(
        min_length=1, description="which ResNets, by their layers with weights"
    )
    seeds: Count = Field(description="initialisations of each, torchvision's own")
    image_size: Count = Field(description="height and width of the images")
    points: Count = Field(description="images of Gaussian noise for the lower bound, others by net")
    seed: NonNegative = Field(description="of all initialisations and images")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per depth and seed."""
    rows = []
    for depth in settings.depths:
        for seed in range(settings.seeds):
            origin = derive_seed(settings.seed, "resnet", depth=depth, net=seed)
            model = torchvision_model(f"resnet{depth}", None, origin).model
            row = {"depth": depth, "seed": seed, **_bounds(model, settings, depth, seed)}
            LOG.info("ResNet-%d, seed %d: C_upper 10^%.2f", depth, seed, row["log10_c_upper"])
            rows.append(row)
    return pd.DataFrame(rows)


def _bounds(model: nn.Module, settings: Settings, depth: int, seed: int) -> dict[str, float | bool]:
    """Upper bound, and norms at the points, of one net in eval mode."""
    shape = (3, settings.image_size, settings.image_size)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "noise", depth=depth, net=seed))
    norms = jacobian_norms(model, torch.randn(settings.points, *shape, generator=generator))
    upper = upper_bound(model, shape)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "log10_c_upper": upper.log10,
        "upper_certified": upper.certified,
        "c_lower": norms.max().item(),
        "c_avg": norms.mean().item(),
    }
