"""Adam for stacked nets.

Source: Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015, with the order of
operations of ``torch.optim.Adam``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nets.settings import PositiveFloat, Section


class Settings(Section):
    """Adam with bias correction (Kingma & Ba 2015)."""

    beta_1: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="decay of the mean of the gradient"
    )
    beta_2: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="decay of the mean of its square"
    )
    epsilon: PositiveFloat = Field(1e-8, description="added to the root of the mean square")


def optimiser(settings: Settings) -> "Adam":
    """Adam with these settings."""
    return Adam(settings.beta_1, settings.beta_2, settings.epsilon)


@dataclass(frozen=True)
class Adam:
    """Adam with bias correction and without weight decay."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def initial_moments(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """What :meth:`step` carries from one update to the next, one row per seed.

        The updates so far, (seeds,) float64, and the moving means of the gradient and of its
        square, each like the weight of their layer.
        """
        first = weights[0]
        moments = {"adam/updates": first.new_zeros(first.shape[0], dtype=torch.float64)}
        for layer, weight in enumerate(weights):
            moments[f"adam/mean/{layer}"] = torch.zeros_like(weight)
            moments[f"adam/square/{layer}"] = torch.zeros_like(weight)
        return moments

    def step(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        scale: Tensor,
        rate: Tensor,
        moments: Mapping[str, Tensor],
    ) -> None:
        """One step on ``scale`` times the gradients, in place; the gradients are overwritten.

        Weights and gradients are (seeds, out, in), ``scale`` is (seeds, 1, 1), ``rate`` 0-dim.
        """
        updates = moments["adam/updates"].add_(1)
        root = (1 - self.beta_2**updates).sqrt_()
        # both corrections are moved to numbers: the step is size * mean / (sqrt(square) + epsilon)
        size = (rate * root / (1 - self.beta_1**updates)).to(rate.dtype).view(-1, 1, 1)
        epsilon = (self.epsilon * root).to(rate.dtype).view(-1, 1, 1)
        for layer, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            mean, square = moments[f"adam/mean/{layer}"], moments[f"adam/square/{layer}"]
            gradient.mul_(scale)
            mean.lerp_(gradient, 1 - self.beta_1)
            square.mul_(self.beta_2).addcmul_(gradient, gradient, value=1 - self.beta_2)
            torch.sqrt(square, out=gradient).add_(epsilon)
            torch.div(mean, gradient, out=gradient)
            weight.addcmul_(gradient, size, value=-1)
