"""The very run behind the paper's Table S3: its initialisation, its batches, its training.

The authors' code seeds PyTorch with 42 before it builds a net, and permutes the training set before
it cuts batches from it. From that start the values of the table come out again.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.threads import one_thread
from nets.models.fcn import linear_weights, seeded_fcn
from nets.training.loss import loss_named
from nets.training.run import Points, Settings, TrainingRun
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN
from pipeline.config.studies import PaperRun
from pipeline.config.training import Training
from pipeline.jobs.progress import LOG
from pipeline.runs.run import Checkpoint, Run, fcn_of, training_subset
from pipeline.study_command import Arrays, runs_command


class Job(PaperRun):
    """The study with the training of its run, so that the run need not be there."""

    training: Training


def study(settings: Job, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per epoch. Source: Khromov & Singh, ICLR 2024, Table S3 and appendix S3.1."""
    (run,) = runs
    train, test = run.points(arrays), run.points(arrays, "test")
    ordered = training_subset(train, len(train.y)) if settings.permuted else train
    with one_thread():
        training = start(run, settings, ordered, test)
        while not training.finished:
            training.advance()
            if training.epoch % 1000 == 0:
                LOG.info("epoch %d of %d", training.epoch, training.settings.max_epochs)
    losses = {record.epoch: record.train_loss for record in training.records}
    about = run.about | {"torch_seed": settings.torch_seed}
    return pd.DataFrame(
        [about | measures(net, train) | {"train_loss": losses[net.epoch]} for net in kept(training, run)]
    )


def start(run: Run, settings: Job, train: Points, test: Points) -> TrainingRun:
    """The authors' initialisation, to be trained as ``run`` is, to the last epoch asked for."""
    how = settings.training
    classes = int(max(train.y.max(), test.y.max())) + 1
    net = seeded_fcn(settings.torch_seed, train.x.shape[1], [run.width], classes)
    stack = StackedFCN(
        [weight.unsqueeze(0).clone() for weight in linear_weights(net)],
        output_slope=0.0,
        loss=loss_named(how.loss),
        clip_norm=torch.inf if how.clip_norm is None else how.clip_norm,
        largest_batch=min(how.batch_size, max(len(train.y), len(test.y))),
    )
    schedule = how.schedule.model_dump()
    epochs: Sequence[int] = settings.epochs
    return TrainingRun(
        stack,
        [0],
        train,
        test,
        Settings(
            learning_rate=how.learning_rate,
            schedule=build_schedule(schedule.pop("name"), **schedule),
            batch_size=how.batch_size,
            min_epochs=max(epochs),
            max_epochs=max(epochs),
            target_gradient_norm=how.target_gradient_norm,
            gradient_norm_every=how.gradient_norm_every,
            record_every=max(epochs),
            keep_epochs=frozenset(epochs),
        ),
    )


def kept(training: TrainingRun, run: Run) -> list[Checkpoint]:
    """The nets that were kept, by epoch."""
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, weight in training.kept.items():
        _, epoch, name = key.split("/")
        states.setdefault(int(epoch.removeprefix("epoch~")), {})[name] = weight
    return [
        Checkpoint(0, epoch, fcn_of(state, run.model, run.width))
        for epoch, state in sorted(states.items())
    ]


def measures(net: Checkpoint, train: Points) -> dict[str, Any]:
    """Bounds at the training points."""
    lower = lower_bound(net.model, train.x)
    upper = upper_bound(net.model, tuple(train.x.shape[1:]))
    return {
        "epoch": net.epoch,
        "c_lower": lower.max,
        "c_avg": lower.mean,
        "c_pairwise": pairwise_lower_bound(net.model, train.x).value,
        "log10_c_upper": upper.log10,
    }


if __name__ == "__main__":
    runs_command(study, Job, __doc__)
