"""The Lipschitz constant in the parameters along training, for the theory of its growth."""

import pandas as pd
import torch
from torch import Tensor

from lipbounds.parameter_space import parameter_jacobian_norms
from nets.settings import Section
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Run


class Settings(Section):
    """The Lipschitz constant in the parameters along training."""


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per run, seed and kept epoch: C_theta there, its running maximum, and the data's diameter.

    Source: Khromov & Singh, ICLR 2024, appendix S3.4. The maximum is over the kept checkpoints, and
    so from below that over all updates.
    """
    rows = []
    for run in runs:
        x = run.points(arrays).x
        about = run.about | {"points": len(x), "diameter": diameter(x)}
        for seed, epoch, model in run.every_checkpoint():
            here = parameter_jacobian_norms(model, x).max().item()
            rows.append(about | {"seed": seed, "epoch": epoch, "c_theta": here})
            LOG.info("seed %d, epoch %d: C_theta = %.6g", seed, epoch, here)
    table = pd.DataFrame(rows)
    by_seed = table.groupby(["experiment", "variant", "noise", "width", "seed"])["c_theta"]
    table["c_theta_running"] = by_seed.cummax()
    return table


def diameter(x: Tensor) -> float:
    """The largest distance between two of the points (n, d)."""
    points = x.double()
    return max(torch.cdist(part, points).max().item() for part in points.split(1000))
