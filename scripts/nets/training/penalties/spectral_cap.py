"""A cap on the spectral norms of the layers.

What each layer is divided by is an upper bound of its norm, so that the product of the norms keeps
to the cap up to float32 rounding. (Power iteration, the usual choice, approaches it from below.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from nets.settings import PositiveFloat, Section
from nets.training.layer_norms import convolution_norm, has_norm

_CONVOLUTION_STEPS = 5
_ROUNDS = 4
_SQUARINGS = 3
"""Per round: a matrix of unit Frobenius norm and n rows keeps a norm of n^-4, above float32's least."""


class Settings(Section):
    """A cap on the product of the layers' spectral norms (Khromov & Singh 2024, S3.12)."""

    cap: PositiveFloat = Field(
        description="layers are rescaled after every update to keep the product of their norms to this"
    )

    def stacked(self) -> "StackedCap":
        """For stacks of fully connected nets."""
        return StackedCap(self.cap)

    def plain(self) -> "PlainCap":
        """For nets whose parameters are those of linear layers and convolutions."""
        return PlainCap(self.cap)


@dataclass(frozen=True)
class StackedCap:
    """Keeps the product of the layers' spectral norms to ``cap``."""

    cap: float

    def apply(self, weights: Sequence[Tensor]) -> None:
        """Rescale the layers in place; see :func:`cap_norms`."""
        cap_norms(weights, self.cap)


@dataclass(frozen=True)
class PlainCap:
    """Keeps the product of the norms of linear layers and convolutions to ``cap``."""

    cap: float

    def apply(self, net: nn.Module) -> None:
        """Rescale the layers in place. Raises ``ValueError`` for layers of other kinds."""
        layers = [module for module in net.modules() if list(module.parameters(recurse=False))]
        share = self.cap ** (1 / len(layers))
        for layer in layers:
            if not has_norm(layer):
                raise ValueError(
                    "spectral_cap knows linear layers and convolutions, and not "
                    f"{type(layer).__name__}; leave one of the two out"
                )
            layer.get_parameter("weight").mul_((share / _bound(layer)).clamp_(max=1))


def _bound(layer: nn.Module) -> Tensor:
    """Of the norm of a layer; that of a convolution holds for images of every size."""
    if isinstance(layer, nn.Linear):
        return norm_bounds(layer.weight.unsqueeze(0))[0]
    return convolution_norm(layer, steps=_CONVOLUTION_STEPS)


def cap_norms(weights: Sequence[Tensor], cap: float) -> None:
    """Rescale, in place, every layer whose norm exceeds the root of ``cap`` that makes it its share.

    Weights are (seeds, out, in), one tensor per layer; with L layers the share is ``cap^(1/L)``.
    """
    share = cap ** (1 / len(weights))
    for weight in weights:
        weight.mul_((share / norm_bounds(weight)).clamp_(max=1).view(-1, 1, 1))


def norm_bounds(matrices: Tensor) -> Tensor:
    """Upper bounds of the spectral norms of (seeds, m, n), (seeds,), up to rounding.

    ``||G^k||_F^(1/2k)`` for the smaller Gram matrix G, of r rows, and k = 2^12: at most a factor
    ``r^(1/4k)`` above the norm (1.0003 for 64 rows), because ``||G^k||_F <= sqrt(r) ||G||^k``.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    power = matrices.mT @ matrices if tall else matrices @ matrices.mT
    tiny = torch.finfo(power.dtype).tiny
    bound = torch.ones_like(power[:, 0, 0])
    exponent = 0.5
    for _ in range(_ROUNDS):
        norm = torch.linalg.matrix_norm(power).clamp_(min=tiny)
        bound.mul_(norm**exponent)
        power.div_(norm.view(-1, 1, 1))
        for _ in range(_SQUARINGS):
            power = power @ power
            exponent /= 2
    return bound.mul_(torch.linalg.matrix_norm(power).clamp_(min=tiny) ** exponent)
