"""Norms of the input-output Jacobian of a network at given points.

Source: Khromov & Singh, ICLR 2024, section 2: the Lipschitz constant on a set is the largest
Jacobian norm over it. The norms here are exact up to rounding (about 1e-7 relative for float32
models): the spectral norm is the square root of the top eigenvalue of the Gram matrix of the
Jacobian, accumulated and diagonalised in float64, and not a power iteration, which stops early on
the small Jacobians of freshly initialised nets. Jacobians with many rows and columns are never written
down: their norms come from products with them, to the error estimate of :mod:`lipbounds.matrix_free`.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lipbounds.eigenvalues import top_eigenvalues
from lipbounds.frozen import Frozen, in_half_precision
from lipbounds.hooks import has_hooks
from lipbounds.matrix_free import Products, graph_products, top_singular
from lipbounds.products import times_transposed
from lipbounds.soundness import check_model, refuse_norms, refuse_points
from lipbounds.threads import map_single_threaded
from lipbounds.twin import refuse_missing_weights, undisturbed

_CHUNK_ELEMENTS = 1 << 19
"""Elements of the largest temporary of one chunk of points (2 MiB of float32), which stays in cache."""

_LEAST_POINTS = 256
"""Points of a chunk of wide nets, for which a product of fewer is slow."""

_POINTS_TOGETHER = 1 << 15
"""Points whose Gram matrices are in memory at a time."""


_EXPLICIT = 96
"""Rows or columns, the fewer of the two, up to which Jacobians are written down for their 2-norms:
more passes than an iteration with products needs."""

_EXPLICIT_DENSE = 128
"""The same for dense nets, whose Jacobians are products of matrices."""

_MATRIX_ELEMENTS = 1 << 27
"""Elements of all explicit Jacobians in memory at a time, where there are more points than one."""

_TABLE_ELEMENTS = 1 << 28
"""Elements of the largest table of outer products (1 GiB of float32)."""

_ERROR = {torch.float32: 1e-7, torch.float64: 1e-12}
"""Relative error estimate at which the iteration stops."""

_TOLERATED = 1e-6
"""Relative error estimate above which a norm is computed anew from the explicit Jacobian."""


def jacobian_norms(
    model: nn.Module, x: Tensor, *, ord: float = 2, batch_size: int | None = None
) -> Tensor:
    """Norm of the Jacobian of ``model`` at every point of ``x``.

    Parameters
    ----------
    model
        Maps (n, *input) to (n, *output), or to anything nested of such tensors, all of whose floating
        entries are the outputs; evaluated in eval mode on a frozen copy, so that flags, gradients,
        statistics and the random state of the model handed in stay as they are. In half precision the
        weights are taken over into float32 exactly.
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
        ``||J(x_i)||`` as float64, shape (n,), on the device of ``x``. Exact up to rounding where K or d
        is small (up to 96, 128 for dense nets) and for 1 and inf. Otherwise, by an iteration, not above
        the norm beyond rounding, and below it by at most 1e-6 relative as estimated from residuals.

    Raises
    ------
    ValueError
        For another ``ord``, a batch size below 1, ``x`` without points or with entries that are NaN or
        infinite, and norms that are not finite; for a model whose samples mix, that is random in eval
        mode, whose gradients contradict its outputs (see :func:`lipbounds.soundness.check_model`), or
        without floating outputs.

    Warns
    -----
    RuntimeWarning
        Where the estimated error is above 1e-6 and the Jacobian is too large to be written down.
    """
    check_arguments(x, ord, batch_size)
    with undisturbed(model):
        norms = JacobianNorms(model, x)(x, ord=ord, batch_size=batch_size)
    refuse_norms(norms)
    return norms


def check_arguments(x: Tensor, ord: float, batch_size: int | None) -> None:
    """Raises ValueError for arguments that :func:`jacobian_norms` refuses at first sight."""
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"x must be (n, *input) with n >= 1 and entries, not {tuple(x.shape)}")


class JacobianNorms:
    """:func:`jacobian_norms` of one model at one set of points after the other.

    The model is copied and checked once, at the points ``like`` (n, *input). Calls may raise what
    :func:`jacobian_norms` does.
    """

    def __init__(self, model: nn.Module, like: Tensor) -> None:
        refuse_points(like)
        refuse_missing_weights(model)
        self._model = model
        self.most_points: int | None = None
        """Points that the model takes at a time; None for any number."""
        self._dense = _exact_layers(model, like)
        self._frozen: Frozen | None = None
        if self._dense is None:
            self._frozen = Frozen(model, like)
            check_model(model, self._frozen, like)
            self.most_points = self._frozen.most_points

    def check(self, point: Tensor) -> None:
        """Raises ValueError where the gradients at and beside a point (*input) are not slopes."""
        if self._frozen is not None:
            check_model(self._model, self._frozen, point.unsqueeze(0))

    def __call__(self, x: Tensor, *, ord: float = 2, batch_size: int | None = None) -> Tensor:
        """Norms (n,) in float64 at points ``x`` (n, *input), NaN where the Jacobian is not finite."""
        check_arguments(x, ord, batch_size)
        refuse_points(x)
        try:
            return self._norms(x, ord, batch_size)
        except torch.linalg.LinAlgError:  # what is not finite at one point is at that point alone
            if len(x) == 1:
                return torch.full((1,), math.nan, dtype=torch.float64, device=x.device)
            return torch.cat([self(point, ord=ord) for point in x.split(1)])

    def _norms(self, x: Tensor, ord: float, batch_size: int | None) -> Tensor:
        with torch.no_grad():
            if self._dense is not None:
                return _of_dense(self._dense, x.detach().flatten(1), ord, batch_size)
            assert self._frozen is not None
            with self._frozen.computing(x.device):
                return torch.cat(list(_of_any(self._frozen, x, ord, batch_size)))


def _exact_layers(model: nn.Module, like: Tensor) -> "list[DenseLayer] | None":
    """Those of :func:`dense_layers`, in float32 if they are in half precision."""
    layers = dense_layers(model, flat=like.dim() == 2)
    if layers is None or not in_half_precision(model, like):
        return layers
    dtype = Frozen(model, like).dtype
    return [
        replace(
            layer,
            weight=layer.weight.to(dtype),
            bias=None if layer.bias is None else layer.bias.to(dtype),
        )
        for layer in layers
    ]


class _Reduced(NamedTuple):
    """What gives the norms of n matrices (K, d), in float64: for 2 the smaller of their Gram matrices
    (n, k, k), for 1 and inf the sums (n, d or K). ``scale`` (n,) multiplies the norms, if not None."""

    values: Tensor
    scale: Tensor | None


def _reduced(matrices: Tensor, ord: float) -> _Reduced:
    """Of matrices (n, K, d)."""
    if matrices.device.type == "mps":  # no float64 there
        matrices = matrices.cpu()
    if ord != 2:
        return _Reduced(matrices.to(torch.float64).abs().sum(1 if ord == 1 else 2), None)
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mT
    scale = _scale(matrices) if matrices.dtype == torch.float64 else None
    if scale is not None:
        matrices = matrices / scale.view(-1, 1, 1)
    wide = matrices.to(torch.float64)
    return _Reduced(wide @ wide.mT, scale)


_SQUARED_IN_RANGE = 1e-120, 1e120
"""Largest entries whose squares, and sums of them, are in the range of float64 with all their digits."""


def _scale(matrices: Tensor) -> Tensor | None:
    """Powers of two (n,) near the largest entries of float64 matrices; None where squares need none."""
    largest = matrices.abs().amax((1, 2))
    low, high = _SQUARED_IN_RANGE
    outside = ((largest < low) & (largest > 0)) | ((largest > high) & largest.isfinite())
    if not outside.any():
        return None
    powers = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - 1)
    return torch.where(outside, powers, 1)


def _norms(reduced: list[_Reduced], ord: float) -> Tensor:
    stacks = [part.values for part in reduced]
    values = torch.cat(stacks) if len(stacks) > 1 else stacks[0]
    if ord != 2:
        return values.amax(1)
    norms = top_eigenvalues(values).clamp_(min=0).sqrt_()
    if any(part.scale is not None for part in reduced):
        ones = [torch.ones(len(part.values)).to(norms) for part in reduced]
        scales = [
            one if part.scale is None else part.scale for one, part in zip(ones, reduced, strict=True)
        ]
        norms *= torch.cat(scales)
    return norms


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


def _of_dense(layers: list[DenseLayer], x: Tensor, ord: float, batch_size: int | None) -> Tensor:
    """Norms (n,) at inputs (n, d)."""
    x = x.to(layers[0].weight.dtype) if x.dtype in (torch.float16, torch.bfloat16) else x
    outputs, inputs = len(layers[-1].weight), layers[0].weight.shape[1]
    autocast = torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if autocast else nullcontext():
        if ord != 2 or min(outputs, inputs) <= _EXPLICIT_DENSE or x.device.type == "mps":
            return torch.cat(list(_dense_norms(layers, x, ord, batch_size)))
        size = batch_size or _iterated_batch_size(outputs, inputs)
        return torch.cat([_iterated_dense(layers, points) for points in x.split(size)])


def _iterated_dense(layers: list[DenseLayer], x: Tensor) -> Tensor:
    """Norms (n,) from products with the layers' weights."""
    slopes = _activation_slopes(layers, x, nn.functional.linear)

    def times(vectors: Tensor) -> Tensor:
        for number, layer in enumerate(layers):
            vectors = vectors @ layer.weight.T
            if number < len(slopes):
                vectors = vectors * slopes[number]
        return vectors

    def adjoint(vectors: Tensor) -> Tensor:
        for number, layer in reversed(list(enumerate(layers))):
            if number < len(slopes):
                vectors = vectors * slopes[number]
            vectors = vectors @ layer.weight
        return vectors

    products = Products(times, adjoint, len(layers[-1].weight), layers[0].weight.shape[1])
    return _iterated(products, x, lambda few: torch.cat(list(_dense_norms(layers, few, 2, None))))


def _iterated(products: Products, points: Tensor, explicit: Callable[[Tensor], Tensor]) -> Tensor:
    """Norms (n,) from ``products`` with the Jacobians at ``points``, and those whose error stays large
    from the ``explicit`` ones, unless these are too large."""
    shorter = min(products.rows, products.columns)
    fits = products.rows * products.columns <= _MATRIX_ELEMENTS
    found = top_singular(
        products,
        points,
        tolerance=_ERROR[points.dtype],
        most_steps=shorter // 2 if fits else None,  # as many passes as for an explicit one
    )
    late = (found.errors > _TOLERATED).to(points.device)
    if not late.any():
        return found.values
    if fits:
        return found.values.index_put((late,), explicit(points[late]))
    warnings.warn(
        f"norms of Jacobians may be up to {found.errors.max().item():.1e} relative larger than found",
        RuntimeWarning,
        stacklevel=2,
    )
    return found.values


def _iterated_batch_size(outputs: int, inputs: int) -> int:
    """Points whose bases of some hundred vectors take 128 MiB of float32."""
    return max(1, (1 << 25) // (100 * (outputs + inputs)))


def _dense_norms(
    layers: list[DenseLayer], x: Tensor, ord: float, batch_size: int | None
) -> Iterator[Tensor]:
    """Norms at many chunks of points at a time, which on a CPU are shared out among the threads."""
    jacobians = _dense_jacobians(layers, len(x))

    def reduced(chunk: Tensor) -> _Reduced:
        with torch.no_grad():  # what holds in the calling thread says nothing to others
            return _reduced(jacobians(chunk), ord)

    alone = x.device.type == "cpu" and len(x) >= torch.get_num_threads()
    spread = map_single_threaded if alone else map
    for points in x.split(_POINTS_TOGETHER):
        chunks = points.split(batch_size or _dense_batch_size(layers, points))
        yield _norms(list(spread(reduced, chunks)), ord)


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
    fits = outputs * inputs * len(layers[0].weight) <= _TABLE_ELEMENTS
    table = _outer_products(*layers) if len(layers) == 2 and many and fits else None
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
    fitting = max(1, _MATRIX_ELEMENTS // per_point)
    most = min(fitting, max(_LEAST_POINTS, _CHUNK_ELEMENTS // per_point))
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


def _of_any(frozen: Frozen, x: Tensor, ord: float, batch_size: int | None) -> Iterator[Tensor]:
    """Norms of chunks of points of any model, by backward passes through graphs of the chunks."""
    outputs, inputs = frozen(frozen.prepared(x[:1])).shape[1], x[0].numel()
    if ord != 2 or min(outputs, inputs) <= _EXPLICIT or x.device.type == "mps":
        for chunk in frozen.chunks(x, batch_size or _autograd_batch_size(x, outputs)):
            yield _norms([_reduced(explicit_jacobians(frozen, chunk)[0], ord)], ord)
        return
    size = min(_autograd_batch_size(x, 1), _iterated_batch_size(outputs, inputs))
    for chunk in frozen.chunks(x, batch_size or size):
        yield _iterated_any(frozen, chunk)


def _iterated_any(frozen: Frozen, chunk: Tensor) -> Tensor:
    """Norms (n,) by products with the Jacobians, by explicit ones where these are not to be had."""

    def explicit(points: Tensor) -> Tensor:
        parts = frozen.chunks(points, _autograd_batch_size(points, frozen_outputs))
        return torch.cat(
            [_norms([_reduced(explicit_jacobians(frozen, part)[0], 2)], 2) for part in parts]
        )

    points, outputs = _graph(frozen, chunk)
    frozen_outputs = outputs.shape[1]
    if not _depends(outputs, points):
        return torch.zeros(len(chunk), dtype=torch.float64, device=chunk.device)
    try:
        products = graph_products(outputs, points)
    except RuntimeError:  # operators whose backward passes have no derivatives
        return explicit(chunk)
    return _iterated(products, points.detach(), explicit)


def _graph(frozen: Frozen, chunk: Tensor) -> tuple[Tensor, Tensor]:
    """Points that require gradients, and outputs (n, K) at them."""
    points = chunk.detach().requires_grad_()
    with torch.enable_grad():
        return points, frozen(points)


def _depends(outputs: Tensor, points: Tensor) -> bool:
    """Whether autograd leads from outputs to points at all."""
    if not outputs.requires_grad:
        return False
    with torch.enable_grad():
        total = outputs.sum()
    return torch.autograd.grad(total, points, retain_graph=True, allow_unused=True)[0] is not None


def explicit_jacobians(frozen: Frozen, chunk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Jacobians (n, K, d) at prepared points, the points and the outputs (n, K) with their graph.

    One backward pass per output, or per input where there are far fewer of them.
    """
    points, outputs = _graph(frozen, chunk)
    if not outputs.requires_grad:
        return outputs.new_zeros(*outputs.shape, chunk[0].numel()), points, outputs
    if 3 * chunk[0].numel() < outputs.shape[1] and _depends(outputs, points):
        try:
            return _columns(graph_products(outputs, points), points), points, outputs
        except RuntimeError:  # operators whose backward passes have no derivatives
            pass
    with torch.enable_grad():
        sums = outputs.sum(0).unbind()
    rows = [
        torch.autograd.grad(total, points, retain_graph=True, allow_unused=True)[0] for total in sums
    ]
    found = [torch.zeros_like(points) if row is None else row for row in rows]
    return torch.stack([row.flatten(1) for row in found], 1), points, outputs


def _columns(products: Products, points: Tensor) -> Tensor:
    unit = torch.eye(products.columns, dtype=points.dtype, device=points.device)
    return torch.stack([products.times(row.expand(len(points), -1)) for row in unit], 2)


def leading_gradients(frozen: Frozen, x: Tensor, ord: float) -> Tensor:
    """Gradients of the Jacobian norms at points ``x`` (n, *input), of the same shape.

    That is of ``u^T J v`` for the leading singular vectors u and v, or signs and unit vectors for the
    orders 1 and inf. Zero where the Jacobian does not change.

    Raises
    ------
    RuntimeError
        Where a backward pass has no derivative.
    """
    with torch.no_grad(), frozen.computing(x.device):
        outputs = frozen(frozen.prepared(x[:1])).shape[1]
        parts = frozen.chunks(x, _autograd_batch_size(x, outputs))
        return torch.cat([_leading_gradients(frozen, part, ord) for part in parts]).to(x.dtype)


def _leading_gradients(frozen: Frozen, chunk: Tensor, ord: float) -> Tensor:
    points, outputs = _graph(frozen, chunk)
    if not _depends(outputs, points):
        return torch.zeros_like(chunk)
    if ord == 2 and min(outputs.shape[1], chunk[0].numel()) > _EXPLICIT:
        found = top_singular(graph_products(outputs, points), chunk, tolerance=1e-3)
        left, right = found.left, found.right
    else:
        jacobians, points, outputs = explicit_jacobians(frozen, chunk)
        left, right = _extreme_vectors(jacobians, ord)
    with torch.enable_grad():
        (rows,) = torch.autograd.grad(outputs, points, left, create_graph=True)
        if not rows.requires_grad:
            return torch.zeros_like(chunk)
        total = (rows.flatten(1) * right).sum()
        (gradient,) = torch.autograd.grad(total, points, allow_unused=True)
    return torch.zeros_like(chunk) if gradient is None else gradient


def _extreme_vectors(jacobians: Tensor, ord: float) -> tuple[Tensor, Tensor]:
    """u (n, K) and v (n, d) with ``u^T J v`` the norm of each Jacobian (n, K, d)."""
    if ord == 2:
        left, _, right = torch.linalg.svd(jacobians, full_matrices=False)
        return left[:, :, 0], right[:, 0]
    sums = jacobians.abs().sum(1 if ord == 1 else 2)
    index = sums.argmax(1)
    picked = nn.functional.one_hot(index, sums.shape[1]).to(jacobians.dtype)
    samples = torch.arange(len(jacobians), device=jacobians.device)
    if ord == 1:
        return jacobians[samples, :, index].sign(), picked
    return picked, jacobians[samples, index].sign()


def _autograd_batch_size(x: Tensor, outputs: int) -> int:
    """Points whose activations stay in cache on a CPU (64 for 3 x 32 x 32 images), more on a GPU, as
    far as their Jacobians fit into memory."""
    elements = 1 << 20 if x.is_cuda else 64 * 3 * 32 * 32
    fitting = max(1, _MATRIX_ELEMENTS // (outputs * x[0].numel()))
    return min(fitting, max(8, elements // x[0].numel()))
