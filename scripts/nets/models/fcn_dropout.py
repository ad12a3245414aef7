"""Fully connected ReLU nets without biases, with dropout behind each hidden layer.

Source: Srivastava et al., Dropout, JMLR 2014. A unit is kept with one probability and scaled by its
inverse in training; nothing is dropped in eval mode, in which losses, gradient norms and bounds are.
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import nn

from nets.settings import Count, Family, Share


class Settings(Family):
    """Fully connected, ReLU, no biases, dropout behind each hidden layer."""

    hidden_layers: Count = Field(description="number of hidden layers, each of the run's width")
    share: Share = Field(description="probability of a hidden unit to be dropped; 0: no dropout")

    def build(self, width: int, shape: tuple[int, ...], classes: int) -> nn.Sequential:
        """The net of a run's ``width``; weights as those of the family fcn, no output activation."""
        inputs = int(torch.Size(shape).numel())
        layers: list[nn.Module] = [] if len(shape) == 1 else [nn.Flatten()]
        for before, after in pairwise([inputs, *[width] * self.hidden_layers]):
            layers += [nn.Linear(before, after, bias=False), nn.ReLU()]
            layers += [nn.Dropout(self.share)] if self.share > 0 else []
        return nn.Sequential(*layers, nn.Linear(width, classes, bias=False))

    def units(self, width: int) -> int:
        """Outputs of the hidden layers."""
        return width * self.hidden_layers
