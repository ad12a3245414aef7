"""C_lower of nets that are trained with one factor changed at a time.

No figure of a paper: Khromov & Singh, ICLR 2024, train with one rate, schedule and batch order.
"""

from typing import Any

import pandas as pd
import torch
from pydantic import Field

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.threads import map_single_threaded
from nets.settings import Count, NonNegative, Section
from nets.training.initialisation import alive_share
from nets.training.run import Memory, TrainingRun
from pipeline.config.training import TrainingJob
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Run, net_of
from pipeline.runs.training_job import build_run


class Settings(Section):
    """Double descent with one factor changed at a time."""

    seeds: Count = Field(description="initialisations of each variant and width")
    seed: NonNegative = Field(description="root of their seeds, the same for all variants")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per variant, width and seed."""
    widest_first = sorted(runs, key=lambda run: -run.width)
    # initialisations are drawn from the global random state, which threads would share
    trainings = [start(settings, run, arrays) for run in widest_first]

    def rows(place: int) -> list[dict[str, Any]]:
        return trained(widest_first[place], trainings[place], arrays)

    found = map_single_threaded(rows, range(len(runs)))
    table = pd.DataFrame([row for one in found for row in one])
    return table.sort_values(["variant", "width", "seed"], ignore_index=True)


def start(settings: Settings, run: Run, arrays: Arrays) -> TrainingRun:
    """All seeds of a run at initialisation."""
    assert run.training is not None  # the study is `untrained`
    job = TrainingJob(
        model=run.model,
        seeds=settings.seeds,
        random_seed=settings.seed,
        training=run.training,
        training_points=run.training_points,
    )
    train, test = run.points(arrays), run.points(arrays, "test")
    classes = int(train.y.max()) + 1
    return build_run(job, run.width, train, test, classes, torch.device("cpu"))


def trained(run: Run, training: TrainingRun, arrays: Arrays) -> list[dict[str, Any]]:
    """Train to the end, and measure each net."""
    store = training.store
    assert isinstance(store, Memory)
    training.start()
    while not training.finished:
        training.advance()
    LOG.info("%s, width %d: %d epochs", run.variant, run.width, training.epoch)
    train = run.points(arrays)
    shape, classes = tuple(train.x.shape[1:]), int(train.y.max()) + 1
    records = {(record.seed, record.epoch): record for record in store.records}
    rows = []
    for seed, (reason, epoch) in sorted(training.stopped.items()):
        row = run.about | {"seed": seed, "epoch": epoch, "stop_reason": reason}
        if reason != "diverged":
            first, last = (
                net_of(store.nets[seed, at], run.model, run.width, shape, classes) for at in (0, epoch)
            )
            record = records[seed, epoch]
            row |= {
                "alive_share_at_start": alive_share(first, train.x, train.y),
                "alive_share_at_stop": alive_share(last, train.x, train.y),
                "train_loss": record.train_loss,
                "train_error": record.train_error,
                "test_loss": record.test_loss,
                "gradient_norm": record.gradient_norm,
                "c_lower": lower_bound(last, train.x).max,
                "log10_c_upper": upper_bound(last, shape).log10,
            }
        rows.append(row)
    return rows
