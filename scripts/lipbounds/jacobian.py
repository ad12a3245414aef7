"""Norms of the input-output Jacobian of a network at given points.

Source: Khromov & Singh, ICLR 2024, section 2: the Lipschitz constant on a set is the largest
Jacobian norm over it. The norms here are exact up to rounding (about 1e-7 relative for float32
models): the spectral norm is the square root of the top eigenvalue of the Gram matrix of the
Jacobian, accumulated and diagonalised in float64, and not a power iteration, which stops early on
the small Jacobians of freshly initialised nets.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipbounds.eigenvalues import top_eigenvalues
from lipbounds.hooks import has_hooks
from lipbounds.products import times_transposed
from lipbounds.threads import map_single_threaded

_CHUNK_ELEMENTS = 1 << 19
"""Elements of the largest temporary of one chunk of points (2 MiB of float32), which stays in cache."""

_LEAST_POINTS = 256
"""Points of a chunk of wide nets, for which a product of fewer is slow."""

_POINTS_TOGETHER = 1 << 15
"""Points whose Gram matrices are in memory at a time."""


def jacobian_norms(
    model: nn.Module, x: Tensor, *, ord: float = 2, batch_size: int | None = None
) -> Tensor:
    """Norm of the Jacobian of ``model`` at every point of ``x``.

    Parameters
    ----------
    model
        Maps (n, *input) to (n, *output); evaluated in eval mode on a frozen copy, so that flags,
        gradients, statistics and the random state of the model handed in stay as they are.
    x
        Points (n, *input), in the model's dtype and on its device.
    ord
        2 (spectral norm), 1 (largest column sum) or inf (largest row sum) of the K x d matrix
        J[k, i] = d output_k / d input_i, with input and output flattened.
    batch_size
        Points per chunk; chosen from the size of the temporaries when None. Does not change the
        result beyond rounding.

    Returns
    -------
    Tensor
        ``||J(x_i)||`` as float64, shape (n,), on the device of ``x``.

    Raises
    ------
    ValueError
        For another ``ord``, a batch size below 1, or ``x`` without points.
    """
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if x.dim() < 2 or len(x) == 0:
        raise ValueError(f"x must be (n, *input) with n >= 1, not {tuple(x.shape)}")
    dense = dense_layers(model, flat=x.dim() == 2)
    with torch.no_grad():
        if dense is None:
            stacks = _autograd_jacobians(model, x, batch_size)
            norms = [_norms(_reduced(jacobians, ord), ord) for jacobians in stacks]
        else:
            norms = list(_dense_norms(dense, x.detach().flatten(1), ord, batch_size))
        return torch.cat(norms)


def _reduced(matrices: Tensor, ord: float) -> Tensor:
    """What gives the norms of matrices (n, K, d), in float64: for 2 the smaller of their Gram matrices
    (n, k, k), for 1 and inf the sums (n, d or K)."""
    if ord != 2:
        return matrices.to(torch.float64).abs().sum(1 if ord == 1 else 2)
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mT
    if matrices.device.type == "mps":  # no float64 there
        matrices = matrices.cpu()
    wide = matrices.to(torch.float64)
    return wide @ wide.mT


def _norms(reduced: Tensor, ord: float) -> Tensor:
    return top_eigenvalues(reduced).clamp_(min=0).sqrt_() if ord == 2 else reduced.amax(1)


Product = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DenseLayer:
    """``x -> activation(x W^T + b)`` with the ``weight`` (out, in), detached."""

    weight: Tensor
    bias: Tensor | None
    slope: float
    """Slope of the activation behind the layer for negative values; 1 without activation."""


def dense_layers(model: nn.Module, *, flat: bool) -> list[DenseLayer] | None:
    """The layers of a plain fully connected piecewise linear net, or None for anything else.

    ``flat`` says that inputs are vectors; others need a Flatten in front.
    """
    if type(model) is not nn.Sequential or any(map(has_hooks, model.modules())):
        return None
    layers: list[DenseLayer] = []
    for module in model:
        slope = _slope(module)
        if type(module) is nn.Linear:
            layers.append(DenseLayer(module.weight.detach(), module.bias, 1.0))
        elif slope is not None and layers:
            last = layers.pop()
            if slope != 1 and last.slope != 1:
                return None
            layers.append(DenseLayer(last.weight, last.bias, min(slope, last.slope)))
        elif type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            flat = True
        else:
            return None
        if not flat:
            return None
    return layers or None


def _slope(module: nn.Module) -> float | None:
    if type(module) is nn.ReLU:
        return 0.0
    if type(module) is nn.LeakyReLU and 0 <= module.negative_slope <= 1:
        return module.negative_slope
    if type(module) in (nn.Identity, nn.Dropout):
        return 1.0
    return None


def _dense_norms(
    layers: list[DenseLayer], x: Tensor, ord: float, batch_size: int | None
) -> Iterator[Tensor]:
    """Norms at many chunks of points at a time, which on a CPU are shared out among the threads."""
    jacobians = _dense_jacobians(layers, len(x))

    def reduced(chunk: Tensor) -> Tensor:
        with torch.no_grad():  # what holds in the calling thread says nothing to others
            return _reduced(jacobians(chunk), ord)

    alone = x.device.type == "cpu" and len(x) >= torch.get_num_threads()
    spread = map_single_threaded if alone else map
    for points in x.split(_POINTS_TOGETHER):
        chunks = points.split(batch_size or _dense_batch_size(layers, points))
        stacks = list(spread(reduced, chunks))
        yield _norms(torch.cat(stacks) if len(stacks) > 1 else stacks[0], ord)


def _dense_jacobians(layers: list[DenseLayer], points: int) -> Callable[[Tensor], Tensor]:
    """Jacobians (n, K, d) at inputs (n, d) as matrix products over the activation patterns.

    With one hidden layer J = sum_h m_h w2_h w1_h^T, which for all points is one product of the
    patterns (n, H) with the table of outer products (K d, H); it pays for more ``points`` than inputs.
    Otherwise the layers' weights are multiplied from the output side, all points and classes at once.
    """
    *hidden, last = layers
    outputs, inputs = len(last.weight), layers[0].weight.shape[1]
    many = points >= inputs
    times = times_transposed if many else nn.functional.linear
    table = _outer_products(*layers) if len(layers) == 2 and many else None
    weights = [layer.weight.T.contiguous() if many else layer.weight.T for layer in hidden]

    def jacobians(x: Tensor) -> Tensor:
        slopes = _activation_slopes(layers, x, times)
        if table is not None:
            product = times(slopes[0], table).view(-1, outputs, inputs)
        else:
            product = last.weight.repeat(len(x), 1, 1)
            for weight, slope in zip(reversed(weights), reversed(slopes[: len(hidden)]), strict=True):
                masked = product.mul_(slope.unsqueeze(1)).flatten(0, 1)
                product = times(masked, weight).view(len(x), outputs, -1)
        return product if last.slope == 1 else product.mul_(slopes[-1].unsqueeze(2))

    return jacobians


def _dense_batch_size(layers: list[DenseLayer], x: Tensor) -> int:
    outputs, inputs = len(layers[-1].weight), layers[0].weight.shape[1]
    widest = max(len(layer.weight) for layer in layers)
    per_point = max(outputs * inputs, widest if len(layers) == 2 else outputs * widest)
    if x.device.type != "cpu":
        return max(1, (1 << 22) // per_point)
    most = max(_LEAST_POINTS, _CHUNK_ELEMENTS // per_point)
    return math.ceil(len(x) / math.ceil(len(x) / most))


def _activation_slopes(layers: list[DenseLayer], x: Tensor, times: Product) -> list[Tensor]:
    """Slope of every activation at every point, one tensor (n, width) per layer."""
    slopes = []
    for layer in layers if layers[-1].slope != 1 else layers[:-1]:
        x = times(x, layer.weight)
        if layer.bias is not None:
            x += layer.bias
        if layer.slope == 0:
            slope = x.relu_().sign()
        else:
            # tensors, because two numbers would make it float32 whatever x is
            slope = torch.where(x > 0, x.new_ones(()), x.new_tensor(layer.slope))
            x.mul_(slope)
        slopes.append(slope)
    return slopes


def _outer_products(first: DenseLayer, second: DenseLayer) -> Tensor:
    """Table (K d, H): column h is the flattened outer product of column h of W2 and row h of W1."""
    return (second.weight.unsqueeze(1) * first.weight.T.contiguous()).flatten(0, 1)


def _autograd_jacobians(model: nn.Module, x: Tensor, batch_size: int | None) -> Iterator[Tensor]:
    """Jacobians (chunk, K, d) of any model, one backward pass per output.

    The copy is frozen, so no derivative with respect to parameters is computed, and laid out
    channels-last, which the convolutions of oneDNN and cuDNN prefer.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    if x.dim() == 4:
        frozen = frozen.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    for chunk in x.split(batch_size or _autograd_batch_size(x)):
        points = chunk.detach().requires_grad_()
        with torch.enable_grad(), _full_precision(chunk):
            sums = frozen(points).flatten(1).sum(0).unbind()
            rows = [
                torch.autograd.grad(total, points, retain_graph=k + 1 < len(sums))[0]
                for k, total in enumerate(sums)
            ]
        yield torch.stack([row.flatten(1) for row in rows], 1)


def _full_precision(x: Tensor) -> AbstractContextManager[None]:
    """On a GPU, convolutions in float32 and not in the TF32 that cuDNN would take by default."""
    if not x.is_cuda:
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _autograd_batch_size(x: Tensor) -> int:
    """Points whose activations stay in cache on a CPU (64 for 3 x 32 x 32 images), more on a GPU."""
    elements = 1 << 20 if x.is_cuda else 64 * 3 * 32 * 32
    return max(8, elements // x[0].numel())
