"""Training of a stack of seeds to the stopping rule of the paper, one epoch at a time.

Source: Khromov & Singh, ICLR 2024, appendix S2: plain SGD in a fixed batch order, gradients
clipped at norm 50, stopped at the first epoch past a minimum at which the norm of the full-batch
gradient is at most a target, or at a cap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nets.training.epochs import EpochRunner, make_batches
from nets.training.points import Points
from nets.training.schedule import Schedule
from nets.training.stacked import Batch, Evaluation, StackedFCN

StopReason = Literal["gradient_norm", "epoch_cap", "diverged"]


@dataclass(frozen=True)
class Settings:
    """What a training run depends on besides its nets and its data.

    ``schedule`` gives the factor of ``learning_rate`` per update. With ``shuffle`` the batch order
    of epoch e is drawn from (``order_seed``, e), else every epoch takes the points in order. From
    ``min_epochs`` on, the full-batch gradient norm is computed every ``gradient_norm_every``
    epochs, and a net stops once it is at most ``target_gradient_norm``; at ``max_epochs`` all stop.
    Losses are recorded every ``record_every`` epochs, weights kept at ``keep_epochs``; both also at
    initialisation and where a net stops.
    """

    learning_rate: float
    schedule: Schedule
    batch_size: int
    min_epochs: int
    max_epochs: int
    target_gradient_norm: float
    gradient_norm_every: int
    record_every: int
    keep_epochs: frozenset[int] = frozenset()
    shuffle: bool = False
    order_seed: int = 0


@dataclass(frozen=True)
class Record:
    """State of one net after ``epoch`` epochs: mean losses, error rates, full-batch gradient norm.

    Losses are those of the data alone; ``penalty`` is what training adds to them, None where it adds
    nothing. The gradient norm is that of ``train_loss + penalty``. Where the path is tracked,
    ``path_length`` is the sum of the 2-norms of all updates so far and ``largest_gradient_norm`` the
    largest 2-norm of a batch's gradient in them, after clipping.
    """

    seed: int
    epoch: int
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    gradient_norm: float
    penalty: float | None = None
    path_length: float | None = None
    largest_gradient_norm: float | None = None


class TrainingRun:
    """A resumable training of ``stack``, whose nets are called ``seeds`` in order.

    Call :meth:`advance` until :attr:`finished`. :meth:`state` and :meth:`restore` carry everything
    that later epochs depend on, so an interrupted run ends with the same bytes as one that was not.
    """

    def __init__(
        self,
        stack: StackedFCN,
        seeds: Sequence[int],
        train: Points,
        test: Points,
        settings: Settings,
    ) -> None:
        classes = stack.classes
        self.settings = settings
        self.epoch = 0
        self.active = list(seeds)
        self.records: list[Record] = []
        self.stopped: dict[int, StopReason] = {}
        self.kept: dict[str, Tensor] = {}
        self.last: Evaluation | None = None
        self._stack = stack
        self._points = train
        self._in_order = train.batches(classes, settings.batch_size)
        self._test = test.batches(classes, settings.batch_size)
        self._batches = self._in_order
        if settings.shuffle:  # refilled in place
            self._batches = [Batch(b.x.clone(), b.y.clone()) for b in self._in_order]
        self._runner: EpochRunner | None = None
        with torch.no_grad():
            self._observe()

    @property
    def updates_per_epoch(self) -> int:
        """ceil(points / batch size)."""
        return len(self._batches)

    @property
    def finished(self) -> bool:
        """Whether every net has stopped."""
        return not self.active

    @property
    def parameter_count(self) -> int:
        """Weights of one net."""
        return sum(weight.shape[1] * weight.shape[2] for weight in self._stack.weights)

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return self._stack.weights[0].device

    @torch.no_grad()
    def advance(self) -> None:
        """One epoch of updates, then whatever is due: losses, kept weights, the stopping rule."""
        if self._runner is None:
            self._runner = EpochRunner(self._stack, self._batches)
        if self.settings.shuffle:
            self._shuffle()
        first = self.epoch * self.updates_per_epoch
        self._runner.run([self.rate(first + i) for i in range(self.updates_per_epoch)])
        self.epoch += 1
        if self._stop_is_due() or self._record_is_due():
            self._observe()

    def rate(self, update: int) -> float:
        """Learning rate of ``update`` (0, 1, ...)."""
        settings = self.settings
        return settings.learning_rate * settings.schedule(update, self.updates_per_epoch)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors (on the CPU) and JSON-ready values from which :meth:`restore` resumes."""
        tensors = {f"kept/{key}": value for key, value in self.kept.items()}
        active = [w[: len(self.active)] for w in self._stack.weights]  # none once all have stopped
        tensors |= {f"active/{i}": w.cpu() for i, w in enumerate(active)}
        carried = self._stack.carried.items()
        tensors |= {f"carried/{name}": value[: len(self.active)].cpu() for name, value in carried}
        values = {
            "epoch": self.epoch,
            "active": self.active,
            "stopped": list(self.stopped.items()),
            "records": [asdict(record) for record in self.records],
        }
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go back to a :meth:`state` of a run with the same seeds, data and settings."""
        positions = [self.active.index(seed) for seed in values["active"]]
        self._stack = self._stack.select(positions)
        for i, weight in enumerate(self._stack.weights):
            weight.copy_(tensors[f"active/{i}"])
        for name, value in self._stack.carried.items():
            value.copy_(tensors[f"carried/{name}"])
        self._runner = None
        self.epoch = values["epoch"]
        self.active = list(values["active"])
        self.stopped = dict(values["stopped"])
        self.records = [Record(**record) for record in values["records"]]
        self.kept = {
            key.removeprefix("kept/"): value for key, value in tensors.items() if key.startswith("kept/")
        }

    def _stop_is_due(self) -> bool:
        past_minimum = self.epoch - self.settings.min_epochs
        return self.epoch == self.settings.max_epochs or (
            past_minimum >= 0 and past_minimum % self.settings.gradient_norm_every == 0
        )

    def _record_is_due(self) -> bool:
        return self.epoch % self.settings.record_every == 0 or self.epoch in self._keep_epochs

    @property
    def _keep_epochs(self) -> frozenset[int]:
        return self.settings.keep_epochs | {0}

    def _is_kept(self, stop: StopReason | None) -> bool:
        return stop != "diverged" and (stop is not None or self.epoch in self._keep_epochs)

    def _observe(self) -> None:
        train = self.last = self._stack.evaluate(self._in_order, gradient=True)
        finite = self._stack.finite()
        stopping = {
            seed: reason
            for position, seed in enumerate(self.active)
            if (reason := self._stop_reason(position, train, finite[position])) is not None
        }
        record_all = self._record_is_due()
        if not (stopping or record_all):
            return
        test = self._stack.evaluate(self._test, gradient=False)
        for position, seed in enumerate(self.active):
            if record_all or seed in stopping:
                self._record(position, seed, train, test)
            if self._is_kept(stopping.get(seed)):
                self._keep(position, seed)
        if stopping:
            self._drop(stopping)

    def _stop_reason(self, position: int, train: Evaluation, finite: bool) -> StopReason | None:
        if not (finite and math.isfinite(train.loss[position])):
            return "diverged"
        if not self._stop_is_due():
            return None
        if (
            self.epoch >= self.settings.min_epochs
            and train.gradient_norm[position] <= self.settings.target_gradient_norm
        ):
            return "gradient_norm"
        return "epoch_cap" if self.epoch == self.settings.max_epochs else None

    def _record(self, position: int, seed: int, train: Evaluation, test: Evaluation) -> None:
        carried = self._stack.carried
        length, largest = (carried.get(f"path/{name}") for name in ("length", "largest_gradient"))
        self.records.append(
            Record(
                seed=seed,
                epoch=self.epoch,
                train_loss=train.loss[position],
                train_error=train.error[position],
                test_loss=test.loss[position],
                test_error=test.error[position],
                gradient_norm=train.gradient_norm[position],
                penalty=None if train.penalty is None else train.penalty[position],
                path_length=None if length is None else float(length[position]),
                largest_gradient_norm=None if largest is None else float(largest[position]),
            )
        )

    def _keep(self, position: int, seed: int) -> None:
        for layer, weight in enumerate(self._stack.weights):
            self.kept[checkpoint_key(seed, self.epoch, layer)] = weight[position].cpu().clone()

    def _drop(self, stopping: Mapping[int, StopReason]) -> None:
        self.stopped |= stopping
        staying = [i for i, seed in enumerate(self.active) if seed not in stopping]
        self.active = [self.active[i] for i in staying]
        self._runner = None
        if staying:
            self._stack = self._stack.select(staying)

    def _shuffle(self) -> None:
        random = np.random.default_rng([self.settings.order_seed, self.epoch])
        order = torch.from_numpy(random.permutation(len(self._points.y))).to(self.device)
        x = torch.cat([batch.x for batch in self._in_order], 1)[:, order]
        y = torch.cat([batch.y for batch in self._in_order], 1)[:, order]
        for batch, shuffled in zip(
            self._batches, make_batches(x, y, self.settings.batch_size), strict=True
        ):
            batch.x.copy_(shuffled.x)
            batch.y.copy_(shuffled.y)


def checkpoint_key(seed: int, epoch: int, layer: int) -> str:
    """Name of a weight in a checkpoint file; behind the epoch it is that of the Sequential's state."""
    return f"seed~{seed}/epoch~{epoch}/{2 * layer}.weight"
