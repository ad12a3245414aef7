"""Adam. Source: Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015."""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nets.settings import NonNegativeFloat, PositiveFloat, Section

ROWWISE = True
"""Each number is treated by itself."""


class Settings(Section):
    """Adam with bias correction (Kingma & Ba 2015)."""

    beta_1: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="decay of the mean of the gradient"
    )
    beta_2: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="decay of the mean of its square"
    )
    epsilon: PositiveFloat = Field(1e-8, description="added to the root of the mean square")
    weight_decay: NonNegativeFloat = Field(
        0.0, description="this times the rate times the weights is taken off (AdamW)"
    )

    def optimiser(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """That of torch."""
        return torch.optim.AdamW(
            parameters,
            lr=0.0,
            betas=(self.beta_1, self.beta_2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=True,
        )
