"""A penalty on the Lipschitz constants of the layers, for stacked nets.

Source: Delattre, Barthélemy, Araujo & Allauzen, Efficient bound of Lipschitz constant for
convolutional layers by Gram iteration, ICML 2023: the loss plus ``r sum_l t(L_l)`` with ``t(L) = L``
above a threshold and 0 below. The penalty jumps there, and is not ``max(0, L - threshold)``; its
gradient is that of L above the threshold and 0 below.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from lipbounds.gram_iteration import gram_norm_and_gradient
from nets.settings import NonNegative, NonNegativeFloat, PositiveFloat, Section


class Settings(Section):
    """A penalty on the spectral norms of the layers (Delattre et al. 2023)."""

    strength: PositiveFloat = Field(
        description="the loss grows by this times the sum of the norms above the threshold"
    )
    threshold: NonNegativeFloat = Field(description="norms up to this cost nothing")
    steps: NonNegative = Field(
        description="Gram products per norm (6 in the released code); 0: the Frobenius norm"
    )


@dataclass(frozen=True)
class LipschitzPenalty:
    """``strength`` times the sum of the layers' spectral norms that exceed ``threshold``.

    Norms are the values after ``steps`` Gram products: upper bounds, up to rounding. Weights are
    (seeds, out, in), one tensor per layer, and every seed has a penalty of its own.
    """

    strength: float
    threshold: float = 1.0
    steps: int = 6

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty of each seed, (seeds,), float64."""
        each = [gram_norm_and_gradient(w, steps=self.steps)[0] for w in weights]
        norms = torch.stack(each).to(torch.float64)
        return self.strength * torch.where(norms <= self.threshold, 0.0, norms).sum(0)

    def add_gradient(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], factor: float
    ) -> None:
        """Add ``factor`` times the gradient of the penalty to ``gradients``, in place."""
        for weight, gradient in zip(weights, gradients, strict=True):
            norm, slope = gram_norm_and_gradient(weight, steps=self.steps)
            active = (norm > self.threshold).to(norm.dtype)
            gradient.addcmul_(slope, active.view(-1, 1, 1), value=self.strength * factor)
