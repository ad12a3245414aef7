"""The nets and points that are measured, the same in every process."""

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from nets.models.resnet import Settings as ResNet


def build(name: str) -> nn.Module:
    """``fcn-WIDTH`` on MNIST-1D, ``cnn`` or ``resnet-20`` on 3 x 32 x 32 images, from a fixed seed."""
    torch.manual_seed(0)
    kind, _, width = name.partition("-")
    if kind == "fcn":
        first, second = nn.Linear(40, int(width), bias=False), nn.Linear(int(width), 10, bias=False)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    if kind == "resnet":
        return ResNet().build(16, (3, 32, 32), 10).eval()
    layers: list[nn.Module] = []
    for channels_in, channels_out, pool in ((3, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 8)):
        convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        layers += [convolution, nn.ReLU(), nn.MaxPool2d(pool)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10, bias=False))


def points(name: str, data: dict[str, torch.Tensor]) -> torch.Tensor:
    """All MNIST-1D training points, or 128 random images."""
    if name.startswith("fcn"):
        return data["x_train"]
    return torch.rand(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
