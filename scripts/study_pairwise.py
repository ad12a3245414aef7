"""The largest Jacobian norm at the training points against the steepest secant between them."""

from typing import Any

import pandas as pd
from torch import Tensor

from lipbounds.bounds import lower_bound
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.threads import map_single_threaded
from pipeline.config.studies import Pairwise
from pipeline.jobs.progress import LOG
from pipeline.runs.checkpoints import checkpoints_at
from pipeline.runs.run import Checkpoint, Run
from pipeline.study_command import Arrays, runs_command


def study(settings: Pairwise, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
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


if __name__ == "__main__":
    runs_command(study, Pairwise, __doc__)
