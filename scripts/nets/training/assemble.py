"""Which ensemble trains some nets: a fact of the nets and of the recipe, and no setting."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nets.training.ensemble import Ensemble
from nets.training.plain import Plain
from nets.training.recipe import Recipe
from nets.training.stacked import Stacked, shape_of


def assemble(
    nets: Sequence[nn.Module], recipe: Recipe, device: torch.device, outputs: int
) -> Ensemble[Any]:
    """The fastest ensemble that can train ``nets``, which map points to (n, outputs).

    Raises ``ValueError`` where a penalty has no form for nets of this kind.
    """
    if why_not_stacked(nets[0], recipe) is None:
        return Stacked(nets, recipe, device)
    for penalty in recipe.penalties:
        if penalty.plain is None:
            raise ValueError(
                f"{penalty.name} is for fully connected ReLU nets that train side by side, and here "
                f"{why_not_stacked(nets[0], recipe)}; leave it out, or give its file a function plain"
            )
    return Plain(nets, recipe, device, outputs)


def why_not_stacked(net: nn.Module, recipe: Recipe) -> str | None:
    """What keeps nets from being stacked, in words; None if nothing does."""
    if shape_of(net) is None:
        return "the net is another"
    if recipe.augmentation is not None:
        return "points are augmented"
    if not recipe.rowwise:
        return "the optimiser looks at all numbers of a tensor together"
    if lacking := [penalty.name for penalty in recipe.penalties if penalty.stacked is None]:
        return f"{lacking[0]} has no form for stacks"
    return None
