"""What trainings and their bounds compute, hold and write, from their set-ups."""

import math
from dataclasses import dataclass
from functools import cached_property

from nets.training.assemble import why_not_stacked
from pipeline.config.training import PlainSetup
from pipeline.plan.datasets import Size
from pipeline.plan.work import NUMBER, Net, Work, net
from pipeline.runs.training_job import recipe

_ROW = 200
"""Bytes of a row of history.csv or bounds.csv, about."""


@dataclass(frozen=True)
class Run:
    """One training job: all seeds of a set-up at a width, on data of a size."""

    setup: PlainSetup
    width: int
    data: Size

    @cached_property
    def net(self) -> Net:
        """One of its nets."""
        return net(self.setup.model, self.width, self.data.shape, self.data.classes)

    @property
    def points(self) -> int:
        """That it is trained on."""
        return min(self.setup.training_points or self.data.training, self.data.training)

    @property
    def epochs(self) -> tuple[int, int]:
        """The fewest and the most that the stopping rule lets it train."""
        training = self.setup.training
        return max(1, training.min_epochs), training.max_epochs

    @cached_property
    def stacked(self) -> bool:
        """Whether seeds train in the same products."""
        return why_not_stacked(self.net.module, recipe(self.setup.training)) is None

    def training(self, epochs: int) -> Work:
        """Updates, checks of the stopping rule and records of ``epochs``."""
        training = self.setup.training
        batch = min(training.batch_size, self.points)
        updates = math.ceil(self.points / batch)
        extra = math.prod(penalty.work for penalty in training.penalties.values())
        epoch = self.net.update(batch).times(updates * extra)
        checks = max(0, epochs - training.min_epochs) // training.gradient_norm_every + 1
        records = epochs // training.record_every + 2
        tested = self.net.forward(batch).times(math.ceil(self.data.test / batch))
        whole = epoch.times(epochs + checks + records) + tested.times(records)
        return self._of_all_seeds(whole)

    def _of_all_seeds(self, work: Work) -> Work:
        seeds = self.setup.seeds
        return work.side_by_side(seeds) if self.stacked else work.times(seeds)

    def checkpoints(self, epochs: int) -> int:
        """Kept nets of all seeds: at initialisation, at the stop, and in between."""
        between = {epoch for epoch in self.setup.training.keep_epochs if 0 < epoch < epochs}
        return self.setup.seeds * (2 + len(between))

    @property
    def bound_points(self) -> int:
        """Training and test points that the lower bounds of a checkpoint are taken over."""
        most = self.setup.bounds.points or math.inf
        return int(min(self.points, most) + min(self.data.test, most))

    def bounds(self, epochs: int) -> Work:
        """The Jacobians of every checkpoint."""
        return self.net.jacobians(self.bound_points).times(self.checkpoints(epochs))

    @property
    def kind(self) -> str:
        """Of the training, as there are rates for it."""
        return "train stacked" if self.stacked else "train plain"

    def training_features(self, epochs: int) -> dict[str, float]:
        """What the time of the training depends on."""
        work = self.training(epochs)
        return {"padded": work.padded, "calls": work.calls, "bytes": work.bytes}

    def bounds_features(self, epochs: int) -> dict[str, float]:
        """What the time of the bounds depends on."""
        work, checkpoints = self.bounds(epochs), self.checkpoints(epochs)
        return {
            "padded": work.padded,
            "calls": work.calls,
            "bytes": work.bytes,
            "traced": self.net.exported * checkpoints,
            "norms": self.net.gram.flop * checkpoints,
        }

    def disk(self, epochs: int) -> tuple[float, float]:
        """Bytes that the training writes, and its bounds."""
        checkpoints = self.checkpoints(epochs)
        records = self.setup.seeds * (epochs // self.setup.training.record_every + 2)
        return self.net.checkpoint_bytes * checkpoints + _ROW * records, 2 * _ROW * checkpoints

    @property
    def bounds_bytes(self) -> float:
        """Held at a time: data, a checkpoint, and the Jacobians of some points."""
        used = NUMBER * self.data.numbers * self.bound_points
        return self.data.bytes + 2 * used + 3 * self.net.checkpoint_bytes + self.net.gram.bytes
