"""A penalty on the Lipschitz constants of the layers.

Source: Delattre, Barthélemy, Araujo & Allauzen, Efficient bound of Lipschitz constant for
convolutional layers by Gram iteration, ICML 2023: the loss plus ``r sum_l t(L_l)`` with ``t(L) = L``
above a threshold and 0 below. The penalty jumps there, and is not ``max(0, L - threshold)``; its
gradient is that of L above the threshold and 0 below.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.gram_iteration import gram_norm_and_gradient
from nets.settings import NonNegative, NonNegativeFloat, PositiveFloat, Section
from nets.training.layer_norms import convolution_norm, has_norm
from nets.training.recipe import Layers


class Settings(Section):
    """A penalty on the spectral norms of the layers (Delattre et al. 2023)."""

    strength: PositiveFloat = Field(
        description="the loss grows by this times the sum of the norms above the threshold"
    )
    threshold: NonNegativeFloat = Field(description="norms up to this cost nothing")
    steps: NonNegative = Field(
        description="Gram products per norm (6 in the released code); 0: the Frobenius norm, and one "
        "product for convolutions"
    )

    def stacked(self) -> "StackedNorms":
        """For stacks of fully connected nets."""
        return StackedNorms(self)

    def plain(self) -> "PlainNorms":
        """For any net: of its linear layers and convolutions."""
        return PlainNorms(self)


@dataclass(frozen=True)
class NormsTerm:
    """``strength`` times the sum of the layers' norms that exceed the threshold.

    ``norms`` are (layers, seeds), ``slopes`` their gradients, (seeds, out, in) per layer.
    """

    settings: Settings
    norms: Tensor
    slopes: Sequence[Tensor]

    @property
    def values(self) -> Tensor:
        """(seeds,), float64."""
        norms = self.norms.to(torch.float64)
        return self.settings.strength * torch.where(self._active, norms, 0.0).sum(0)

    def add_gradient(self, gradients: Sequence[Tensor], factor: float) -> None:
        """Add ``factor`` times the gradient to ``gradients``, in place."""
        for gradient, slope, active in zip(gradients, self.slopes, self._active, strict=True):
            own = active.to(slope.dtype).view(-1, 1, 1)
            gradient.addcmul_(slope, own, value=self.settings.strength * factor)

    def larger(self, other: "NormsTerm") -> "NormsTerm":
        """The same at all points."""
        return self

    @property
    def _active(self) -> Tensor:
        return self.norms > self.settings.threshold


@dataclass(frozen=True)
class StackedNorms:
    """The penalty on stacks: every seed has one of its own.

    Norms are the values after ``steps`` Gram products: upper bounds, up to rounding.
    """

    settings: Settings
    of_points: bool = False

    def term(self, layers: Layers) -> NormsTerm:
        """The penalty, of the weights alone."""
        each = [gram_norm_and_gradient(w, steps=self.settings.steps) for w in layers.weights]
        norms, slopes = zip(*each, strict=True)
        return NormsTerm(self.settings, torch.stack(norms), slopes)


@dataclass(frozen=True)
class PlainNorms:
    """The penalty on any net, over its linear layers and convolutions.

    A convolution is bounded for images of every size, by powers of its kernel.
    """

    settings: Settings
    of_points: bool = False

    def value(self, net: nn.Module, x: Tensor) -> Tensor:
        """The penalty, of the weights alone. Raises ``ValueError`` for a net without such layers."""
        norms = [self._norm(module) for module in net.modules() if has_norm(module)]
        if not norms:
            raise ValueError("regularisation found neither linear layers nor convolutions in the net")
        sizes = torch.stack(norms)
        active = (sizes.detach() > self.settings.threshold).to(sizes.dtype)
        return self.settings.strength * (sizes * active).sum()

    def _norm(self, module: nn.Module) -> Tensor:
        # here, so that trainings without such a net do not depend on the code of convolutions
        from lipbounds.operator_norm.gram import gram_norm

        if isinstance(module, nn.Linear):
            return gram_norm(module.weight, steps=self.settings.steps)
        return convolution_norm(module, steps=max(1, self.settings.steps))
