"""What the studies of trained nets share: every net of some runs, and its losses."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from lipbounds.threads import map_single_threaded
from nets.training.loss import loss_named
from nets.training.points import Points
from pipeline.jobs.command import CommandError
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run

PARTS = ("train", "test")
"""The point sets: the points that a net was trained on, and the test points."""

_NUMBERS = 1 << 20
"""Of the points that are in a net at a time, so that wide nets for images fit into memory."""


class Outcome(NamedTuple):
    """Losses, float64, and whether the class is right, at points (n,)."""

    losses: Tensor
    correct: Tensor

    @property
    def loss(self) -> float:
        """Mean over the points."""
        return self.losses.mean().item()

    @property
    def error(self) -> float:
        """Share of the points whose class is wrong."""
        return 1 - self.correct.double().mean().item()


def rows_of_nets(
    runs: list[Run], arrays: Arrays, measure: Callable[[Run, Checkpoint], Iterator[dict[str, Any]]]
) -> pd.DataFrame:
    """The rows of every net at its stop, with the columns that name it and why it stopped.

    Without nets that are constant at the points that they were trained on, which the log is told: all
    of their hidden neurons are dead. Raises :class:`pipeline.jobs.command.CommandError` where no net is
    left.
    """
    nets = [(run, net) for run in runs for net in run.at_stop()]
    varying = [(run, net) for run, net in nets if not _is_constant(net.model, run.points(arrays).x)]
    folders = ", ".join(sorted({str(run.summary.parent) for run in runs}))
    if not varying:
        raise CommandError(
            f"no net in {folders} can be measured: each has diverged, or is constant as all of its "
            "hidden neurons are dead; lower learning_rate"
        )
    if len(varying) < len(nets):
        LOG.warning(
            "%d of %d nets in %s are constant, as all of their hidden neurons are dead: left out",
            len(nets) - len(varying),
            len(nets),
            folders,
        )
    return _rows(varying, measure)


def _rows(
    nets: list[tuple[Run, Checkpoint]], measure: Callable[[Run, Checkpoint], Iterator[dict[str, Any]]]
) -> pd.DataFrame:
    reasons = [
        {seed["seed"]: seed["stop_reason"] for seed in run.seeds()}[net.seed] for run, net in nets
    ]
    # the widest nets first, so that no worker is left alone with one at the end
    order = sorted(range(len(nets)), key=lambda place: -nets[place][0].width)
    measured = map_single_threaded(lambda place: list(measure(*nets[place])), order)
    rows_at = dict(zip(order, measured, strict=True))
    return pd.DataFrame(
        [
            run.about | {"seed": net.seed, "stop_reason": reasons[place]} | row
            for place, (run, net) in enumerate(nets)
            for row in rows_at[place]
        ]
    )


def _is_constant(model: nn.Module, x: Tensor) -> bool:
    logits = _logits(model, x)
    return bool((logits == logits[:1]).all())


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """Outputs (n, classes) in float64, few enough points at a time to fit into memory."""
    with torch.no_grad():
        batches = x.split(max(1, _NUMBERS // x[0].numel()))
        return torch.cat([model(batch).double() for batch in batches])


def loss_name(run: Run) -> str:
    """The loss that a run was trained with, a file in nets/training/losses."""
    name: str = json.loads(run.summary.read_bytes())["settings"]["training"]["loss"]
    return name


def outcome(model: nn.Module, points: Points, loss: str) -> Outcome:
    """Loss and hit at each of the ``points``."""
    logits = _logits(model, points.x)
    targets = one_hot(points.y, logits.shape[1])
    losses = loss_named(loss).values(logits.T.unsqueeze(0), targets.T).squeeze(0)
    return Outcome(losses, logits.argmax(1) == points.y)


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Labels as rows (n, classes) of float64."""
    return nn.functional.one_hot(y, classes).double()
