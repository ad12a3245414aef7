"""What a net linearised in its parameters could reach, against what training reached.

After Khromov & Singh, ICLR 2024, appendix S3.1: the Jacobian norms of the linearised net are at most
``sup |J_0| + |theta - theta_0| sup |d2f / dx dtheta|``, all suprema at initialisation.
"""

import math
from typing import Any

import pandas as pd
import torch

from lipschitz.jacobian import jacobian_norms
from lipschitz.models import linear_weights
from lipschitz.parameter_space import mixed_derivative_norms
from lipschitz.training.run import Points
from pipeline.runs import Checkpoint, Run
from pipeline.seeds import derive_seed
from pipeline.studies import Linearisation
from pipeline.study_command import Arrays, runs_command


def study(settings: Linearisation, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and quantity, and one per point for the norm of the mixed derivative.

    ``c_initial`` and ``c_final`` are the largest Jacobian norms at all training points.
    """
    rows = []
    for run in runs:
        starts = {net.seed: net for net in run.at_start()}
        for end in run.at_stop():
            found = _rows(settings, run.points(arrays), starts[end.seed], end)
            rows += [run.about | {"seed": end.seed} | row for row in found]
    return pd.DataFrame(rows).astype({"point": "Int64"})


def _rows(
    settings: Linearisation, points: Points, start: Checkpoint, end: Checkpoint
) -> list[dict[str, Any]]:
    x = points.x
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "points"))
    chosen = torch.randperm(len(x), generator=generator)[: settings.points]
    mixed = mixed_derivative_norms(start.model, x[chosen])
    initial, final = (jacobian_norms(net.model, x).max().item() for net in (start, end))
    distance = _distance(start, end)
    scalars = {
        "c_initial": initial,
        "c_final": final,
        "distance": distance,
        "mixed_largest": mixed.max().item(),
        "bound": initial + distance * mixed.max().item(),
    }
    rows: list[dict[str, Any]] = [
        {"quantity": name, "point": None, "value": value} for name, value in scalars.items()
    ]
    pairs = zip(chosen.tolist(), mixed.tolist(), strict=True)
    return rows + [{"quantity": "mixed", "point": point, "value": value} for point, value in pairs]


def _distance(start: Checkpoint, end: Checkpoint) -> float:
    """2-norm of the difference of all parameters."""
    pairs = zip(linear_weights(start.model), linear_weights(end.model), strict=True)
    return math.sqrt(sum((a.double() - b.double()).square().sum().item() for a, b in pairs))


if __name__ == "__main__":
    runs_command(study, Linearisation, __doc__)
