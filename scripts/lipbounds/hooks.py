"""Whether a call of a module is what its type says."""

from torch import nn
from torch.nn.modules import module as _torch


def has_hooks(module: nn.Module) -> bool:
    """Whether calling ``module`` runs more than the forward method of its type, or another one."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, _torch._global_forward_hooks,
        _torch._global_forward_pre_hooks,
    )  # fmt: skip
    return any(hooks) or "forward" in vars(module)
