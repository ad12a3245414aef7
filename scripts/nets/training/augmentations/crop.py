"""Random crops of padded points, and random mirror images.

Source: He, Zhang, Ren & Sun, Deep residual learning for image recognition, CVPR 2016, section 4.2
(4 pixels of padding and a horizontal flip, on CIFAR-10).
"""

from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from nets.settings import Flag, NonNegative, Section


class Settings(Section):
    """Random crops of the padded points, and random mirror images."""

    padding: NonNegative = Field(
        description="zeros on every side, from which a crop of the old size is cut"
    )
    flip: Flag = Field(description="whether half of the points are mirrored along their last axis")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.padding == 0 and not self.flip:
            raise ValueError("padding 0 without flip changes nothing; leave the augmentation out")
        return self

    def augment(self, x: Tensor, random: np.random.Generator) -> Tensor:
        """Changed copies of signals (n, length) or (n, channels, length), or images (n, c, h, w)."""
        spatial = range(min(2, x.dim() - 1), x.dim())
        for axis in spatial:
            x = _shifted(x, axis, self.padding, random)
        if self.flip:
            x = _flipped(x, random)
        return x


def _shifted(x: Tensor, axis: int, padding: int, random: np.random.Generator) -> Tensor:
    """Each point moved along ``axis`` by up to ``padding``, zeros coming in."""
    if padding == 0:
        return x
    length = x.shape[axis]
    shifts = torch.from_numpy(random.integers(0, 2 * padding + 1, len(x)))
    places = shifts.unsqueeze(1) + torch.arange(length)
    sides = [0, 0] * (x.dim() - 1 - axis) + [padding, padding]
    padded = nn.functional.pad(x, sides)
    shape = [len(x)] + [1] * (x.dim() - 1)
    shape[axis] = length
    return torch.take_along_dim(padded, places.view(shape).to(x.device), axis)


def _flipped(x: Tensor, random: np.random.Generator) -> Tensor:
    chosen = torch.from_numpy(random.random(len(x)) < 0.5).to(x.device)
    return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)
