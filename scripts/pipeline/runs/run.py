"""The runs of experiments, as the steps behind training read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from nets.models.fcn import fcn
from nets.training.run import Points
from pipeline.config.training import Model
from pipeline.provenance.files import read_tensors
from pipeline.runs.training_job import hidden_sizes

_SUBSET_SEED = 42  # that of the released code


class Checkpoint(NamedTuple):
    """A net after ``epoch`` epochs, on the CPU and in float32."""

    seed: int
    epoch: int
    model: nn.Sequential


class Run(BaseModel):
    """All seeds of one width of an experiment, and the files that hold them.

    ``variant`` is ``base`` where the experiment has none.
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    variant: str
    noise: int
    width: int
    model: Model
    training_points: int | None
    labels: Path
    checkpoints: Path
    summary: Path

    @property
    def about(self) -> dict[str, Any]:
        """The columns that name the run in a table."""
        return {
            "experiment": self.experiment,
            "variant": self.variant,
            "noise": self.noise,
            "width": self.width,
        }

    def points(self, arrays: dict[str, Tensor], part: str = "train") -> Points:
        """The points that it was trained on, with their noisy labels, or the ``test`` points."""
        labels, _ = read_tensors(self.labels)
        points = Points(arrays[f"x_{part}"], labels[f"y_{part}"])
        return training_subset(points, self.training_points) if part == "train" else points

    def every_checkpoint(self) -> Iterator[Checkpoint]:
        """All that was kept, by seed and epoch."""
        yield from read_checkpoints(self.checkpoints, self.model, self.width)

    def at_start(self) -> list[Checkpoint]:
        """Initialisations, by seed."""
        return [c for c in self.every_checkpoint() if c.epoch == 0]

    def at_stop(self) -> list[Checkpoint]:
        """Nets where training stopped, by seed, without those that diverged."""
        stops = {(s["seed"], s["epochs"]) for s in self.seeds() if s["stop_reason"] != "diverged"}
        return [c for c in self.every_checkpoint() if (c.seed, c.epoch) in stops]

    def seeds(self) -> list[dict[str, Any]]:
        """Where and why each seed stopped, and its losses there."""
        found: list[dict[str, Any]] = json.loads(self.summary.read_text())["seeds"]
        return found


def training_subset(points: Points, count: int | None) -> Points:
    """``count`` random points, the same on every call; all of them, in order, for None.

    They are those of the authors' code. Raises ``ValueError`` for more points than there are.
    """
    if count is None:
        return points
    if count > len(points.y):
        raise ValueError(f"training_points is {count} and there are {len(points.y)} points; lower it")
    chosen = np.random.RandomState(_SUBSET_SEED).choice(len(points.y), count, replace=False)
    return Points(points.x[chosen].contiguous(), points.y[chosen].contiguous())


def read_checkpoints(path: Path, model: Model, width: int) -> Iterator[Checkpoint]:
    """Every net in a file of checkpoints, by seed and epoch."""
    tensors, _ = read_tensors(path)
    states: dict[tuple[int, int], dict[str, Tensor]] = {}
    for key, weight in tensors.items():
        seed, epoch, name = key.split("/")
        place = int(seed.removeprefix("seed~")), int(epoch.removeprefix("epoch~"))
        states.setdefault(place, {})[name] = weight
    for (seed_number, epoch_number), state in sorted(states.items()):
        net = fcn_of(state, model, width)
        yield Checkpoint(seed_number, epoch_number, net)


def fcn_of(state: dict[str, Tensor], model: Model, width: int) -> nn.Sequential:
    """The net with the weights ``state``."""
    by_depth = sorted(state, key=lambda name: int(name.split(".")[0]))
    inputs, outputs = state[by_depth[0]].shape[1], state[by_depth[-1]].shape[0]
    with torch.device("meta"):
        net = fcn(
            inputs, hidden_sizes(model, width), outputs, activation_on_output=model.output_activation
        )
    net.load_state_dict(state, assign=True)
    return net
