"""A model as a plain function from points to rows of numbers, for derivatives with respect to points.

What people call a model is wider than a chain of layers on float32: outputs come as (n,), tuples and
dictionaries, first layers write into their input, weights are computed by hooks or kept in bfloat16.
"""

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree

from lipbounds.threads import Everywhere
from lipbounds.twin import twin

_HALF = (torch.float16, torch.bfloat16)

_PLAIN_ATTENTION = Everywhere(lambda: sdpa_kernel(SDPBackend.MATH))
"""Which kernels of attention there are is one setting of torch for all threads."""

_LAYOUT_TOLERANCE = 1e-3
"""Relative difference of outputs between two layouts of memory, above what rounding does."""


class Frozen:
    """``model`` in eval mode with frozen weights, as a function from points (n, *input) to rows (n, K).

    The K numbers are those of all floating tensors of the output, joined. Weights are shared with the
    model handed in, which stays as it is; in half precision they are taken over into float32 exactly.

    Parameters
    ----------
    model
        Any module whose floating outputs have one entry per point first.
    like
        Points (n, *input) of the shape, dtype and device that it is called with.
    dtype
        To take the weights over into and to compute in. When None, weights stay as they are and
        points are in the dtype of ``like``, but for half precision, of which float32 is made.

    Raises
    ------
    ValueError
        For points that are not floating, and for a model that must be converted and cannot be copied.
    """

    def __init__(self, model: nn.Module, like: Tensor, dtype: torch.dtype | None = None) -> None:
        convert = dtype is not None or in_half_precision(model, like)
        self.dtype = dtype or _working_dtype(model, like)
        self.most_points: int | None = None
        """Points that the model takes at a time; None for any number."""
        self.module = _frozen_copy(model, self.dtype if convert else None)
        self._format = torch.preserve_format
        self._recurrent = any(isinstance(module, nn.RNNBase) for module in self.module.modules())
        if self.module is not model and dtype is None:
            self._try_channels_last(like)

    def __call__(self, points: Tensor) -> Tensor:
        """Rows (n, K) at ``points`` (n, *input), which may require gradients."""
        # of a copy, because a first layer may work in place
        return flat_outputs(self.module(points.clone()), len(points))

    def in_double(self) -> "Frozen":
        """The same in float64, with weights of its own."""
        double = copy.copy(self)
        double.dtype, double._format = torch.float64, torch.preserve_format
        double.module = _converted(_sharing(self.module), torch.float64)
        return double

    def prepared(self, points: Tensor) -> Tensor:
        """``points`` detached, in the dtype and layout of memory that the copy computes in."""
        if points.is_inference():
            points = points.clone()
        return points.detach().to(self.dtype).contiguous(memory_format=self._layout(points))

    def chunks(self, points: Tensor, size: int) -> tuple[Tensor, ...]:
        """Prepared ``points``, ``size`` at a time or as many as the model takes."""
        return self.prepared(points).split(min(size, self.most_points or size))

    @contextmanager
    def computing(self, device: torch.device) -> Iterator[None]:
        """Surroundings in which derivatives are exact: no autocast, TF32, inference mode, or kernels
        without second derivatives."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            if torch.is_autocast_enabled(device.type):
                stack.enter_context(torch.autocast(device.type, enabled=False))
            stack.enter_context(_PLAIN_ATTENTION)
            if device.type == "cuda":
                # cuDNN has no backward of recurrent nets in eval mode
                flags = torch.backends.cudnn.flags(enabled=not self._recurrent, allow_tf32=False)
                stack.enter_context(flags)
            yield

    def _layout(self, points: Tensor) -> torch.memory_format:
        return torch.channels_last if self._format == torch.channels_last else torch.contiguous_format

    def _try_channels_last(self, like: Tensor) -> None:
        """Lays out channels-last, which convolutions prefer, where the model computes the same so.

        Code of users may ask for views that exist in the usual layout only.
        """
        scripted = any(isinstance(module, torch.jit.ScriptModule) for module in self.module.modules())
        if like.dim() != 4 or scripted or all(p.dim() != 4 for p in self.module.parameters()):
            return
        usual, point = self.module, like[:1]
        try:
            with torch.no_grad(), self.computing(like.device):
                expected = self(self.prepared(point))
                self._format = torch.channels_last
                self.module = _sharing(usual).to(memory_format=torch.channels_last)
                found = self(self.prepared(point))
            same = _agree(found, expected)
        except Exception:  # whatever user code raises: the usual layout will tell
            same = False
        if not same:
            self.module, self._format = usual, torch.preserve_format


def _agree(found: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().amax().clamp_min(torch.finfo(expected.dtype).tiny)
    return bool(((found - expected).abs() <= _LAYOUT_TOLERANCE * scale).all())


def flat_outputs(result: Any, n: int) -> Tensor:
    """All floating tensors in ``result``, a tensor or anything nested, as rows (n, K).

    Tensors of integers and what is no tensor are left out.

    Raises
    ------
    ValueError
        Where a tensor does not have ``n`` entries first, is complex, or there is none.
    """
    parts = []
    for place, leaf in _leaves(result, "output"):
        if leaf.is_complex():
            raise ValueError(
                f"{place} is complex; wrap the model so that it returns torch.view_as_real of it"
            )
        if not leaf.is_floating_point():
            continue
        if leaf.dim() == 0 or len(leaf) != n:
            raise ValueError(
                f"{place} has shape {tuple(leaf.shape)} for {n} points, and not one entry per point "
                "first; wrap the model so that it returns only what belongs to single points"
            )
        parts.append(leaf.unsqueeze(1) if leaf.dim() == 1 else leaf.flatten(1))
    if not any(part.numel() for part in parts):
        raise ValueError(
            f"the model returns {type(result).__name__} without any floating tensor that has "
            "entries; wrap it so that it returns the numbers whose Jacobian is asked for"
        )
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def _leaves(result: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    for path, leaf in _pytree.tree_flatten_with_path(result)[0]:
        name = place + _pytree.keystr(path)
        if isinstance(leaf, Tensor):
            yield name, leaf
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            for field in dataclasses.fields(leaf):
                yield from _leaves(getattr(leaf, field.name, None), f"{name}.{field.name}")


def _working_dtype(model: nn.Module, like: Tensor) -> torch.dtype:
    if not like.is_floating_point():
        raise ValueError(f"x must be floating, not {like.dtype}; derivatives are asked for")
    dtypes = _floating_dtypes(model) | {like.dtype}
    if dtypes.isdisjoint(_HALF):
        return like.dtype
    return torch.float64 if torch.float64 in dtypes else torch.float32


def in_half_precision(model: nn.Module, x: Tensor) -> bool:
    """Whether weights, buffers or the points ``x`` are float16 or bfloat16."""
    return not (_floating_dtypes(model) | {x.dtype}).isdisjoint(_HALF)


def _floating_dtypes(model: nn.Module) -> set[torch.dtype]:
    tensors = [*model.parameters(), *model.buffers()]
    return {tensor.dtype for tensor in tensors if tensor.is_floating_point()}


def _frozen_copy(model: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """In eval mode; weights are shared, unless they are not in the ``dtype`` asked for."""
    # what torch.compile makes keeps no graph for a second backward pass
    model = getattr(model, "_orig_mod", model)
    copied = twin(model)
    if copied is model:
        if dtype is not None and _floating_dtypes(model) - {dtype}:
            raise ValueError(
                f"{type(model).__name__} cannot be copied and so not be taken over into {dtype}; "
                "convert the model before"
            )
        return model
    copied = _sharing(copied)
    if any(module.training for module in copied.modules()):
        with suppress(NotImplementedError):  # torch.export leaves only the mode it was exported in
            copied.eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied if dtype is None else _converted(copied, dtype)


def _sharing(module: nn.Module) -> nn.Module:
    """A copy whose parameters are tensors of their own over the same memory."""
    aliases: dict[int, Any] = {id(p): _alias(p) for p in module.parameters()}
    with torch.no_grad():  # in which TorchScript's copies of weights have no history
        return copy.deepcopy(module, aliases)


def _alias(parameter: nn.Parameter) -> nn.Parameter:
    values = parameter.detach().clone() if parameter.is_inference() else parameter.detach()
    return nn.Parameter(values, requires_grad=False)


def _converted(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """In place, with tensors that are plain attributes."""
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(part, name, value.to(dtype))
    return module.double() if dtype == torch.float64 else module.float()
