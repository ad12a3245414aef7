"""The very run behind the paper's Table S3: its initialisation, its batches, its training.

The authors' code seeds PyTorch with 42 before it builds a net, and permutes the training set before
it cuts batches from it. A run from that start reproduces the values of the table.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
from pydantic import Field

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.threads import one_thread
from nets.models.fcn import seeded_fcn
from nets.settings import Count, NonNegative, Section
from nets.training.assemble import assemble
from nets.training.points import Points, training_subset
from nets.training.run import Memory, Store, TrainingRun
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run, net_of
from pipeline.runs.training_job import recipe, run_settings


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
    store = Memory()
    with one_thread():
        training = start(run, settings, ordered, test, store)
        while not training.finished:
            training.advance()
            if training.epoch % 1000 == 0:
                LOG.info("epoch %d of %d", training.epoch, training.settings.max_epochs)
    losses = {record.epoch: record.train_loss for record in store.records}
    about = run.about | {"torch_seed": settings.torch_seed}
    return pd.DataFrame(
        [
            about | measures(net, train) | {"train_loss": losses[net.epoch]}
            for net in kept(store, run, train)
        ]
    )


def start(run: Run, settings: Settings, train: Points, test: Points, store: Store) -> TrainingRun:
    """The authors' initialisation, to be trained as ``run`` is, to the last epoch asked for."""
    how = run.training
    assert how is not None  # the study is `untrained`
    last = max(settings.epochs)
    net = seeded_fcn(settings.torch_seed, train.x.shape[1], [run.width], _classes(train))
    ensemble = assemble([net], recipe(how), train.x.device, _classes(train))
    own = replace(
        run_settings(how, 0),
        min_epochs=last,
        max_epochs=last,
        record_every=last,
        keep_epochs=frozenset(settings.epochs),
    )
    training = TrainingRun(ensemble, [0], train, test, own, store)
    training.start()
    return training


def kept(store: Memory, run: Run, train: Points) -> list[Checkpoint]:
    """The nets that were kept, by epoch."""
    shape = tuple(train.x.shape[1:])
    return [
        Checkpoint(seed, epoch, net_of(state, run.model, run.width, shape, _classes(train)))
        for (seed, epoch), state in sorted(store.nets.items())
    ]


def _classes(train: Points) -> int:
    return int(train.y.max()) + 1


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
