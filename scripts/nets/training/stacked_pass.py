"""Forward and backward pass through a stack of fully connected nets.

For narrow nets a product takes no longer than to call it, so buffers, views and the choice between
the libraries of products are made once for each size of batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from lipbounds.products import takes_onednn, times_transposed

_FEW = 16
"""Rows of a weight, such as classes, up to which a transposed copy of what they give costs little."""


@dataclass(frozen=True)
class Batch:
    """Points ``x`` (features, n) with targets ``y`` (outputs, n), contiguous, and ``rows``, x^T."""

    x: Tensor
    y: Tensor
    rows: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Self:
        """Points (n, features) and targets (n, outputs) as a batch."""
        return cls(x.T.contiguous(), y.T.contiguous(), x.contiguous())

    @cached_property
    def size(self) -> int:
        """Number of points."""
        return self.x.shape[1]

    def empty_like(self) -> "Batch":
        """Memory of its own for another batch of this size."""
        return Batch(*(torch.empty_like(tensor) for tensor in (self.x, self.y, self.rows)))

    def fill(self, x: Tensor, y: Tensor) -> None:
        """Take other points (n, features) and targets (n, outputs), as many."""
        self.rows.copy_(x)
        self.x.copy_(x.T)
        self.y.copy_(y.T)


class StackedPass:
    """Layers ``activation(W h + b)`` of several nets, and the derivatives of a loss behind them.

    ``weights`` are (seeds, out, in) and ``biases`` (seeds, out) or None, one per layer, input side
    first. ``parameters`` are the weights and then the biases that there are; ``gradients`` go with
    them and are overwritten by each :meth:`backward`.
    """

    def __init__(
        self, weights: Sequence[Tensor], biases: Sequence[Tensor | None], output_slope: float
    ) -> None:
        self.weights = [weight.contiguous() for weight in weights]
        self.biases = [None if bias is None else bias.contiguous() for bias in biases]
        self.parameters = [*self.weights, *(bias for bias in self.biases if bias is not None)]
        self.gradients = [torch.empty_like(parameter) for parameter in self.parameters]
        own = iter(self.gradients[len(self.weights) :])
        given = zip(self.weights, self.biases, self.gradients, strict=False)
        last = len(self.weights) - 1
        self._layers = [
            _Layer(
                weight=weight,
                bias=bias,
                weight_gradient=gradient,
                bias_gradient=None if bias is None else next(own),
                slope=output_slope if index == last else 0.0,
            )
            for index, (weight, bias, gradient) in enumerate(given)
        ]
        self._plans: dict[int, _Plan] = {}

    def forward(self, batch: Batch) -> list[Tensor]:
        """Every layer's output behind its activation, (seeds, out, points); overwritten next time."""
        plan = self._plan(batch.size)
        outputs = [plan.first(batch)]
        for step in plan.forward:
            outputs.append(step(outputs[-1]))
        return outputs

    def output_delta(self, points: int) -> Tensor:
        """Memory for the derivative with respect to the output of the last layer."""
        return self._plan(points).deltas[-1]

    def backward(self, batch: Batch, outputs: Sequence[Tensor]) -> None:
        """Write the gradients of a loss whose derivative by the output is in :meth:`output_delta`.

        ``outputs`` are those of :meth:`forward`.
        """
        plan = self._plan(batch.size)
        through_activation(plan.deltas[-1], outputs[-1], self._layers[-1].slope)
        for layer in range(len(self._layers) - 1, 0, -1):
            plan.gradient[layer](outputs[layer - 1])
            plan.back[layer](outputs[layer - 1])
        plan.first_gradient(batch)

    def _plan(self, points: int) -> "_Plan":
        if points not in self._plans:
            self._plans[points] = _Plan(self._layers, points)
        return self._plans[points]


@dataclass(frozen=True)
class _Layer:
    """``activation(W h + b)`` of every seed: (seeds, out, in), (seeds, out) and their gradients."""

    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None
    slope: float

    def activate(self, output: Tensor) -> Tensor:
        """In place."""
        if self.slope == 0:
            return output.relu_()
        return output if self.slope == 1 else nn.functional.leaky_relu_(output, self.slope)


class _Plan:
    """What is done for batches of one size, layer by layer; entries of the first layer are apart."""

    def __init__(self, layers: Sequence[_Layer], points: int) -> None:
        self.deltas = [layer.weight.new_empty(*layer.weight.shape[:2], points) for layer in layers]
        first = layers[0]
        self.first = _first(first, points)
        self.forward = [_forward(layer, points) for layer in layers[1:]]
        self.first_gradient = _first_gradient(first, self.deltas[0])
        pairs = list(zip(layers, self.deltas, strict=True))
        self.gradient = [_gradient(layer, delta, points) for layer, delta in pairs]
        self.back = [
            _back(layer, delta, below)
            for (layer, delta), below in zip(pairs, [self.deltas[0], *self.deltas], strict=False)
        ]


def _first(layer: _Layer, points: int) -> Callable[[Batch], Tensor]:
    """The first layer of all seeds is one product."""
    weight, bias = layer.weight.flatten(0, 1), layer.bias
    shape = (*layer.weight.shape[:2], points)
    if bias is None and takes_onednn(weight, weight.new_empty(points, weight.shape[1])):

        def by_onednn(batch: Batch) -> Tensor:
            return layer.activate(times_transposed(weight, batch.rows).view(shape))

        return by_onednn
    output = weight.new_empty(shape)
    flat, column = output.flatten(0, 1), None if bias is None else bias.view(-1, 1)

    def by_mm(batch: Batch) -> Tensor:
        if column is None:
            torch.mm(weight, batch.x, out=flat)
        else:
            torch.addmm(column, weight, batch.x, out=flat)
        return layer.activate(output)

    return by_mm


def _forward(layer: _Layer, points: int) -> Callable[[Tensor], Tensor]:
    weight = layer.weight
    output = weight.new_empty(*weight.shape[:2], points)
    column = None if layer.bias is None else layer.bias.unsqueeze(2)

    def by_bmm(below: Tensor) -> Tensor:
        if column is None:
            torch.bmm(weight, below, out=output)
        else:
            torch.baddbmm(column, weight, below, out=output)
        return layer.activate(output)

    return by_bmm


def _gradient(layer: _Layer, delta: Tensor, points: int) -> Callable[[Tensor], None]:
    """``delta h^T`` for the outputs h of the layer below, and the sum of delta for the bias."""
    out, bias = layer.weight_gradient, layer.bias_gradient
    inputs = layer.weight.shape[2]
    each = delta.unbind()
    fast = takes_onednn(each[0], delta.new_empty(inputs, points))

    def write(below: Tensor) -> None:
        if bias is not None:
            torch.sum(delta, 2, out=bias)
        if fast:
            products = [times_transposed(*pair) for pair in zip(each, below.unbind(), strict=True)]
            torch.stack(products, out=out)
        else:
            torch.bmm(delta, below.mT, out=out)

    return write


def _first_gradient(layer: _Layer, delta: Tensor) -> Callable[[Batch], None]:
    out, bias = layer.weight_gradient.flatten(0, 1), layer.bias_gradient
    flat = delta.flatten(0, 1)
    fast = takes_onednn(flat, flat.new_empty(layer.weight.shape[2], delta.shape[2]))

    def write(batch: Batch) -> None:
        if bias is not None:
            torch.sum(delta, 2, out=bias)
        if fast:
            out.copy_(times_transposed(flat, batch.x))
        else:
            torch.mm(flat, batch.rows, out=out)

    return write


def _back(layer: _Layer, delta: Tensor, below: Tensor) -> Callable[[Tensor], None]:
    """``W^T delta`` in front of the ReLU of the layer below, whose output is handed over."""
    weight, transposed = layer.weight, layer.weight.mT
    column = below.new_empty(weight.shape[2], weight.shape[1])
    each = below.unbind()
    few = weight.shape[1] <= _FEW
    fast = few and takes_onednn(column, column.new_empty(delta.shape[2], weight.shape[1]))

    def write(output: Tensor) -> None:
        if not fast:
            torch.bmm(transposed, delta, out=below)
            through_activation(below, output, 0.0)
            return
        operands = transposed.contiguous().unbind(), delta.mT.contiguous().unbind()
        for left, right, ahead, out in zip(*operands, output.unbind(), each, strict=True):
            passed = times_transposed(left, right)
            torch.ops.aten.threshold_backward.grad_input(passed, ahead, 0, grad_input=out)

    return write


def through_activation(delta: Tensor, output: Tensor, slope: float) -> None:
    """Multiply ``delta`` in place by the slope of the activation that gave ``output``."""
    if slope == 0:
        torch.ops.aten.threshold_backward.grad_input(delta, output, 0, grad_input=delta)
    elif slope != 1:
        torch.ops.aten.leaky_relu_backward.grad_input(delta, output, slope, True, grad_input=delta)
