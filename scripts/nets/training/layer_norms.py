"""Which layers of any net have a norm that training can bound, and a bound of a convolution's."""

from torch import Tensor, nn

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def has_norm(module: nn.Module) -> bool:
    """Whether a module is a linear layer or a convolution."""
    return isinstance(module, nn.Linear | Convolution)


def convolution_norm(module: nn.Module, *, steps: int) -> Tensor:
    """Bound, up to rounding, of the norm of a convolution on inputs of every size; differentiable.

    Stride, dilation and groups do not make the norm larger. Raises ``ValueError`` for a padding that
    copies entries, which may.
    """
    # here, so that trainings without such a net do not depend on the code of convolutions
    from lipbounds.operator_norm.gram import toeplitz_gram_norm

    assert isinstance(module, Convolution)
    if module.padding_mode not in ("zeros", "circular"):
        raise ValueError(
            "norms of convolutions are known for padding with zeros or around the edge, and not for "
            f"padding_mode {module.padding_mode}"
        )
    return toeplitz_gram_norm(module.weight, steps=steps)
