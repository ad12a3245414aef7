"""Gradient descent on all points at once, for nets so small that calls cost more than arithmetic.

Weights and bias of a layer lie side by side in one matrix, whose input has a row of ones, and all
these matrices lie in one buffer. A step is then one product per layer forward, two backward, and a
single update, without an allocation: 14 calls for three layers. Everything is feature-major,
``(features, points)``.
"""

import torch
from torch import Tensor, nn

from lipbounds.threads import one_thread
from nets.training.loss import Loss


class FullBatchDescent:
    """Gradient descent with a constant rate on the mean loss over a fixed set of points.

    Parameters
    ----------
    model
        Linear layers with a ReLU between each two and none behind the last, on the CPU; a layer may
        lack its bias. Every call of :meth:`descend` writes the new parameters into it.
    x
        Points (n, features), in the model's dtype.
    y
        Classes (n,), integers from 0 on.
    loss
        What :func:`nets.training.loss.loss_named` returns.
    rate
        Learning rate.

    Raises
    ------
    ValueError
        For a model of another shape.
    """

    def __init__(self, model: nn.Sequential, x: Tensor, y: Tensor, *, loss: Loss, rate: float) -> None:
        self._layers = _linear_layers(model)
        self._points = len(x)
        self._rate = rate
        self._loss = loss
        shapes = [_joint(layer).shape for layer in self._layers]
        self._flat = torch.cat([_joint(layer).flatten() for layer in self._layers])
        self._gradient = torch.zeros_like(self._flat)
        self._weights = _matrices(self._flat, shapes)
        self._gradients = _matrices(self._gradient, shapes)
        # the last row of the input of every layer is 1 for good: what the biases are multiplied by
        inputs = [x.new_ones(layer.in_features + 1, self._points) for layer in self._layers]
        inputs[0][:-1] = x.T
        self._hidden = [each[:-1] for each in inputs[1:]]
        self._inputs = [each[: w.shape[1]] for each, w in zip(inputs, self._weights, strict=True)]
        classes = self._layers[-1].out_features
        self._onehot = nn.functional.one_hot(y, classes).T.to(x.dtype).contiguous()
        self._outputs = [*self._hidden, x.new_empty(classes, self._points)]
        self._deltas = [torch.empty_like(output) for output in self._outputs]

    @property
    def gradient_norm(self) -> float:
        """2-norm of the gradient that the last step used; 0 before the first step."""
        return self._gradient.to(torch.float64).norm().item() / self._points

    def descend(self, steps: int) -> None:
        """Take ``steps`` steps and write the parameters into the model."""
        with one_thread(), torch.no_grad():
            self._descend(steps)
            for layer, matrix in zip(self._layers, self._weights, strict=True):
                layer.weight.copy_(matrix[:, : layer.in_features])
                if layer.bias is not None:
                    layer.bias.copy_(matrix[:, -1])

    def _descend(self, steps: int) -> None:
        multiply, through_relu = torch.mm, torch.ops.aten.threshold_backward.grad_input
        *hidden, last = zip(self._weights, self._inputs, self._outputs, strict=True)
        logits, last_delta = last[2].unsqueeze(0), self._deltas[-1].unsqueeze(0)
        gradients = [
            (delta, below.T, gradient)
            for delta, below, gradient in zip(self._deltas, self._inputs, self._gradients, strict=True)
        ]
        # what layer k + 1 passes down to the output of layer k
        down = [
            (weight[:, : len(output)].T, above, output, delta)
            for weight, above, output, delta in zip(
                self._weights[1:], self._deltas[1:], self._hidden, self._deltas, strict=False
            )
        ]
        backward = list(zip(down, gradients, strict=False))[::-1]
        scale = -self._rate / self._points
        for _ in range(steps):
            for weight, below, output in hidden:
                multiply(weight, below, out=output)
                output.relu_()
            multiply(last[0], last[1], out=last[2])
            self._loss.gradient(logits, self._onehot, last_delta)
            delta, below, gradient = gradients[-1]
            multiply(delta, below, out=gradient)
            for (weight, above, output, passed), (delta, below, gradient) in backward:
                multiply(weight, above, out=passed)
                through_relu(passed, output, 0, grad_input=passed)
                multiply(delta, below, out=gradient)
            self._flat.add_(self._gradient, alpha=scale)


def _linear_layers(model: nn.Sequential) -> list[nn.Linear]:
    layers = [module for module in model if isinstance(module, nn.Linear)]
    kinds = [type(module) for module in model]
    if not layers or kinds != [nn.Linear, *[nn.ReLU, nn.Linear] * (len(layers) - 1)]:
        raise ValueError("the model must be linear layers with a ReLU between each two of them")
    return layers


def _joint(layer: nn.Linear) -> Tensor:
    """Weights, with the bias as a last column if there is one."""
    if layer.bias is None:
        return layer.weight.detach()
    return torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1).detach()


def _matrices(flat: Tensor, shapes: list[torch.Size]) -> list[Tensor]:
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
