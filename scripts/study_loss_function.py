"""Bounds of nets trained with either loss, and of the one with cross-entropy behind its softmax."""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import nn

from lipschitz.bounds import lower_bound, upper_bound
from lipschitz.training.losses import LOSSES
from lipschitz.training.run import Points
from pipeline.progress import LOG
from pipeline.runs import Run
from pipeline.studies import LossFunction
from pipeline.study_command import Arrays, runs_command

LOSS_OF_EXPERIMENT = {
    "double_descent": "cross_entropy",
    "double_descent_mse": "mean_squared_error",
}


def study(settings: LossFunction, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per run, seed, kept epoch and quantity. Source: Khromov & Singh, ICLR 2024, Figure S28.

    ``c_lower_softmax`` is there for cross-entropy only, whose softmax is part of the loss.
    """
    rows = []
    for run in runs:
        points, loss = run.points(arrays), LOSS_OF_EXPERIMENT[run.experiment]
        for seed, epoch, model in run.every_checkpoint():
            place = run.about | {"seed": seed, "epoch": epoch}
            train_loss = training_loss(model, points, loss)
            rows += [
                place | {"quantity": name, "value": value, "train_loss": train_loss}
                for name, value in quantities(model, points, softmax=loss == "cross_entropy")
            ]
        LOG.info("%s at width %d: %d rows so far", run.experiment, run.width, len(rows))
    return pd.DataFrame(rows)


def training_loss(model: nn.Module, points: Points, loss: str) -> float:
    """Mean over the points, as in training."""
    with torch.no_grad():
        logits = model(points.x).T.unsqueeze(0)  # (1, classes, points)
    onehot = nn.functional.one_hot(points.y.long(), logits.shape[1]).T.to(logits.dtype)
    return float(LOSSES[loss].values(logits, onehot).double().mean())


def quantities(
    model: nn.Sequential, points: Points, *, softmax: bool
) -> Iterator[tuple[str, float]]:
    """Names and values of the bounds of one net."""
    lower = lower_bound(model, points.x)
    yield "c_lower", lower.max
    yield "c_avg", lower.mean
    yield "c_upper", upper_bound(model, tuple(points.x.shape[1:])).value
    if softmax:
        yield "c_lower_softmax", lower_bound(nn.Sequential(*model, nn.Softmax(-1)), points.x).max


if __name__ == "__main__":
    runs_command(study, LossFunction, __doc__)
