"""Networks of the papers, as plain ``nn.Sequential`` modules.

Source: Khromov & Singh, ICLR 2024, appendix S2 ("FCN ReLU", "LeakyOutput").
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

LEAKY_SLOPE = 0.01


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


def linear_weights(model: nn.Module) -> list[torch.Tensor]:
    """Weights ``(out, in)`` of the linear layers, input side first, detached."""
    return [m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear)]
