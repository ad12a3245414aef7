"""How nets are updated, whatever they are and whichever ensemble does it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nets.training.loss import Loss

Optimiser = Callable[[Iterable[Tensor]], torch.optim.Optimizer | None]
"""Makes an optimiser of parameters, whose own learning rate is never used; None: plain descent."""

Augmentation = Callable[[Tensor, np.random.Generator], Tensor]
"""Changed copies of the points (n, *shape) of a batch, same shape and dtype."""

CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


def plain_descent(parameters: Iterable[Tensor]) -> None:
    """No optimiser: a step is the rate times the gradient."""


@dataclass(frozen=True)
class Layers:
    """A stack of fully connected nets with the outputs at a batch.

    ``weights`` are (seeds, out, in), one tensor per layer, input side first; ``outputs`` are those
    behind the activations, (seeds, out, points); ``output_slope`` is that of the last activation for
    negative values.
    """

    weights: Sequence[Tensor]
    outputs: Sequence[Tensor]
    output_slope: float


class Term(Protocol):
    """The value of a penalty on a stack of nets, with its gradient."""

    @property
    def values(self) -> Tensor:
        """(seeds,), float64."""

    def add_gradient(self, gradients: Sequence[Tensor], factor: float) -> None:
        """Add ``factor`` times the gradient to those of the weights, in place."""

    def larger(self, other: "Term") -> "Term":
        """The larger of two terms, seed by seed."""


class StackedPenalty(Protocol):
    """What is added to the mean loss of each batch of a stack."""

    of_points: bool
    """Whether it is the largest over the points, and not of the weights alone."""

    def term(self, layers: Layers) -> Term:
        """The penalty at the batch that the layers have just been given."""


class StackedConstraint(Protocol):
    """What the weights of a stack are held to after each update."""

    def apply(self, weights: Sequence[Tensor]) -> None:
        """Change the weights, in place."""


class PlainPenalty(Protocol):
    """What is added to the mean loss of each batch of any net."""

    of_points: bool

    def value(self, net: nn.Module, x: Tensor) -> Tensor:
        """The penalty at points (n, *shape), 0-dim, differentiable in the parameters."""


class PlainConstraint(Protocol):
    """What the parameters of any net are held to after each update."""

    def apply(self, net: nn.Module) -> None:
        """Change the parameters, in place."""


@dataclass(frozen=True)
class Penalty:
    """A penalty or constraint by its name, in the forms that its file has."""

    name: str
    stacked: Callable[[], Any] | None = None
    plain: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Recipe:
    """How nets are updated.

    Parameters
    ----------
    loss
        A file in nets/training/losses.
    clip_norm
        Gradients of larger 2-norm, over all parameters of a net, are scaled down to it.
    temperature
        The loss is that of this multiple of the logits.
    optimiser
        What is done with the gradient after clipping.
    rowwise
        Whether the optimiser treats each number by itself, so that nets may share a tensor.
    penalties
        What is added to the mean loss of each batch before clipping, and what weights are held to.
    augmentation
        What is done to the points of each batch; None for nothing.
    track_path
        Whether the length of the path of the parameters is recorded.
    """

    loss: Loss
    clip_norm: float = math.inf
    temperature: float = 1.0
    optimiser: Optimiser = plain_descent
    rowwise: bool = True
    penalties: Sequence[Penalty] = field(default_factory=tuple)
    augmentation: Augmentation | None = None
    track_path: bool = False


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_state(
    optimiser: torch.optim.Optimizer | None, parameters: Sequence[Tensor]
) -> dict[str, Tensor]:
    """What an optimiser carries from one step to the next, by INDEX OF PARAMETER/NAME.

    Raises ``TypeError`` for a state that is no tensor, which could not be saved.
    """
    found: dict[str, Tensor] = {}
    for index, parameter in enumerate(parameters if optimiser is not None else ()):
        assert optimiser is not None
        for name, value in optimiser.state.get(parameter, {}).items():
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"{type(optimiser).__name__} carries {name!r} as {type(value).__name__}; "
                    "a resumed training needs tensors"
                )
            found[f"{index}/{name}"] = value
    return found


def restore_optimiser(
    optimiser: torch.optim.Optimizer | None,
    parameters: Sequence[Tensor],
    state: Mapping[str, Tensor],
) -> None:
    """Give an optimiser a state that :func:`optimiser_state` has named."""
    for key, value in state.items():
        assert optimiser is not None
        index, _, name = key.partition("/")
        optimiser.state[parameters[int(index)]][name] = value.clone()
