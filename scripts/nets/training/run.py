"""Training of several seeds to the stopping rule of the paper, one epoch at a time.

Source: Khromov & Singh, ICLR 2024, appendix S2: gradient descent in a fixed batch order, gradients
clipped at norm 50, stopped at the first epoch past a minimum at which the norm of the full-batch
gradient is at most a target, or at a cap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from nets.training.ensemble import Ensemble, Evaluation
from nets.training.points import Points
from nets.training.schedule import Schedule

StopReason = Literal["gradient_norm", "epoch_cap", "diverged"]


@dataclass(frozen=True)
class Settings:
    """What a training run depends on besides its nets, their recipe and its data.

    ``schedule`` gives the factor of ``learning_rate`` per update. With ``shuffle`` the batch order
    of epoch e is drawn from (``order_seed``, e), else every epoch takes the points in order; what
    else is random in an epoch is drawn from the same two numbers. From
    ``min_epochs`` on, the full-batch gradient norm is computed every ``gradient_norm_every``
    epochs, and a net stops once it is at most ``target_gradient_norm``; at ``max_epochs`` all stop.
    Losses are recorded every ``record_every`` epochs, nets kept at ``keep_epochs``; both also at
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


class Store(Protocol):
    """Where a run puts what it has found, once and for all."""

    def keep(self, seed: int, epoch: int, net: Mapping[str, Tensor]) -> None:
        """Keep the ``state_dict`` of a net; the tensors are overwritten afterwards."""

    def record(self, record: Record) -> None:
        """Keep a record."""


@dataclass
class Memory:
    """A store in memory: nets on the CPU by seed and epoch, and the records."""

    nets: dict[tuple[int, int], dict[str, Tensor]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def keep(self, seed: int, epoch: int, net: Mapping[str, Tensor]) -> None:
        """See :class:`Store`."""
        self.nets[seed, epoch] = {name: value.cpu().clone() for name, value in net.items()}

    def record(self, record: Record) -> None:
        """See :class:`Store`."""
        self.records.append(record)


class TrainingRun:
    """A resumable training of ``ensemble``, whose nets are called ``seeds`` in order.

    What it finds goes into ``store``, into memory where none is given. Call :meth:`start` or
    :meth:`restore`, and :meth:`advance` until :attr:`finished`. :meth:`state` and the store carry
    everything that later epochs depend on, so an interrupted run ends with the same bytes as one
    that was not.
    """

    def __init__(
        self,
        ensemble: Ensemble[Any],
        seeds: Sequence[int],
        train: Points,
        test: Points,
        settings: Settings,
        store: Store | None = None,
    ) -> None:
        self.settings = settings
        self.ensemble = ensemble
        self.epoch = 0
        self.active = list(seeds)
        self.stopped: dict[int, tuple[StopReason, int]] = {}
        self.last: Evaluation | None = None
        self.store: Store = Memory() if store is None else store
        self._train = ensemble.prepare(train, settings.batch_size)
        self._test = ensemble.prepare(test, settings.batch_size)
        self.updates_per_epoch = -(-len(train) // settings.batch_size)

    @property
    def finished(self) -> bool:
        """Whether every net has stopped."""
        return not self.active

    @torch.no_grad()
    def start(self) -> None:
        """Record and keep the nets as they are initialised."""
        self._observe()

    @torch.no_grad()
    def advance(self) -> None:
        """One epoch of updates, then whatever is due: losses, kept nets, the stopping rule."""
        first = self.epoch * self.updates_per_epoch
        rates = [self.rate(first + i) for i in range(self.updates_per_epoch)]
        randomness = (self.settings.order_seed, self.epoch)
        self.ensemble.train_epoch(self._train, rates, self._order(), randomness)
        self.epoch += 1
        if self._stop_is_due() or self._record_is_due():
            self._observe()

    def rate(self, update: int) -> float:
        """Learning rate of ``update`` (0, 1, ...)."""
        settings = self.settings
        return settings.learning_rate * settings.schedule(update, self.updates_per_epoch)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-ready values from which :meth:`restore` resumes.

        The tensors are those that the nets train with: use them before the next update.
        """
        values = {
            "epoch": self.epoch,
            "active": self.active,
            "stopped": [(seed, *how) for seed, how in self.stopped.items()],
        }
        return ({} if self.finished else self.ensemble.state()), values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go back to a :meth:`state` of a run with the same seeds, data and settings."""
        positions = [self.active.index(seed) for seed in values["active"]]
        if positions:
            self.ensemble.select(positions)
            with torch.no_grad():
                self.ensemble.restore(tensors)
        self.epoch = values["epoch"]
        self.active = list(values["active"])
        self.stopped = {seed: (reason, epoch) for seed, reason, epoch in values["stopped"]}

    def _order(self) -> Tensor | None:
        if not self.settings.shuffle:
            return None
        random = np.random.default_rng([self.settings.order_seed, self.epoch])
        return torch.from_numpy(random.permutation(len(self._train)))

    def _stop_is_due(self) -> bool:
        past_minimum = self.epoch - self.settings.min_epochs
        return self.epoch == self.settings.max_epochs or (
            past_minimum >= 0 and past_minimum % self.settings.gradient_norm_every == 0
        )

    def _record_is_due(self) -> bool:
        return self.epoch % self.settings.record_every == 0 or self._keep_is_due()

    def _keep_is_due(self) -> bool:
        return self.epoch == 0 or self.epoch in self.settings.keep_epochs

    def _observe(self) -> None:
        train = self.last = self.ensemble.evaluate(self._train, gradient=True)
        finite = self.ensemble.finite()
        stopping = {
            position: reason
            for position in range(len(self.active))
            if (reason := self._stop_reason(position, train, finite[position])) is not None
        }
        record_all = self._record_is_due()
        if not (stopping or record_all):
            return
        test = self.ensemble.evaluate(self._test, gradient=False)
        for position, seed in enumerate(self.active):
            stop = stopping.get(position)
            if record_all or stop is not None:
                self.store.record(self._record(position, seed, train, test))
            if stop != "diverged" and (stop is not None or self._keep_is_due()):
                self.store.keep(seed, self.epoch, self.ensemble.net(position))
        if stopping:
            self._drop(stopping)

    def _stop_reason(self, position: int, train: Evaluation, finite: bool) -> StopReason | None:
        if not (finite and np.isfinite(train.loss[position])):
            return "diverged"
        if not self._stop_is_due():
            return None
        if (
            self.epoch >= self.settings.min_epochs
            and train.gradient_norm[position] <= self.settings.target_gradient_norm
        ):
            return "gradient_norm"
        return "epoch_cap" if self.epoch == self.settings.max_epochs else None

    def _record(self, position: int, seed: int, train: Evaluation, test: Evaluation) -> Record:
        path = self.ensemble.path
        return Record(
            seed=seed,
            epoch=self.epoch,
            train_loss=train.mean_loss(position),
            train_error=train.error(position),
            test_loss=test.mean_loss(position),
            test_error=test.error(position),
            gradient_norm=train.gradient_norm[position],
            penalty=None if train.penalty is None else train.penalty[position],
            path_length=None if path is None else path.length[position],
            largest_gradient_norm=None if path is None else path.largest_gradient[position],
        )

    def _drop(self, stopping: Mapping[int, StopReason]) -> None:
        for position, reason in stopping.items():
            self.stopped[self.active[position]] = (reason, self.epoch)
        staying = [position for position in range(len(self.active)) if position not in stopping]
        self.active = [self.active[position] for position in staying]
        if staying:
            self.ensemble.select(staying)
