"""A penalty on the Lipschitz constants of the layers, for stacked nets.

Source: Delattre, Barthélemy, Araujo & Allauzen, Efficient bound of Lipschitz constant for
convolutional layers by Gram iteration, ICML 2023: the loss plus ``r sum_l t(L_l)`` with ``t(L) = L``
above a threshold and 0 below. The penalty jumps there, and is not ``max(0, L - threshold)``; its
gradient is that of L above the threshold and 0 below.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipschitz.gram_iteration import gram_norm_and_gradient


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
