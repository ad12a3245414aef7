"""Stochastic gradient descent (the paper: without momentum or weight decay)."""

from collections.abc import Iterable
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nets.settings import Flag, NonNegativeFloat, Section

ROWWISE = True
"""Each number is treated by itself."""


class Settings(Section):
    """Stochastic gradient descent (the paper: without momentum or weight decay)."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="decay of the moving sum of gradients"
    )
    weight_decay: NonNegativeFloat = Field(
        0.0, description="this times the weights is added to the gradient, after clipping"
    )
    nesterov: Flag = Field(False, description="whether momentum is Nesterov's")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov does nothing without momentum; set momentum, or leave it out")
        return self

    def optimiser(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer | None:
        """None for plain descent, which the ensembles do by themselves."""
        if self.momentum == 0 and self.weight_decay == 0:
            return None
        return torch.optim.SGD(
            parameters,
            lr=0.0,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )
