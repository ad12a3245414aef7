"""The largest Jacobian norm at the training points against the steepest secant between them."""

import pandas as pd

from lipschitz.bounds import lower_bound
from lipschitz.bounds.pairwise import pairwise_lower_bound
from pipeline.checkpoints import checkpoints_at
from pipeline.progress import LOG
from pipeline.runs import Run
from pipeline.studies import Pairwise
from pipeline.study_command import Arrays, runs_command


def study(settings: Pairwise, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per run, seed and epoch. Source: Khromov & Singh, ICLR 2024, Table S3."""
    rows = []
    for run in runs:
        x = run.points(arrays).x
        for seed, epoch, model in checkpoints_at(run, settings.epochs):
            secant = pairwise_lower_bound(model, x)
            bounds = {"c_lower": lower_bound(model, x).max, "c_pairwise": secant.value}
            rows.append(run.about | {"seed": seed, "epoch": epoch} | bounds | {"pairs": secant.pairs})
            LOG.info("seed %d, epoch %d: %s", seed, epoch, bounds)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    runs_command(study, Pairwise, __doc__)
