"""A copy of a model that shares its weights, to be run and changed in place of it."""

import copy

from torch import Tensor, nn


def twin(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with the same parameters, buffers of its own and attributes of its own.

    Calling it, changing its mode or its modules leaves ``model`` as it is. A model that cannot be
    copied (it holds a lock, a file, ...) is returned itself if all of it is in eval mode.

    Raises
    ------
    ValueError
        For one that cannot be copied and is in train mode.
    """
    shared: dict[int, Tensor] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                shared[id(parameter)] = parameter
        for buffer in module._buffers.values():
            if buffer is not None:
                shared[id(buffer)] = buffer.detach().clone()
        for value in vars(module).values():
            if isinstance(value, Tensor):  # such as the weight that the old weight_norm computes
                shared[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, dict(shared))
    except Exception as error:
        if any(module.training for module in model.modules()):
            raise ValueError(
                f"{type(model).__name__} cannot be copied ({error}) and is in train mode; call "
                "model.eval() first"
            ) from error
        return model
