"""Forward and backward passes of several fully connected nets at once.

All nets of a stack share architecture, data and batch order and differ in their weights only, so
one call computes all of them. Everything is laid out feature-major, ``(seeds, features, points)``:
the first layer of the whole stack is then a single matrix product, soft-max runs along contiguous
memory, and no buffer is allocated in the loop. Per update and seed the cost is
``2 B (3 p - p_1)`` floating-point operations for batch size B, p weights and p_1 of them in the
first layer (no derivative with respect to the input is needed).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nets.training.loss import Loss

if TYPE_CHECKING:  # parts are handed in: a run depends on those that it has, and on no others
    from nets.training.optimisers.adam import Adam
    from nets.training.penalties.jacobian_penalty import JacobianPenalty, Peak, Scratch
    from nets.training.penalties.regularisation import LipschitzPenalty
    from nets.training.penalties.spectral_cap import SpectralCap

_CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True)
class Batch:
    """Points ``x`` (features, n) and one-hot targets ``y`` (classes, n), both contiguous float32."""

    x: Tensor
    y: Tensor

    @property
    def size(self) -> int:
        """Number of points."""
        return self.x.shape[1]


@dataclass(frozen=True)
class Evaluation:
    """Per seed, over a whole data set: mean loss, error rate and norm of the mean-loss gradient.

    With penalties, ``loss`` is without them, ``gradient_norm`` is that of the whole, and ``penalty``
    is their sum; both are there only if gradients were asked for.
    """

    loss: list[float]
    error: list[float]
    gradient_norm: list[float]
    penalty: list[float] | None = None


class _Workspace:
    """The output of every layer and the derivative with respect to it, (seeds, out, points) each.

    Workspaces of different batch sizes are views of the same memory.
    """

    def __init__(self, outputs: list[Tensor], deltas: list[Tensor]) -> None:
        self.outputs = outputs
        self.deltas = deltas

    @classmethod
    def allocate(cls, weights: Sequence[Tensor], points: int) -> "_Workspace":
        """Uninitialised memory for batches of up to ``points``."""
        outputs = [w.new_empty(w.shape[0], w.shape[1], points) for w in weights]
        return cls(outputs, [torch.empty_like(output) for output in outputs])

    def view(self, points: int) -> "_Workspace":
        """Contiguous buffers for ``points`` in the same memory."""
        return _Workspace(*([_shrink(t, points) for t in ts] for ts in (self.outputs, self.deltas)))


def _shrink(buffer: Tensor, points: int) -> Tensor:
    shape = (*buffer.shape[:2], points)
    return buffer.view(-1)[: math.prod(shape)].view(shape)


class StackedFCN:
    """Seeds of one bias-free ReLU net trained side by side by stochastic gradient descent or Adam.

    ``carried`` holds what updates depend on or add to besides the weights, one row per seed.

    Parameters
    ----------
    weights
        One float32 tensor (seeds, out, in) per layer, input side first; changed in place.
    output_slope
        Slope of the activation on the output for negative logits: 0 is ReLU, 0.01 the leaky
        variant, 1 the identity.
    loss
        What :func:`nets.training.loss.loss_named` returns.
    clip_norm
        Gradients of larger 2-norm (per seed, over all weights) are scaled down to it.
    largest_batch
        Points in the largest batch that will be passed in; memory is reserved for it once.
    penalty
        Added to the mean loss of every batch, before clipping; None for plain training.
    jacobian_penalty
        Likewise, with the largest Jacobian norm over the points of the batch.
    temperature
        The loss is that of this multiple of the logits.
    optimizer
        Adam, or None for plain gradient descent.
    spectral_cap
        Layers are rescaled, now and after every update, so that the product of their spectral
        norms is at most its; None for no cap.
    track_path
        Whether ``carried`` has the length of the path of the weights so far, ``path/length``, and
        the largest norm of a gradient as applied, ``path/largest_gradient``, (seeds,) float64.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        *,
        output_slope: float,
        loss: Loss,
        clip_norm: float = math.inf,
        largest_batch: int,
        penalty: "LipschitzPenalty | None" = None,
        jacobian_penalty: "JacobianPenalty | None" = None,
        temperature: float = 1.0,
        optimizer: "Adam | None" = None,
        spectral_cap: "SpectralCap | None" = None,
        track_path: bool = False,
    ) -> None:
        self.output_slope = output_slope
        self.loss = loss
        self.clip_norm = clip_norm
        self.penalty = penalty
        self.jacobian_penalty = jacobian_penalty
        self.temperature = temperature
        self.optimizer = optimizer
        self.spectral_cap = spectral_cap
        self.track_path = track_path
        self._allocate(weights, largest_batch)
        if spectral_cap is not None:
            spectral_cap.apply(self.weights)
        self.carried = {} if optimizer is None else optimizer.initial_moments(self.weights)
        if track_path:
            zeros = torch.zeros(self.seeds, dtype=torch.float64, device=self.weights[0].device)
            self.carried |= {"path/length": zeros, "path/largest_gradient": zeros.clone()}

    def _allocate(self, weights: Sequence[Tensor], largest_batch: int) -> None:
        self.weights = [w.contiguous() for w in weights]
        self._gradients = [torch.empty_like(w) for w in self.weights]
        self._norms = self.weights[0].new_empty(len(self.weights), self.seeds)
        self._scratch: Scratch | None = None
        self._one = self.weights[0].new_ones(())
        # without momentum or cap the length of a step follows from the gradient
        measured = self.track_path and (self.optimizer is not None or self.spectral_cap is not None)
        self._before = [torch.empty_like(w) for w in self.weights] if measured else []
        self._memory = _Workspace.allocate(self.weights, largest_batch)
        self._views: dict[int, _Workspace] = {}

    @property
    def seeds(self) -> int:
        """Number of nets in the stack."""
        return self.weights[0].shape[0]

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return self.weights[-1].shape[1]

    @property
    def capturable(self) -> bool:
        """Whether an update only queues work on the device, so that a CUDA graph can hold it."""
        return self.jacobian_penalty is None

    def select(self, keep: Sequence[int]) -> "StackedFCN":
        """A stack of the nets at positions ``keep``."""
        rows = list(keep)
        part = copy.copy(self)
        part._allocate([w[rows] for w in self.weights], self._memory.outputs[0].shape[2])
        part.carried = {name: value[rows] for name, value in self.carried.items()}
        return part

    def update(self, batch: Batch, rate: Tensor) -> None:
        """One step on the mean loss of ``batch``; ``rate`` is a 0-dim tensor."""
        workspace = self._workspace(batch.size)
        self._forward(batch.x, workspace)
        self._backward(batch, workspace)
        if self.penalty is not None:
            self.penalty.add_gradient(self.weights, self._gradients, batch.size)
        if self.jacobian_penalty is not None:
            peak = self._find_peak(self.jacobian_penalty, workspace)
            self.jacobian_penalty.add_gradient(peak, self._gradients, batch.size)
        norm = None
        if self.track_path or not math.isinf(self.clip_norm):
            norm = self._layer_norms(self._gradients)
        for weight, before in zip(self.weights, self._before, strict=False):
            before.copy_(weight)
        self._step(norm, batch.size, rate)
        if self.spectral_cap is not None:
            self.spectral_cap.apply(self.weights)
        if self.track_path and norm is not None:
            self._extend_path(norm, batch.size, rate)

    def _step(self, norm: Tensor | None, points: int, rate: Tensor) -> None:
        if self.optimizer is not None:
            scale = self._step_sizes(norm, points, self._one).view(-1, 1, 1)
            self.optimizer.step(self.weights, self._gradients, scale, rate, self.carried)
            return
        step = self._step_sizes(norm, points, rate).view(-1, 1, 1)
        for weight, gradient in zip(self.weights, self._gradients, strict=True):
            weight.addcmul_(gradient, step, value=-1)

    def _extend_path(self, norm: Tensor, points: int, rate: Tensor) -> None:
        """Take in an update, for which the 2-norm of the summed gradient was ``norm``, (seeds,)."""
        applied = norm * self._step_sizes(norm, points, self._one)
        length = applied * rate
        for weight, before in zip(self.weights, self._before, strict=False):
            torch.sub(weight, before, out=before)
        if self._before:
            length = self._layer_norms(self._before)
        self.carried["path/length"].add_(length)
        largest = self.carried["path/largest_gradient"]
        torch.maximum(largest, applied.to(largest.dtype), out=largest)

    def finite(self) -> list[bool]:
        """Per seed, whether all weights are finite. A weight that became NaN stays NaN."""
        sums = torch.stack([w.flatten(1).sum(1) for w in self.weights])
        return sums.sum(0).isfinite().tolist()

    def evaluate(self, batches: Sequence[Batch], *, gradient: bool) -> Evaluation:
        """Loss and error over ``batches``, and the gradient norm (NaN unless asked for)."""
        points = sum(batch.size for batch in batches)
        loss = torch.zeros(self.seeds, dtype=torch.float64, device=self.weights[0].device)
        wrong = torch.zeros_like(loss)
        total = [torch.zeros_like(w) for w in self.weights] if gradient else []
        peak: Peak | None = None
        for batch in batches:
            workspace = self._workspace(batch.size)
            logits = self._forward(batch.x, workspace)
            loss += self.loss.values(logits, batch.y).sum(1, dtype=torch.float64)
            wrong += (logits.argmax(1) != batch.y.argmax(0)).sum(1)
            if gradient:
                self._backward(batch, workspace)
                for accumulated, part in zip(total, self._gradients, strict=True):
                    accumulated += part
                if self.jacobian_penalty is not None:
                    own = self._find_peak(self.jacobian_penalty, workspace)
                    peak = own if peak is None else peak.larger(own)
        norm = torch.full_like(loss, math.nan)
        penalties: list[Tensor] = []
        if gradient and self.penalty is not None:
            self.penalty.add_gradient(self.weights, total, points)
            penalties.append(self.penalty.values(self.weights))
        if self.jacobian_penalty is not None and peak is not None:
            self.jacobian_penalty.add_gradient(peak, total, points)
            penalties.append(self.jacobian_penalty.values(peak))
        if gradient:
            norms = [t.flatten(1).to(torch.float64).norm(dim=1) for t in total]
            norm = torch.stack(norms).norm(dim=0)
        means = [(v / points).tolist() for v in (loss, wrong, norm)]
        penalty = torch.stack(penalties).sum(0).tolist() if penalties else None
        return Evaluation(means[0], means[1], means[2], penalty)

    def _workspace(self, batch_size: int) -> _Workspace:
        if batch_size not in self._views:
            self._views[batch_size] = self._memory.view(batch_size)
        return self._views[batch_size]

    def _find_peak(self, penalty: "JacobianPenalty", workspace: _Workspace) -> "Peak":
        if self._scratch is None:
            self._scratch = penalty.scratch()
        return penalty.find_peak(self.weights, workspace.outputs, self.output_slope, self._scratch)

    def _forward(self, x: Tensor, workspace: _Workspace) -> Tensor:
        """Logits times the temperature, (seeds, classes, points).

        They are left in the workspace, with every hidden activation.
        """
        first, *others = self.weights
        outputs = workspace.outputs
        torch.mm(first.flatten(0, 1), x, out=outputs[0].flatten(0, 1))
        for weight, below, output in zip(others, outputs, outputs[1:], strict=False):
            below.relu_()
            torch.bmm(weight, below, out=output)
        logits = self._activate_output(outputs[-1])
        return logits if self.temperature == 1 else logits.mul_(self.temperature)

    def _activate_output(self, logits: Tensor) -> Tensor:
        if self.output_slope == 0:
            return logits.relu_()
        return nn.functional.leaky_relu_(logits, self.output_slope)

    def _backward(self, batch: Batch, workspace: _Workspace) -> None:
        """Gradients of the loss summed over the batch, into ``self._gradients``."""
        outputs, deltas = workspace.outputs, workspace.deltas
        self.loss.gradient(outputs[-1], batch.y, deltas[-1])
        if self.temperature != 1:
            deltas[-1].mul_(self.temperature)
        _through_activation(deltas[-1], outputs[-1], self.output_slope)
        for layer in range(len(self.weights) - 1, 0, -1):
            delta, below = deltas[layer], outputs[layer - 1]
            torch.bmm(delta, below.mT, out=self._gradients[layer])
            torch.bmm(self.weights[layer].mT, delta, out=deltas[layer - 1])
            _through_activation(deltas[layer - 1], below, 0.0)
        torch.mm(deltas[0].flatten(0, 1), batch.x.T, out=self._gradients[0].flatten(0, 1))

    def _layer_norms(self, layers: Sequence[Tensor]) -> Tensor:
        """2-norm over all layers, (seeds,)."""
        for row, layer in zip(self._norms, layers, strict=True):
            torch.linalg.vector_norm(layer.flatten(1), dim=1, out=row)
        return torch.linalg.vector_norm(self._norms, dim=0)

    def _step_sizes(self, norm: Tensor | None, points: int, rate: Tensor) -> Tensor:
        """Factor of the summed gradient: rate / points, less where its ``norm`` is clipped.

        (seeds,), or 0-dim without clipping.
        """
        if norm is None or math.isinf(self.clip_norm):
            return rate / points
        # rate / points * min(1, clip / (norm / points + epsilon))
        scale = (norm + _CLIP_EPSILON * points).reciprocal_().mul_(self.clip_norm)
        return scale.clamp_(max=1 / points).mul_(rate)


def _through_activation(delta: Tensor, output: Tensor, slope: float) -> None:
    """Multiply ``delta`` in place by the slope of the activation that gave ``output``."""
    if slope == 0:
        torch.ops.aten.threshold_backward.grad_input(delta, output, 0, grad_input=delta)
    elif slope != 1:
        torch.ops.aten.leaky_relu_backward.grad_input(delta, output, slope, True, grad_input=delta)
