"""Forward and backward passes of several fully connected nets at once.

All nets of a stack share architecture, data and batch order and differ in their weights only, so
one call computes all of them. Everything is laid out feature-major, ``(seeds, features, points)``:
the first layer of the whole stack is then a single matrix product, soft-max runs along contiguous
memory, and no buffer is allocated in the loop. Per update and seed the cost is
``2 B (3 p - p_1)`` floating-point operations for batch size B, p weights and p_1 of them in the
first layer (no derivative with respect to the input is needed).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipschitz.training.losses import Loss
from lipschitz.training.regularisation import LipschitzPenalty

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

    With a penalty, ``loss`` is without it, ``gradient_norm`` is that of their sum, and ``penalty``
    is its value; both are there only if gradients were asked for.
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
    """Seeds of one bias-free ReLU net trained side by side by plain stochastic gradient descent.

    Parameters
    ----------
    weights
        One float32 tensor (seeds, out, in) per layer, input side first; changed in place.
    output_slope
        Slope of the activation on the output for negative logits: 0 is ReLU, 0.01 the leaky
        variant, 1 the identity.
    loss
        An entry of :data:`lipschitz.training.losses.LOSSES`.
    clip_norm
        Gradients of larger 2-norm (per seed, over all weights) are scaled down to it.
    largest_batch
        Points in the largest batch that will be passed in; memory is reserved for it once.
    penalty
        Added to the mean loss of every batch, before clipping; None for plain training.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        *,
        output_slope: float,
        loss: Loss,
        clip_norm: float = math.inf,
        largest_batch: int,
        penalty: LipschitzPenalty | None = None,
    ) -> None:
        self.weights = [w.contiguous() for w in weights]
        self.output_slope = output_slope
        self.loss = loss
        self.clip_norm = clip_norm
        self.penalty = penalty
        self._gradients = [torch.empty_like(w) for w in self.weights]
        self._norms = self.weights[0].new_empty(len(self.weights), self.seeds)
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

    def select(self, keep: Sequence[int]) -> "StackedFCN":
        """A stack of the nets at positions ``keep``."""
        return StackedFCN(
            [w[list(keep)] for w in self.weights],
            output_slope=self.output_slope,
            loss=self.loss,
            clip_norm=self.clip_norm,
            largest_batch=self._memory.outputs[0].shape[2],
            penalty=self.penalty,
        )

    def update(self, batch: Batch, rate: Tensor) -> None:
        """One step of gradient descent on the mean loss of ``batch``; ``rate`` is a 0-dim tensor."""
        workspace = self._workspace(batch.size)
        self._forward(batch.x, workspace)
        self._backward(batch, workspace)
        if self.penalty is not None:
            self.penalty.add_gradient(self.weights, self._gradients, batch.size)
        step = self._step_sizes(batch.size, rate)
        for weight, gradient in zip(self.weights, self._gradients, strict=True):
            weight.addcmul_(gradient, step, value=-1)

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
        for batch in batches:
            workspace = self._workspace(batch.size)
            logits = self._forward(batch.x, workspace)
            loss += self.loss.values(logits, batch.y).sum(1, dtype=torch.float64)
            wrong += (logits.argmax(1) != batch.y.argmax(0)).sum(1)
            if gradient:
                self._backward(batch, workspace)
                for accumulated, part in zip(total, self._gradients, strict=True):
                    accumulated += part
        norm = torch.full_like(loss, math.nan)
        penalty = None
        if gradient and self.penalty is not None:
            self.penalty.add_gradient(self.weights, total, points)
            penalty = self.penalty.values(self.weights).tolist()
        if gradient:
            norms = [t.flatten(1).to(torch.float64).norm(dim=1) for t in total]
            norm = torch.stack(norms).norm(dim=0)
        means = [(v / points).tolist() for v in (loss, wrong, norm)]
        return Evaluation(means[0], means[1], means[2], penalty)

    def _workspace(self, batch_size: int) -> _Workspace:
        if batch_size not in self._views:
            self._views[batch_size] = self._memory.view(batch_size)
        return self._views[batch_size]

    def _forward(self, x: Tensor, workspace: _Workspace) -> Tensor:
        """Logits (seeds, classes, points), left with every hidden activation in the workspace."""
        first, *others = self.weights
        outputs = workspace.outputs
        torch.mm(first.flatten(0, 1), x, out=outputs[0].flatten(0, 1))
        for weight, below, output in zip(others, outputs, outputs[1:], strict=False):
            below.relu_()
            torch.bmm(weight, below, out=output)
        return self._activate_output(outputs[-1])

    def _activate_output(self, logits: Tensor) -> Tensor:
        if self.output_slope == 0:
            return logits.relu_()
        return nn.functional.leaky_relu_(logits, self.output_slope)

    def _backward(self, batch: Batch, workspace: _Workspace) -> None:
        """Gradients of the loss summed over the batch, into ``self._gradients``."""
        outputs, deltas = workspace.outputs, workspace.deltas
        self.loss.gradient(outputs[-1], batch.y, deltas[-1])
        _through_activation(deltas[-1], outputs[-1], self.output_slope)
        for layer in range(len(self.weights) - 1, 0, -1):
            delta, below = deltas[layer], outputs[layer - 1]
            torch.bmm(delta, below.mT, out=self._gradients[layer])
            torch.bmm(self.weights[layer].mT, delta, out=deltas[layer - 1])
            _through_activation(deltas[layer - 1], below, 0.0)
        torch.mm(deltas[0].flatten(0, 1), batch.x.T, out=self._gradients[0].flatten(0, 1))

    def _step_sizes(self, points: int, rate: Tensor) -> Tensor:
        """Factor of the summed gradient, (seeds, 1, 1): rate / points, less where clipping applies."""
        if math.isinf(self.clip_norm):
            return rate / points
        for row, gradient in zip(self._norms, self._gradients, strict=True):
            torch.linalg.vector_norm(gradient.flatten(1), dim=1, out=row)
        norm = torch.linalg.vector_norm(self._norms, dim=0)
        # rate / points * min(1, clip / (norm / points + epsilon))
        scale = norm.add_(_CLIP_EPSILON * points).reciprocal_().mul_(self.clip_norm)
        return scale.clamp_(max=1 / points).mul_(rate).view(-1, 1, 1)


def _through_activation(delta: Tensor, output: Tensor, slope: float) -> None:
    """Multiply ``delta`` in place by the slope of the activation that gave ``output``."""
    if slope == 0:
        torch.ops.aten.threshold_backward.grad_input(delta, output, 0, grad_input=delta)
    elif slope != 1:
        torch.ops.aten.leaky_relu_backward.grad_input(delta, output, slope, True, grad_input=delta)
