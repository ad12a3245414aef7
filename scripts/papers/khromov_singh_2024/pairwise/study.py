"""The largest Jacobian norm at the training points against the steepest secant between them."""

from typing import Any

import pandas as pd
from pydantic import Field
from torch import Tensor

from lipbounds.bounds import lower_bound
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.threads import map_single_threaded
from nets.settings import Count, Section
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.checkpoints import checkpoints_at
from pipeline.runs.run import Checkpoint, Run


class Settings(Section):
    """Largest Jacobian norm and steepest secant, along training."""

    epochs: tuple[Count, ...] = Field(
        description="kept epochs to measure at, besides initialisation and the stop"
    )


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per run, seed and epoch. Source: Khromov & Singh, ICLR 2024, Table S3."""
    rows = []
    for run in runs:
        x = run.points(arrays).x

        def row(net: Checkpoint, run: Run = run, x: Tensor = x) -> dict[str, Any]:
            secant = pairwise_lower_bound(net.model, x)
            lower = lower_bound(net.model, x).max
            LOG.info("seed %d, epoch %d: %.6g, %.6g", net.seed, net.epoch, lower, secant.value)
            bounds = {"c_lower": lower, "c_pairwise": secant.value, "pairs": secant.pairs}
            return run.about | {"seed": net.seed, "epoch": net.epoch} | bounds

        rows += map_single_threaded(row, checkpoints_at(run, settings.epochs))
    return pd.DataFrame(rows)
