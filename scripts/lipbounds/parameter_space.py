"""Norms of the derivatives of a network with respect to its parameters.

Source: Khromov & Singh, ICLR 2024: the Lipschitz constant in parameter space (appendix S3.4) and
the mixed derivative of the linearised network (appendix S3.1). The Gram matrix of the parameter
Jacobian is a block of the neural tangent kernel (Jacot et al., NeurIPS 2018).

All is computed in float64, exact up to rounding for the weights as given; plain fully connected
piecewise linear nets by formulas, others by automatic differentiation.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lipbounds.jacobian import DenseLayer, dense_layers, top_eigenvalues

_CHUNK_ELEMENTS = 1 << 22
"""Elements of the largest temporary of one chunk of points (32 MiB of float64)."""


def parameter_jacobian_norms(model: nn.Module, x: Tensor, batch_size: int | None = None) -> Tensor:
    """Spectral norm of the K x p Jacobian of the outputs with respect to all parameters.

    Parameters
    ----------
    model
        Maps (n, *input) to (n, *output); evaluated in eval mode on a frozen copy. Parameters count
        whether or not they require gradients, shared ones once.
    x
        Points (n, *input).
    batch_size
        Points per chunk; chosen from the size of the temporaries when None.

    Returns
    -------
    Tensor
        float64, shape (n,), on the device of ``x``. The square root of the top eigenvalue of the
        K x K block of the neural tangent kernel at each point.

    Raises
    ------
    ValueError
        For ``x`` without points.

    Notes
    -----
    With h_l the output of layer l and D_l (K, width) the derivative of f with respect to what enters
    the activation of layer l, the kernel of a fully connected net is
    ``sum_l (|h_{l-1}|^2 + 1 if it has a bias) D_l D_l^T``.
    """
    with torch.no_grad():
        layers = _float64_layers(model, x)
        if layers is None:
            grams = _general_kernels(model, x, batch_size)
        else:
            grams = _dense_kernels(layers, x.detach().double().flatten(1), batch_size)
        return torch.cat([_root_of_top(gram) for gram in grams])


def mixed_derivative_norms(model: nn.Module, x: Tensor) -> Tensor:
    """Spectral norm of the derivative by input and parameters as a (K p) x d matrix.

    Row (k, a) and column i hold ``d^2 f_k / d theta_a d x_i``. ``model`` and ``x`` are as for
    :func:`parameter_jacobian_norms`, and so are the result (n,) and the errors. Units: logits per
    unit of input and of parameter.

    Notes
    -----
    The square root of the top eigenvalue of the d x d Gram matrix. With D_l as there and B_l
    (width, d) the derivative of h_l with respect to x, B_0 = I, that matrix is
    ``sum_l |D_l|_F^2 B_{l-1}^T B_{l-1}`` for a fully connected net, because
    ``d^2 f_k / dW_l[a, b] dx_i = D_l[k, a] B_{l-1}[b, i]`` almost everywhere, and biases add
    nothing. For other nets one (p, d) matrix at a time is held in memory.
    """
    with torch.no_grad():
        layers = _float64_layers(model, x)
        if layers is None:
            grams = _general_mixed_grams(model, x)
        else:
            grams = _dense_mixed_grams(layers, x.detach().double().flatten(1))
        return torch.cat([_root_of_top(gram) for gram in grams])


def _root_of_top(grams: Tensor) -> Tensor:
    return top_eigenvalues(grams).clamp_min(0).sqrt()


def _float64_layers(model: nn.Module, x: Tensor) -> list[DenseLayer] | None:
    if x.dim() < 2 or len(x) == 0:
        raise ValueError(f"x must be (n, *input) with n >= 1, not {tuple(x.shape)}")
    layers = dense_layers(model, flat=x.dim() == 2)
    if layers is None or len({layer.weight.data_ptr() for layer in layers}) < len(layers):
        return None
    return [
        DenseLayer(
            layer.weight.double(), None if layer.bias is None else layer.bias.double(), layer.slope
        )
        for layer in layers
    ]


def _dense_kernels(layers: list[DenseLayer], x: Tensor, batch_size: int | None) -> Iterator[Tensor]:
    outputs = len(layers[-1].weight)
    widest = max(max(layer.weight.shape) for layer in layers)
    for chunk in x.split(batch_size or max(1, _CHUNK_ELEMENTS // (outputs * widest))):
        inputs, slopes = _forward(layers, chunk)
        kernel = chunk.new_zeros(len(chunk), outputs, outputs)
        for layer, entering, back in zip(
            reversed(layers), reversed(inputs), _backward(layers, slopes), strict=True
        ):
            scale = entering.square().sum(1) + (layer.bias is not None)
            kernel += scale.view(-1, 1, 1) * (back @ back.mT)
        yield kernel


def _dense_mixed_grams(layers: list[DenseLayer], x: Tensor) -> Iterator[Tensor]:
    inputs = x.shape[1]
    widest = max(max(layer.weight.shape) for layer in layers)
    for chunk in x.split(max(1, _CHUNK_ELEMENTS // (inputs * widest))):
        _, slopes = _forward(layers, chunk)
        norms = [back.square().sum((1, 2)).view(-1, 1, 1) for back in _backward(layers, slopes)][::-1]
        ahead = torch.eye(inputs, dtype=x.dtype, device=x.device)
        gram = norms[0] * ahead
        for layer, slope, norm in zip(layers[:-1], slopes[:-1], norms[1:], strict=True):
            ahead = slope.unsqueeze(2) * (layer.weight @ ahead)
            gram = gram + norm * (ahead.mT @ ahead)
        yield gram


def _forward(layers: list[DenseLayer], x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """What enters each layer, and the slope of each activation, (n, width) per layer."""
    inputs, slopes = [], []
    for layer in layers:
        inputs.append(x)
        x = nn.functional.linear(x, layer.weight, layer.bias)
        slopes.append(torch.where(x > 0, x.new_ones(()), x.new_tensor(layer.slope)))
        x = x * slopes[-1]
    return inputs, slopes


def _backward(layers: list[DenseLayer], slopes: list[Tensor]) -> Iterator[Tensor]:
    """D_l (n, K, width) of the layers, from the last to the first."""
    back = torch.diag_embed(slopes[-1])
    yield back
    for layer, slope in zip(reversed(layers[1:]), reversed(slopes[:-1]), strict=True):
        back = (back @ layer.weight) * slope.unsqueeze(1)
        yield back


Parameters = dict[str, Tensor]


def _function(
    model: nn.Module, x: Tensor
) -> tuple[Callable[[Parameters, Tensor], Tensor], Parameters, Tensor]:
    """The outputs (K,) as a function of parameters and one point, the parameters, and the points."""
    frozen = copy.deepcopy(model).eval().requires_grad_(False).double()

    def outputs(parameters: Parameters, point: Tensor) -> Tensor:
        return torch.func.functional_call(frozen, parameters, (point.unsqueeze(0),)).flatten()

    return outputs, dict(frozen.named_parameters()), x.detach().double()


def _general_kernels(model: nn.Module, x: Tensor, batch_size: int | None) -> Iterator[Tensor]:
    outputs, parameters, points = _function(model, x)
    classes = len(outputs(parameters, points[0]))
    size = classes * sum(value.numel() for value in parameters.values())
    jacobians = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))
    for chunk in points.split(batch_size or max(1, _CHUNK_ELEMENTS // size)):
        parts = (part.reshape(len(chunk), classes, -1) for part in jacobians(parameters, chunk).values())
        kernel = points.new_zeros(len(chunk), classes, classes)
        for part in parts:
            kernel += part @ part.mT
        yield kernel


def _general_mixed_grams(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    outputs, parameters, points = _function(model, x)

    def output(point: Tensor, parameters: Parameters, index: int) -> Tensor:
        return outputs(parameters, point)[index]

    def slopes(parameters: Parameters, point: Tensor, index: int) -> Tensor:
        return torch.func.grad(output)(point, parameters, index).flatten()

    classes = len(outputs(parameters, points[0]))
    for point in points:
        gram = points.new_zeros(point.numel(), point.numel())
        for index in range(classes):
            for part in torch.func.jacrev(slopes)(parameters, point, index).values():
                rows = part.reshape(point.numel(), -1)
                gram += rows @ rows.T
        yield gram.unsqueeze(0)
