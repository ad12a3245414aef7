"""Forward hooks can change what a module computes, so they are looked for before it is trusted."""

from torch import nn


def has_hooks(module: nn.Module) -> bool:
    """Whether calling ``module`` runs more than its forward method."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
