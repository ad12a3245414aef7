"""Bounds of nets trained with either loss, and of the one with cross-entropy behind its softmax."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from pydantic import Field
from torch import nn

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.threads import map_single_threaded
from nets.settings import Count, Section
from nets.training.points import Points
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import loss_name, outcome


class Settings(Section):
    """Bounds of nets trained with cross-entropy and with squared error."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per run, seed, kept epoch and quantity. Source: Khromov & Singh, ICLR 2024, Figure S28.

    ``c_lower_softmax`` is there for cross-entropy only, whose softmax is part of the loss.
    """
    rows = []
    for run in runs:
        points, loss = run.points(arrays), loss_name(run)

        def of_net(
            net: Checkpoint, run: Run = run, points: Points = points, loss: str = loss
        ) -> list[dict[str, Any]]:
            place = run.about | {"points": len(points.y), "seed": net.seed, "epoch": net.epoch}
            train_loss = outcome(net.model, points, loss).loss
            return [
                place | {"quantity": name, "value": value, "train_loss": train_loss}
                for name, value in quantities(net.model, points, softmax=loss == "cross_entropy")
            ]

        found = map_single_threaded(of_net, list(run.every_checkpoint()))
        rows += [row for net in found for row in net]
        LOG.info("%s at width %d: %d rows so far", run.experiment, run.width, len(rows))
    return pd.DataFrame(rows)


def quantities(model: nn.Module, points: Points, *, softmax: bool) -> Iterator[tuple[str, float]]:
    """Names and values of the bounds of one net."""
    lower = lower_bound(model, points.x)
    yield "c_lower", lower.max
    yield "c_avg", lower.mean
    yield "c_upper", upper_bound(model, tuple(points.x.shape[1:])).value
    if softmax:
        with_softmax = nn.Sequential(*model.children(), nn.Softmax(-1))
        yield "c_lower_softmax", lower_bound(with_softmax, points.x).max
