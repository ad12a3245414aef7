"""Fully connected ReLU nets without biases.

Source: Khromov & Singh, ICLR 2024, appendix S2 ("FCN ReLU", "LeakyOutput").
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from nets.settings import Count, Factor, Family
from nets.training.initialisation import alive_share

LEAKY_SLOPE = 0.01


class Settings(Family):
    """Fully connected, ReLU, no biases."""

    hidden_layers: Count = Field(description="number of hidden layers, each of the run's width")
    output_activation: Literal["relu", "leaky_relu", "identity"] = Field(
        description="activation behind the last layer (the paper: relu; leaky_relu has slope 0.01)"
    )
    minimum_alive_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        description="an initialisation is redrawn while some class has a positive logit on a "
        "smaller share of its own training points, because a ReLU output that starts dead stays "
        "dead; 0: never redrawn (the paper)"
    )
    relative_widths: tuple[Factor, ...] | None = Field(
        None,
        description="width of each hidden layer as a factor of the run's width, rounded; null: all 1",
    )

    @model_validator(mode="after")
    def _one_relative_width_per_hidden_layer(self) -> Self:
        factors = self.relative_widths
        if factors is not None and len(factors) != self.hidden_layers:
            raise ValueError(
                f"relative_widths has {len(factors)} factors for {self.hidden_layers} hidden layers; "
                "list one per hidden layer, input side first, or change hidden_layers"
            )
        return self

    @model_validator(mode="after")
    def _alive_share_needs_relu(self) -> Self:
        if self.minimum_alive_share > 0 and self.output_activation != "relu":
            raise ValueError(
                f"minimum_alive_share is for output_activation relu, not {self.output_activation}; "
                "set it to 0"
            )
        return self

    def hidden_sizes(self, width: int) -> list[int]:
        """Widths of the hidden layers."""
        factors = self.relative_widths or [1.0] * self.hidden_layers
        return [max(1, round(factor * width)) for factor in factors]

    def build(self, width: int, shape: tuple[int, ...], classes: int) -> nn.Sequential:
        """The net of a run's ``width``; points that are no vectors are flattened first."""
        inputs = int(torch.Size(shape).numel())
        hidden = self.hidden_sizes(width)
        net = fcn(inputs, hidden, classes, activation_on_output=self.output_activation)
        return net if len(shape) == 1 else nn.Sequential(nn.Flatten(), *net)

    def accepts(self, net: nn.Module, x: Tensor, y: Tensor) -> bool:
        """Whether enough of each class's own points start with a positive logit."""
        least = self.minimum_alive_share
        return least == 0 or alive_share(net, x, y) >= least

    def units(self, width: int) -> int:
        """Outputs of the hidden layers."""
        return sum(self.hidden_sizes(width))


def output_activation(name: str) -> nn.Module:
    """Module applied to the last linear layer: ``relu``, ``leaky_relu`` (slope 0.01) or ``identity``."""
    match name:
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(LEAKY_SLOPE)
        case "identity":
            return nn.Identity()
    raise ValueError(f"unknown output activation {name!r}; use relu, leaky_relu or identity")


def fcn(
    input_dim: int, hidden: Sequence[int], output_dim: int, *, activation_on_output: str = "relu"
) -> nn.Sequential:
    """Fully connected ReLU network without biases and with an activation on the output.

    Maps ``(n, input_dim)`` to logits ``(n, output_dim)``. Weights follow PyTorch's default,
    uniform on +-1/sqrt(fan_in), drawn from the global random state (see :func:`seeded_fcn`).
    One hidden layer of width w on MNIST-1D has 50 w parameters.
    """
    sizes = [input_dim, *hidden, output_dim]
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = index == len(sizes) - 2
        layers.append(nn.Linear(fan_in, fan_out, bias=False))
        layers.append(output_activation(activation_on_output) if last else nn.ReLU())
    return nn.Sequential(*layers)


def seeded_fcn(seed: int, *args: Any, **kwargs: Any) -> nn.Sequential:
    """:func:`fcn` initialised from ``seed``; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return fcn(*args, **kwargs)


def linear_weights(model: nn.Module) -> list[Tensor]:
    """Weights ``(out, in)`` of the linear layers, input side first, detached."""
    return [m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear)]
