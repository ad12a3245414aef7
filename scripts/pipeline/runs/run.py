"""The runs of experiments, as the steps behind training read them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from nets import parts
from nets.training.initialisation import with_state
from nets.training.points import Points, as_inputs, training_subset
from pipeline.config.training import Model, Training
from pipeline.provenance.files import read_tensors, tensors_one_by_one
from pipeline.runs import paths


class Checkpoint(NamedTuple):
    """A net after ``epoch`` epochs, on the CPU and in float32."""

    seed: int
    epoch: int
    model: nn.Module


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

    def points(self, arrays: dict[str, Tensor], part: str = "train", most: int | None = None) -> Points:
        """The points that it was trained on, with their noisy labels, or the ``test`` points.

        Of more than ``most`` these many, at random and the same on every call. Where ``arrays`` are of
        several data sets they are called DATASET/NAME.
        """
        labels, _ = read_tensors(self.labels)
        name = f"x_{part}"
        x = arrays[name if name in arrays else f"{paths.dataset_of(self.labels)}/{name}"]
        points = Points(x, labels[f"y_{part}"])
        chosen = training_subset(points, self.training_points) if part == "train" else points
        if most is not None and most < len(chosen):
            chosen = training_subset(chosen, most)
        return Points(as_inputs(chosen.x), chosen.y)

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
        found: list[dict[str, Any]] = json.loads(self.summary.read_bytes())["seeds"]
        return found


def read_checkpoints(path: Path, model: Model, width: int) -> Iterator[Checkpoint]:
    """Every net in a file of checkpoints, by seed and epoch, one after another."""
    keys, read, about = tensors_one_by_one(path)
    nets: dict[tuple[int, int], dict[str, str]] = {}
    for key in keys:
        seed, epoch, name = paths.parse_checkpoint_key(key)
        nets.setdefault((seed, epoch), {})[name] = key
    for (seed, epoch), names in sorted(nets.items()):
        state = {name: read(key) for name, key in names.items()}
        yield Checkpoint(seed, epoch, net_of(state, model, width, about["shape"], about["classes"]))


def net_of(
    state: dict[str, Tensor], model: Model, width: int, shape: Sequence[int], classes: int
) -> nn.Module:
    """The net with the weights ``state``, of the family that ``model`` names, in eval mode.

    It maps points of ``shape`` to ``classes`` logits.
    """
    return with_state(parts.made("model", model), state, width, shape, classes).eval()
