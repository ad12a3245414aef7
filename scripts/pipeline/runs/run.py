"""The runs of experiments, as the steps behind training read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from nets import parts
from nets.training.points import Points, training_subset
from pipeline.config.training import Model, Training
from pipeline.provenance.files import read_tensors
from pipeline.runs import paths


class Checkpoint(NamedTuple):
    """A net after ``epoch`` epochs, on the CPU and in float32."""

    seed: int
    epoch: int
    model: nn.Sequential


class Run(BaseModel):
    """All seeds of one width of an experiment, and the files that hold them.

    ``variant`` is ``base`` where the training has none; ``training`` is there only for a study that
    does it itself.
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    variant: str
    noise: int
    width: int
    model: Model
    training_points: int | None
    training: Training | None = None
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


def read_checkpoints(path: Path, model: Model, width: int) -> Iterator[Checkpoint]:
    """Every net in a file of checkpoints, by seed and epoch."""
    tensors, _ = read_tensors(path)
    states: dict[tuple[int, int], dict[str, Tensor]] = {}
    for key, weight in tensors.items():
        seed, epoch, name = paths.parse_checkpoint_key(key)
        states.setdefault((seed, epoch), {})[name] = weight
    for (seed_number, epoch_number), state in sorted(states.items()):
        net = net_of(state, model, width)
        yield Checkpoint(seed_number, epoch_number, net)


def net_of(state: dict[str, Tensor], model: Model, width: int) -> nn.Sequential:
    """The net with the weights ``state``, of the family that ``model`` names."""
    net: nn.Sequential = parts.load("model", model.name).from_state(state, model, width)
    return net
