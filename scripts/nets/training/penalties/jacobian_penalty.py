"""A penalty on the largest Jacobian norm over the points of a batch.

Source: Khromov & Singh, ICLR 2024, appendix S3.16: the mean loss plus a strength times the lower
bound of the Lipschitz constant on the batch, the largest spectral norm of the Jacobian of the logits
with respect to the input.

With the patterns of the ReLUs fixed, which they are almost everywhere, the norm is ``u^T J v`` for
the top singular vectors at the largest point, a product of the layers' weights: its gradient has
rank one in every layer. Building the Jacobians takes ``2 B K d H`` floating-point operations per
seed for one hidden layer of H units, several times those of an update.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.jacobian import jacobian_norms
from nets.settings import PositiveFloat, Section
from nets.training.recipe import Layers

_CANDIDATES = 16
"""Points per exact computation of norms, most promising first."""


@dataclass(frozen=True)
class Peak:
    """Per seed, the largest Jacobian norm (seeds,), float64, and its gradient in rank-one form.

    The gradient of layer l is ``above[l] below[l]^T``, (seeds, out) and (seeds, in).
    """

    norm: Tensor
    above: list[Tensor]
    below: list[Tensor]

    def larger(self, other: "Peak") -> "Peak":
        """The larger of two peaks, seed by seed."""
        other_wins = other.norm > self.norm
        above, below = (
            [torch.where(other_wins.view(-1, 1), b, a) for a, b in zip(*pair, strict=True)]
            for pair in ((self.above, other.above), (self.below, other.below))
        )
        return Peak(torch.maximum(self.norm, other.norm), above, below)


class Settings(Section):
    """A penalty on the lower Lipschitz bound of every batch (Khromov & Singh 2024, S3.16)."""

    work: ClassVar[float] = 6

    strength: PositiveFloat = Field(
        description="the loss grows by this times the largest Jacobian norm over the batch"
    )

    def stacked(self) -> "StackedPeak":
        """For stacks of fully connected nets."""
        return StackedPeak(self.strength)

    def plain(self) -> "PlainPeak":
        """For any net."""
        return PlainPeak(self.strength)


@dataclass(frozen=True)
class PeakTerm:
    """``strength`` times the largest norm."""

    strength: float
    peak: Peak

    @property
    def values(self) -> Tensor:
        """(seeds,), float64."""
        return self.strength * self.peak.norm

    def add_gradient(self, gradients: Sequence[Tensor], factor: float) -> None:
        """Add ``factor`` times the gradient to ``gradients``, in place."""
        for gradient, above, below in zip(gradients, self.peak.above, self.peak.below, strict=True):
            gradient.baddbmm_(above.unsqueeze(2), below.unsqueeze(1), alpha=self.strength * factor)

    def larger(self, other: "PeakTerm") -> "PeakTerm":
        """That of both sets of points."""
        return PeakTerm(self.strength, self.peak.larger(other.peak))


class StackedPeak:
    """The penalty on stacks, with memory that is kept from one batch to the next."""

    of_points = True

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self._scratch = Scratch()

    def term(self, layers: Layers) -> PeakTerm:
        """The penalty at the points of the batch. Biases do not matter to it."""
        slope = layers.output_slope
        return PeakTerm(self.strength, find_peak(layers.weights, layers.outputs, slope, self._scratch))


@dataclass(frozen=True)
class PlainPeak:
    """The penalty on any net, in eval mode."""

    strength: float
    of_points: bool = True

    def value(self, net: nn.Module, x: Tensor) -> Tensor:
        """The penalty at points (n, *shape).

        With the top singular vectors u and v at the steepest point, ``u^T J v`` has the value and
        the gradient of the norm.
        """
        training = net.training
        net.eval()
        with torch.enable_grad():
            steepest = int(jacobian_norms(net, x).argmax())
            point = x[steepest : steepest + 1].detach().requires_grad_()
            logits = net(point).flatten()
            rows = [
                torch.autograd.grad(logit, point, retain_graph=True)[0].flatten() for logit in logits
            ]
            left, _, right = torch.linalg.svd(_finite(torch.stack(rows)), full_matrices=False)
            u, v = left[:, 0].to(logits.dtype), right[0].to(logits.dtype)
            (pulled,) = torch.autograd.grad(logits, point, u, create_graph=True)
            found = self.strength * (pulled.flatten() @ v)
        net.train(training)
        return found


@dataclass(frozen=True)
class Scratch:
    """Memory that is used again: to map that of a few megabytes anew costs as much as to fill it."""

    _buffers: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor, the same one for the same name and shape."""
        if (name, shape) not in self._buffers:
            self._buffers[name, shape] = like.new_empty(shape)
        return self._buffers[name, shape]


def find_peak(
    weights: Sequence[Tensor], outputs: Sequence[Tensor], output_slope: float, scratch: Scratch
) -> Peak:
    """The point of largest Jacobian norm of each net.

    Parameters
    ----------
    weights
        (seeds, out, in) per layer, input side first; at least two layers.
    outputs
        Every layer's output behind its activation at all points, (seeds, out, points).
    output_slope
        Slope of the activation on the output for negative logits.
    scratch
        Kept from one call to the next.
    """
    logits = outputs[-1]
    final_slopes = torch.where(logits > 0, logits.new_ones(()), logits.new_tensor(output_slope))
    jacobians = _jacobians(weights, outputs, final_slopes, scratch)
    largest = [_largest(own) for own in jacobians]
    at = torch.stack([jacobian[i] for jacobian, i in zip(jacobians, largest, strict=True)])
    left, norms, right = torch.linalg.svd(_finite(at), full_matrices=False)
    slopes = [
        torch.stack([own[:, i] for own, i in zip(output, largest, strict=True)])
        for output in (*outputs[:-1], final_slopes)
    ]
    hidden = [slope.sign_() for slope in slopes[:-1]]
    below = [right[:, 0].to(at.dtype)]
    for weight, slope in zip(weights, hidden, strict=False):
        below.append(_times(weight, below[-1]).mul_(slope))
    above = [left[:, :, 0].to(at.dtype) * slopes[-1]]
    for weight, slope in zip(reversed(weights[1:]), reversed(hidden), strict=True):
        above.append(_times(weight.mT, above[-1]).mul_(slope))
    return Peak(norms[:, 0], above[::-1], below)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return torch.bmm(matrices, vectors.unsqueeze(2)).squeeze(2)


def _jacobians(
    weights: Sequence[Tensor], outputs: Sequence[Tensor], final_slopes: Tensor, scratch: Scratch
) -> Tensor:
    """Jacobians (seeds, points, K, d) from the patterns of the activations.

    The two last layers are one product of the patterns with the table of outer products of the
    columns of the last weight with the rows of the one before; the others follow one by one.
    """
    *lower, last = weights
    seeds, classes, points = final_slopes.shape
    columns, rows = last.mT.unsqueeze(3), lower[-1].unsqueeze(2)
    table = scratch.take("table", (*columns.shape[:3], rows.shape[3]), last)
    torch.mul(columns, rows, out=table)
    product = scratch.take("product", (seeds, points, classes * rows.shape[3]), last)
    torch.bmm(_patterns(outputs[-2], scratch).mT, table.flatten(2), out=product)
    for layer in range(len(lower) - 2, -1, -1):
        patterns = _patterns(outputs[layer], scratch).mT.unsqueeze(2)
        product = product.view(seeds, points, classes, -1).mul_(patterns).flatten(1, 2)
        below = scratch.take(f"layer {layer}", (*product.shape[:2], weights[layer].shape[2]), last)
        product = torch.bmm(product, weights[layer], out=below)
    return product.view(seeds, points, classes, -1).mul_(final_slopes.mT.unsqueeze(3))


def _patterns(output: Tensor, scratch: Scratch) -> Tensor:
    """1 where a ReLU passes its input on, else 0."""
    return torch.sign(output, out=scratch.take("patterns", tuple(output.shape), output))


def _largest(jacobians: Tensor) -> int:
    """Which of (points, K, d) has the largest spectral norm.

    Every norm is at most ``||(J J^T)^2||_F^(1/4)``, and few bounds exceed the largest norm, so
    eigenvalues are needed of a few candidates only.
    """
    if jacobians.shape[1] > jacobians.shape[2]:
        jacobians = jacobians.mT
    gram = torch.bmm(jacobians, jacobians.mT)
    bounds = torch.linalg.matrix_norm(torch.bmm(gram, gram)).sqrt_()
    best, where = -math.inf, 0
    for candidates in bounds.argsort(descending=True).split(_CANDIDATES):
        if bounds[candidates[0]] < best:
            break
        chosen = _finite(jacobians[candidates])
        value, position = torch.linalg.eigvalsh(chosen @ chosen.mT)[:, -1].max(0)
        if value > best:
            best, where = float(value), int(candidates[position])
    return where


def _finite(matrices: Tensor) -> Tensor:
    """In float64, and without the NaN of diverged nets, which LAPACK refuses."""
    return matrices.to(torch.float64).nan_to_num_(0, 0, 0)
