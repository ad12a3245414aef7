"""Several seeds of one fully connected ReLU net, trained side by side in the same products.

All nets of a stack share architecture, data and batch order and differ in their parameters only, so
one call computes all of them. Everything is laid out feature-major, ``(seeds, features, points)``:
the first layer of the whole stack is then a single matrix product, soft-max runs along contiguous
memory, and all but one product find their operands as oneDNN wants them. Per update and seed the
cost is ``2 B (3 p - p_1)`` floating-point operations for batch size B, p weights and p_1 of them in
the first layer (no derivative with respect to the input is needed).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lipbounds.jacobian import dense_layers
from lipbounds.products import onednn_is_there
from nets.training.ensemble import Evaluation, Path
from nets.training.epochs import EpochRunner
from nets.training.points import Points, as_inputs
from nets.training.recipe import (
    CLIP_EPSILON,
    Layers,
    Recipe,
    StackedConstraint,
    StackedPenalty,
    Term,
    optimiser_state,
    restore_optimiser,
    set_rate,
)
from nets.training.stacked_pass import Batch, StackedPass


@dataclass(frozen=True)
class Shape:
    """What a net must be to be stacked: linear layers with a ReLU between each two of them.

    ``names`` are those of the weights and of the biases in its ``state_dict``, layer by layer, the
    latter None where a layer has none.
    """

    names: tuple[tuple[str, str | None], ...]
    output_slope: float


def shape_of(net: nn.Module) -> Shape | None:
    """The shape of a net that can be stacked, or None.

    What the stack computes is all that the net does: nothing is shared, frozen, hooked or dropped.
    """
    layers = dense_layers(net, flat=True)
    if layers is None or any(layer.slope != 0 for layer in layers[:-1]):
        return None
    modules = net._modules.items()  # named_children leaves out what occurs again
    linear = [(name, module) for name, module in modules if type(module) is nn.Linear]
    names = tuple(
        (f"{name}.weight", None if module.bias is None else f"{name}.bias") for name, module in linear
    )
    parameters = list(net.parameters())
    faithful = (
        len(parameters) == sum(name is not None for pair in names for name in pair)
        and all(map(_is_free, parameters))
        and not any(isinstance(module, nn.Dropout) for _, module in modules)
        and not any(module._backward_hooks or module._backward_pre_hooks for module in net.modules())
    )
    return Shape(names, layers[-1].slope) if faithful else None


def _is_free(parameter: nn.Parameter) -> bool:
    """Whether nothing but its gradient moves a parameter."""
    hooks = parameter._backward_hooks or parameter._post_accumulate_grad_hooks
    return parameter.dtype == torch.float32 and parameter.requires_grad and not hooks


class StackedPoints:
    """Points cut into feature-major batches, in order, and again in memory for shuffled ones."""

    def __init__(self, points: Points, outputs: int, batch_size: int) -> None:
        self.labelled = points.labelled
        self._x, self._y = as_inputs(points.x).flatten(1), points.targets(outputs)
        self._size = batch_size
        parts = zip(self._x.split(batch_size), self._y.split(batch_size), strict=True)
        self.in_order = [Batch.of(x, y) for x, y in parts]
        self._shuffled: list[Batch] | None = None

    def __len__(self) -> int:
        return len(self._x)

    def ordered(self, order: Tensor | None) -> list[Batch]:
        """Batches in this order; those that are shuffled lie in the same memory each time."""
        if order is None:
            return self.in_order
        if self._shuffled is None:
            self._shuffled = [batch.empty_like() for batch in self.in_order]
        places = order.to(self._x.device).split(self._size)
        for batch, chosen in zip(self._shuffled, places, strict=True):
            batch.fill(self._x[chosen], self._y[chosen])
        return self._shuffled


class Stacked:
    """Nets of one shape, trained by gradient descent or by an optimiser that treats numbers singly.

    Parameters
    ----------
    nets
        One per seed; their parameters are copied.
    recipe
        All of its penalties have a stacked form, and there is no augmentation.
    device
        Where to train.

    Raises
    ------
    ValueError
        For nets that :func:`shape_of` knows no shape of.
    """

    def __init__(self, nets: Sequence[nn.Module], recipe: Recipe, device: torch.device) -> None:
        shape = shape_of(nets[0])
        if shape is None:
            raise ValueError("only linear layers with a ReLU between each two can be stacked")
        self.recipe, self.shape = recipe, shape
        made = [penalty.stacked() for penalty in recipe.penalties if penalty.stacked is not None]
        self._penalties: list[StackedPenalty] = [each for each in made if hasattr(each, "term")]
        self._constraints: list[StackedConstraint] = [each for each in made if hasattr(each, "apply")]
        states = [net.state_dict() for net in nets]

        def stack(name: str) -> Tensor:
            return torch.stack([state[name] for state in states]).to(device)

        weights = [stack(weight) for weight, _ in shape.names]
        biases = [None if bias is None else stack(bias) for _, bias in shape.names]
        self._adopt(weights, biases)
        for constraint in self._constraints:
            constraint.apply(self.weights)
        self._length = torch.zeros(len(self), dtype=torch.float64, device=device)
        self._largest = self._length.clone()

    def _adopt(self, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> None:
        self._runner: EpochRunner[Batch] | None = None
        self._pass = StackedPass(weights, biases, self.shape.output_slope)
        self.weights = self._pass.weights
        self._parameters = self._pass.parameters
        self._gradients = self._pass.gradients
        self._norms = self.weights[0].new_empty(len(self._parameters), len(self.weights[0]))
        self._one = self.weights[0].new_ones(())
        self._optimiser = self.recipe.optimiser(self._parameters)
        # without optimiser or constraint the length of a step follows from the gradient
        measured = self.recipe.track_path and (self._optimiser is not None or self._constraints)
        self._before = [torch.empty_like(p) for p in self._parameters] if measured else []

    @property
    def facts(self) -> dict[str, Any]:
        """The kind of ensemble, and the library of the large products."""
        on_cpu = self.weights[0].device.type == "cpu"
        library = ("oneDNN" if onednn_is_there() else "MKL") if on_cpu else "cuBLAS"
        return {"ensemble": "stacked", "products": library}

    @property
    def parameter_count(self) -> int:
        """Parameters of one net."""
        return sum(parameter[0].numel() for parameter in self._parameters)

    def __len__(self) -> int:
        return len(self.weights[0])

    def prepare(self, points: Points, batch_size: int) -> StackedPoints:
        """Feature-major batches on the device of the nets."""
        outputs = self.weights[-1].shape[1]
        return StackedPoints(points.to(self.weights[0].device), outputs, batch_size)

    def train_epoch(
        self,
        points: StackedPoints,
        rates: Sequence[float],
        order: Tensor | None,
        randomness: Sequence[int],
    ) -> None:
        """One update per batch; nothing in it is random."""
        batches = points.ordered(order)
        if self._runner is None or self._runner.batches is not batches:
            device = self.weights[0].device
            graph = device.type == "cuda" and self._optimiser is None and not self._penalties
            state = [*self._parameters, self._length, self._largest]
            self._runner = EpochRunner(self._update, batches, device, state if graph else None)
        self._runner.run(rates)

    def _update(self, batch: Batch, rate: Tensor) -> None:
        """One step on the mean loss of ``batch``; ``rate`` is a 0-dim tensor."""
        layers = self._forward_and_back(batch)
        for penalty in self._penalties:
            penalty.term(layers).add_gradient(self._weight_gradients, batch.size)
        norm = None
        if self.recipe.track_path or not math.isinf(self.recipe.clip_norm):
            norm = self._norm_of(self._gradients)
        for parameter, before in zip(self._parameters, self._before, strict=False):
            before.copy_(parameter)
        self._step(norm, batch.size, rate)
        for constraint in self._constraints:
            constraint.apply(self.weights)
        if self.recipe.track_path and norm is not None:
            self._extend_path(norm, batch.size, rate)

    def _forward(self, batch: Batch) -> list[Tensor]:
        """Every layer's output, those of the last one times the temperature."""
        outputs = self._pass.forward(batch)
        if self.recipe.temperature != 1:
            outputs[-1].mul_(self.recipe.temperature)
        return outputs

    def _forward_and_back(self, batch: Batch) -> Layers:
        """The layers at a batch, with the gradients of the summed loss in ``self._gradients``."""
        recipe = self.recipe
        outputs = self._forward(batch)
        delta = self._pass.output_delta(batch.size)
        recipe.loss.gradient(outputs[-1], batch.y, delta)
        if recipe.temperature != 1:
            delta.mul_(recipe.temperature)
        self._pass.backward(batch, outputs)
        return Layers(self.weights, outputs, self.shape.output_slope)

    @property
    def _weight_gradients(self) -> list[Tensor]:
        return self._gradients[: len(self.weights)]

    def _step(self, norm: Tensor | None, points: int, rate: Tensor) -> None:
        if self._optimiser is None:
            step = self._step_sizes(norm, points, rate)
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                parameter.addcmul_(gradient, _along(step, gradient), value=-1)
            return
        scale = self._step_sizes(norm, points, self._one)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient.mul_(_along(scale, gradient))
        set_rate(self._optimiser, float(rate))
        self._optimiser.step()

    def _step_sizes(self, norm: Tensor | None, points: int, rate: Tensor) -> Tensor:
        """Factor of the summed gradient: rate / points, less where its ``norm`` is clipped.

        (seeds,), or 0-dim without clipping.
        """
        clip = self.recipe.clip_norm
        if norm is None or math.isinf(clip):
            return rate / points
        # rate / points * min(1, clip / (norm / points + epsilon))
        scale = (norm + CLIP_EPSILON * points).reciprocal_().mul_(clip)
        return scale.clamp_(max=1 / points).mul_(rate)

    def _extend_path(self, norm: Tensor, points: int, rate: Tensor) -> None:
        """Take in an update, for which the 2-norm of the summed gradient was ``norm``, (seeds,)."""
        applied = norm * self._step_sizes(norm, points, self._one)
        length = applied * rate
        for parameter, before in zip(self._parameters, self._before, strict=False):
            torch.sub(parameter, before, out=before)
        if self._before:
            length = self._norm_of(self._before)
        self._length.add_(length)
        torch.maximum(self._largest, applied.to(self._largest.dtype), out=self._largest)

    def _norm_of(self, tensors: Sequence[Tensor]) -> Tensor:
        """2-norm over all of them, (seeds,)."""
        for row, tensor in zip(self._norms, tensors, strict=True):
            torch.linalg.vector_norm(tensor.flatten(1), dim=1, out=row)
        return torch.linalg.vector_norm(self._norms, dim=0)

    def evaluate(self, points: StackedPoints, *, gradient: bool) -> Evaluation:
        """Loss and error over all points, and the gradient norm (NaN unless asked for)."""
        loss = torch.zeros(len(self), dtype=torch.float64, device=self.weights[0].device)
        wrong = torch.zeros_like(loss)
        total = [torch.zeros_like(p) for p in self._parameters] if gradient else []
        terms: dict[int, Term] = {}
        for batch in points.in_order:
            if gradient:
                layers = self._forward_and_back(batch)
                for accumulated, part in zip(total, self._gradients, strict=True):
                    accumulated += part
                self._take_in(terms, layers)
                logits = layers.outputs[-1]
            else:
                logits = self._forward(batch)[-1]
            loss += self.recipe.loss.values(logits, batch.y).sum(1, dtype=torch.float64)
            wrong += (logits.argmax(1) != batch.y.argmax(0)).sum(1)
        norm = torch.full_like(loss, math.nan)
        for term in terms.values():
            term.add_gradient(total[: len(self.weights)], len(points))
        if gradient:
            norms = [t.flatten(1).to(torch.float64).norm(dim=1) for t in total]
            norm = torch.stack(norms).norm(dim=0) / len(points)
        penalty = [term.values for term in terms.values()]
        return Evaluation(
            points=len(points),
            loss=loss.tolist(),
            wrong=wrong.tolist() if points.labelled else [math.nan] * len(self),
            gradient_norm=norm.tolist(),
            penalty=torch.stack(penalty).sum(0).tolist() if penalty else None,
        )

    def _take_in(self, terms: dict[int, Term], layers: Layers) -> None:
        """Keep the largest term of each penalty over batches."""
        for index, penalty in enumerate(self._penalties):
            if index not in terms:
                terms[index] = penalty.term(layers)
            elif penalty.of_points:
                terms[index] = terms[index].larger(penalty.term(layers))

    def finite(self) -> list[bool]:
        """Per net, whether all parameters are. One that became NaN stays NaN."""
        sums = torch.stack([p.flatten(1).sum(1) for p in self._parameters])
        return sums.sum(0).isfinite().tolist()

    def net(self, position: int) -> dict[str, Tensor]:
        """The parameters of one net, by name."""
        found: dict[str, Tensor] = {}
        biases = iter(self._parameters[len(self.weights) :])
        for (weight, bias), values in zip(self.shape.names, self.weights, strict=True):
            found[weight] = values[position]
            if bias is not None:
                found[bias] = next(biases)[position]
        return found

    @property
    def path(self) -> Path | None:
        """How far the nets have gone, where that is tracked."""
        if not self.recipe.track_path:
            return None
        return Path(self._length.tolist(), self._largest.tolist())

    def state(self) -> dict[str, Tensor]:
        """Parameters, what the optimiser carries, and the path."""
        found = {f"parameters/{i}": p for i, p in enumerate(self._parameters)}
        carried = optimiser_state(self._optimiser, self._parameters)
        found |= {f"optimiser/{key}": value for key, value in carried.items()}
        if self.recipe.track_path:
            found |= {"path/length": self._length, "path/largest": self._largest}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a :meth:`state`, in place."""
        for i, parameter in enumerate(self._parameters):
            parameter.copy_(state[f"parameters/{i}"])
        head = "optimiser/"
        carried = {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}
        device = self.weights[0].device
        moved = {key: value.to(device) if value.dim() else value for key, value in carried.items()}
        restore_optimiser(self._optimiser, self._parameters, moved)
        if self.recipe.track_path:
            self._length.copy_(state["path/length"])
            self._largest.copy_(state["path/largest"])

    def select(self, positions: Sequence[int]) -> None:
        """Go on with the nets at ``positions``."""
        rows = list(positions)
        carried = optimiser_state(self._optimiser, self._parameters)
        seeds = len(self)
        weights = [weight[rows] for weight in self.weights]
        biases = [None if bias is None else bias[rows] for bias in self._pass.biases]
        self._adopt(weights, biases)
        own = {k: v[rows] if v.dim() and len(v) == seeds else v for k, v in carried.items()}
        restore_optimiser(self._optimiser, self._parameters, own)
        self._length, self._largest = self._length[rows], self._largest[rows]


def _along(per_seed: Tensor, like: Tensor) -> Tensor:
    """(seeds,) in the shape in which it multiplies ``like``; a 0-dim tensor stays one."""
    return per_seed.view(-1, *[1] * (like.dim() - 1)) if per_seed.dim() else per_seed
