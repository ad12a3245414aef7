"""The very run behind the paper's Table S3: its initialisation, its batches, its training.

The authors' code seeds PyTorch with 42 before it builds a net, and permutes the training set before
it cuts batches from it. A run from that start reproduces the values of the table.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from pydantic import Field

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.threads import one_thread
from nets.models.fcn import linear_weights, seeded_fcn
from nets.settings import Count, NonNegative, Section
from nets.training.loss import loss_named
from nets.training.points import Points, training_subset
from nets.training.run import Settings as RunSettings
from nets.training.run import TrainingRun
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.paths import parse_checkpoint_key
from pipeline.runs.run import Checkpoint, Run, net_of


class Settings(Section):
    """The run behind the paper's Table S3, from its own start."""

    torch_seed: NonNegative = Field(description="seed given to PyTorch before the net is built")
    permuted: bool = Field(description="whether the training set is permuted as in the authors' code")
    epochs: tuple[Count, ...] = Field(
        min_length=1, description="epochs to measure at, besides initialisation; it stops at the last"
    )


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
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


def start(run: Run, settings: Settings, train: Points, test: Points) -> TrainingRun:
    """The authors' initialisation, to be trained as ``run`` is, to the last epoch asked for."""
    how = run.training
    assert how is not None  # the study is `untrained`
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
        RunSettings(
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
        _, epoch, name = parse_checkpoint_key(key)
        states.setdefault(epoch, {})[name] = weight
    return [
        Checkpoint(0, epoch, net_of(state, run.model, run.width))
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
