"""Any ``nn.Module``, trained by autograd and ``torch.optim``, one net after another.

Buffers such as the statistics of BatchNorm are part of a net's state; they move in updates and
nowhere else. Evaluations, full-batch gradients among them, are in eval mode and without augmentation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nets.training.ensemble import Evaluation, Path
from nets.training.points import Points, as_inputs
from nets.training.recipe import (
    CLIP_EPSILON,
    PlainConstraint,
    PlainPenalty,
    Recipe,
    optimiser_state,
    restore_optimiser,
    set_rate,
)


@dataclass(frozen=True)
class PlainPoints:
    """Points (n, *shape) with targets (n, outputs), cut as they are used.

    Images of bytes stay where they lie, in a file that all processes share; batches of them are made
    numbers, channels-last, when they are asked for.
    """

    x: Tensor
    y: Tensor
    labelled: bool
    batch_size: int

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Points and targets of one batch after another."""
        if order is None:
            for x, y in zip(self.x.split(self.batch_size), self.y.split(self.batch_size), strict=True):
                yield _inputs(x), y
            return
        for part in order.to(self.x.device).split(self.batch_size):
            yield _inputs(self.x[part]), self.y[part]


class Plain:
    """Nets of one architecture, each with an optimiser of its own.

    Parameters
    ----------
    nets
        One per seed, which map (n, *shape) to (n, outputs). They are trained in place.
    recipe
        All of its penalties have a plain form.
    device
        Where to train.
    outputs
        Outputs of a net: classes, or values.
    """

    def __init__(
        self, nets: Sequence[nn.Module], recipe: Recipe, device: torch.device, outputs: int
    ) -> None:
        self.recipe, self._device, self._outputs = recipe, device, outputs
        made = [penalty.plain() for penalty in recipe.penalties if penalty.plain is not None]
        self._penalties: list[PlainPenalty] = [each for each in made if hasattr(each, "value")]
        self._constraints: list[PlainConstraint] = [each for each in made if hasattr(each, "apply")]
        self._names = list(range(len(nets)))
        self._draws = any(map(_may_draw, nets[0].modules()))
        self.nets = [_laid_out(net.to(device)) for net in nets]
        self._parameters = [[p for p in net.parameters() if p.requires_grad] for net in self.nets]
        self._optimisers = [recipe.optimiser(parameters) for parameters in self._parameters]
        self._constrain(self.nets)
        self._length = [0.0] * len(nets)
        self._largest = [0.0] * len(nets)

    @property
    def facts(self) -> dict[str, Any]:
        """The kind of ensemble."""
        return {"ensemble": "plain"}

    @property
    def parameter_count(self) -> int:
        """Parameters of one net."""
        return sum(parameter.numel() for parameter in self.nets[0].parameters())

    def __len__(self) -> int:
        return len(self.nets)

    def prepare(self, points: Points, batch_size: int) -> PlainPoints:
        """On the device of the nets; images of numbers channels-last, as convolutions prefer them."""
        points = points.to(self._device)
        x = points.x if points.x.dtype == torch.uint8 else _images_channels_last(points.x)
        return PlainPoints(x, points.targets(self._outputs), points.labelled, batch_size)

    def train_epoch(
        self,
        points: PlainPoints,
        rates: Sequence[float],
        order: Tensor | None,
        randomness: Sequence[int],
    ) -> None:
        """One update per batch, of one net after another.

        Dropout and the like draw from torch's random state, which each net finds as if it were
        alone; augmentation draws from a generator, the same for all nets.
        """
        for position, name in enumerate(self._names):
            random = np.random.default_rng([*randomness, 1])
            with self._seeded([*randomness, 2, name]), torch.enable_grad():
                self.nets[position].train()
                for (x, y), rate in zip(points.batches(order), rates, strict=True):
                    if self.recipe.augmentation is not None:
                        x = _images_channels_last(self.recipe.augmentation(x, random))
                    self._update(position, x, y, rate)

    @contextmanager
    def _seeded(self, randomness: Sequence[int]) -> Iterator[None]:
        """Torch's random state begins anew, and is afterwards what it was.

        All threads share it, so nets that do not draw from it leave it alone.
        """
        if not self._draws:
            yield
            return
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(np.random.default_rng(randomness).integers(2**63)))
            yield

    def _update(self, position: int, x: Tensor, y: Tensor, rate: float) -> None:
        """One step on the mean loss of a batch."""
        net, parameters = self.nets[position], self._parameters[position]
        _forget_gradients(parameters)
        roots, slopes = self._loss_root(net(x), y, 1 / len(x))
        for penalty in self._penalties:
            value = penalty.value(net, x)
            if value.requires_grad:
                roots.append(value)
                slopes.append(torch.ones_like(value))
        torch.autograd.backward(roots, slopes)
        with torch.no_grad():
            before = [p.clone() for p in parameters] if self.recipe.track_path else []
            applied = self._step(position, rate)
            self._constrain([net])
            if applied is not None and before:
                self._extend_path(position, applied, parameters, before)

    @torch.no_grad()
    def _constrain(self, nets: Sequence[nn.Module]) -> None:
        for net in nets:
            for constraint in self._constraints:
                constraint.apply(net)

    def _loss_root(self, logits: Tensor, y: Tensor, factor: float) -> tuple[list[Tensor], list[Tensor]]:
        """The logits, and ``factor`` times the derivative of the summed loss with respect to them."""
        scaled = self._class_major(logits)
        delta = torch.empty_like(scaled)
        self.recipe.loss.gradient(scaled, y.T, delta)
        return [logits], [delta.squeeze(0).T.mul(factor * self.recipe.temperature)]

    def _class_major(self, logits: Tensor) -> Tensor:
        """What the loss is of, (1, outputs, n)."""
        if logits.dim() != 2 or logits.shape[1] != self._outputs:
            raise ValueError(
                f"a net must give (n, {self._outputs}), one number per class, "
                f"and not {tuple(logits.shape)}"
            )
        return (logits.detach().T * self.recipe.temperature).contiguous().unsqueeze(0)

    def _step(self, position: int, rate: float) -> Tensor | None:
        """Clip the gradient and go; its norm after clipping, where anything asks for it."""
        optimiser = self._optimisers[position]
        reached: list[Tensor] = [p for p in self._parameters[position] if p.grad is not None]
        gradients = [p.grad for p in reached if p.grad is not None]
        scale, norm = self._clipping(gradients)
        if optimiser is None:
            if scale is None:
                torch._foreach_add_(reached, gradients, alpha=-rate)
            else:
                steps = torch._foreach_mul(gradients, scale * -rate)
                torch._foreach_add_(reached, [*steps])
        else:
            if scale is not None:
                torch._foreach_mul_(gradients, scale)
            set_rate(optimiser, rate)
            optimiser.step()
        return norm

    def _clipping(self, gradients: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Factor of the gradient, and its norm with it; None where nothing asks for them."""
        clip = self.recipe.clip_norm
        if math.isinf(clip) and not self.recipe.track_path:
            return None, None
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        scale = (clip / (norm + CLIP_EPSILON)).clamp_(max=1)
        return scale, norm * scale

    def _extend_path(
        self, position: int, applied: Tensor, parameters: Sequence[Tensor], before: Sequence[Tensor]
    ) -> None:
        moved = torch._foreach_sub(list(parameters), list(before))
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(moved)))
        self._length[position] += float(length)
        self._largest[position] = max(self._largest[position], float(applied))

    def evaluate(self, points: PlainPoints, *, gradient: bool) -> Evaluation:
        """Loss and error over all points, and the gradient norm (NaN unless asked for)."""
        found = [self._evaluate(position, points, gradient) for position in range(len(self))]
        loss, wrong, norm, penalty = (list(column) for column in zip(*found, strict=True))
        with_penalty = gradient and bool(self._penalties)
        return Evaluation(len(points), loss, wrong, norm, penalty if with_penalty else None)

    def _evaluate(
        self, position: int, points: PlainPoints, gradient: bool
    ) -> tuple[float, float, float, float]:
        """Sum of the losses, wrong points, gradient norm and penalty of one net."""
        net, parameters = self.nets[position].eval(), self._parameters[position]
        _forget_gradients(parameters)
        loss = torch.zeros((), dtype=torch.float64, device=self._device)
        wrong = torch.zeros_like(loss)
        for x, y in points.batches():
            with torch.set_grad_enabled(gradient):
                logits = net(x)
            if gradient:
                torch.autograd.backward(*self._loss_root(logits, y, 1.0))
            scaled = self._class_major(logits)
            loss += self.recipe.loss.values(scaled, y.T).sum(dtype=torch.float64)
            wrong += (scaled[0].argmax(0) != y.argmax(1)).sum()
        penalty = self._penalise(net, points) if gradient else 0.0
        norm = math.nan
        if gradient:
            squares = [p.grad.double().square().sum() for p in parameters if p.grad is not None]
            norm = math.sqrt(sum(float(square) for square in squares)) / len(points)
        _forget_gradients(parameters)
        errors = float(wrong) if points.labelled else math.nan
        return float(loss), errors, norm, penalty

    def _penalise(self, net: nn.Module, points: PlainPoints) -> float:
        """The penalties, with their gradients times the number of points added to the others."""
        total = 0.0
        for penalty in self._penalties:
            x, _ = next(points.batches())
            if penalty.of_points:
                # the largest over all points is attained in one batch, and so is its gradient
                x = max((x for x, _ in points.batches()), key=lambda x: float(penalty.value(net, x)))
            with torch.enable_grad():
                value = penalty.value(net, x)
            if value.requires_grad:
                torch.autograd.backward([value], [torch.full_like(value, len(points))])
            total += float(value)
        return total

    def finite(self) -> list[bool]:
        """Per net, whether all parameters and buffers are."""
        return [
            all(bool(tensor.isfinite().all()) for tensor in net.state_dict().values())
            for net in self.nets
        ]

    def net(self, position: int) -> dict[str, Tensor]:
        """Parameters and buffers of one net, by name."""
        return dict(self.nets[position].state_dict())

    @property
    def path(self) -> Path | None:
        """How far the nets have gone, where that is tracked."""
        if not self.recipe.track_path:
            return None
        return Path(list(self._length), list(self._largest))

    def state(self) -> dict[str, Tensor]:
        """Parameters, buffers, what the optimisers carry, and the paths."""
        found: dict[str, Tensor] = {"names": torch.tensor(self._names)}
        for position, net in enumerate(self.nets):
            head = f"{position}/"
            found |= {f"{head}net/{key}": value for key, value in net.state_dict().items()}
            carried = optimiser_state(self._optimisers[position], self._parameters[position])
            found |= {f"{head}optimiser/{key}": value for key, value in carried.items()}
        if self.recipe.track_path:
            paths = [self._length, self._largest]
            found["path"] = torch.tensor(paths, dtype=torch.float64)
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a :meth:`state`, in place."""
        self._names = state["names"].tolist()
        for position, net in enumerate(self.nets):
            net.load_state_dict(_below(state, f"{position}/net/"))
            carried = _below(state, f"{position}/optimiser/")
            moved = {key: v.to(self._device) if v.dim() else v for key, v in carried.items()}
            restore_optimiser(self._optimisers[position], self._parameters[position], moved)
        if self.recipe.track_path:
            self._length, self._largest = state["path"].tolist()

    def select(self, positions: Sequence[int]) -> None:
        """Go on with the nets at ``positions``."""
        for name in ("_names", "nets", "_parameters", "_optimisers", "_length", "_largest"):
            setattr(self, name, [getattr(self, name)[position] for position in positions])


def _may_draw(module: nn.Module) -> bool:
    """Whether a module may draw from torch's random state; of those not of torch nothing is known."""
    if not type(module).__module__.startswith("torch.nn."):
        return True
    random = nn.modules.dropout._DropoutNd | nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d
    return isinstance(module, random) or bool(getattr(module, "dropout", 0))


def _forget_gradients(parameters: Sequence[Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _below(state: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    return {key.removeprefix(head): v for key, v in state.items() if key.startswith(head)}


def _inputs(x: Tensor) -> Tensor:
    return _images_channels_last(as_inputs(x))


def _images_channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _laid_out(net: nn.Module) -> nn.Module:
    """Kernels of convolutions channels-last, as the points are."""
    if any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in net.modules()):
        return net.to(memory_format=torch.channels_last)
    return net
