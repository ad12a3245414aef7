"""Norms of single layers: the power method, and max-pooling."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import affine_norm
from papers.beyond.bound_claims.evidence import (
    THIS_PROJECT,
    VIRMAUX_SCAMAN_2018,
    Evidence,
    claim,
    universal,
)
from papers.beyond.bound_claims.instances import ROUNDING, normal


@claim(
    "A7",
    VIRMAUX_SCAMAN_2018,
    "The power method converges to the norm of an affine map from below",
    figure="gram_convergence",
)
def power_method_from_below(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random convolution the values after 10, 50, 100 and 500 steps never fall and
    never exceed the norm of its matrix, and the last is within one per cent of it (singular values
    that nearly coincide slow the method down)."""
    violated = []
    for _ in range(instances):
        kernel = normal(generator, 3, 2, 3, 3)

        def convolution(x: Tensor, kernel: Tensor = kernel) -> Tensor:
            return nn.functional.conv2d(x, kernel, padding=1)

        units = torch.eye(50, dtype=torch.float64).view(50, 2, 5, 5)
        true = torch.linalg.matrix_norm(convolution(units).flatten(1), 2).item()
        found = [
            affine_norm(convolution, (1, 2, 5, 5), method="power", steps=steps).value
            for steps in (10, 50, 100, 500)
        ]
        falls = any(b < a * (1 - ROUNDING) for a, b in pairwise(found))
        violated.append(falls or max(found) > true * (1 + ROUNDING) or found[-1] < 0.99 * true)
    return universal(violated)


@claim(
    "A8",
    THIS_PROJECT,
    "Max-pooling over 3 x 3 windows of stride 2 has the constant 2, where AlexNet's bound counts 1",
    figure="alexnet",
    since="2026-11-28",
    changes="2026-11-28: before, that the constant is 1, which did not hold and is said by no paper.",
)
def overlapping_pooling_has_constant_two(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random image the Jacobian norm of max-pooling over 3 x 3 windows of stride 2 is
    at most 2, and is 2 if a pixel that four windows share is raised above all others."""
    images = normal(generator, instances, 1, 9, 9)
    raised = images.clone()
    raised[:, :, 2, 2] = images.amax(dim=(1, 2, 3))[:, None] + 1
    pool = nn.MaxPool2d(3, 2)
    above = jacobian_norms(pool, images) > 2 + ROUNDING
    missed = (jacobian_norms(pool, raised) - 2).abs() > ROUNDING
    return universal((above | missed).tolist())
