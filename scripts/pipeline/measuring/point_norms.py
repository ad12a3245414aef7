"""Jacobian norms of trained nets at every point, with the losses there."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lipbounds.jacobian import jacobian_norms
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, outcome, rows_of_nets


def norms_at_points(
    arrays: Arrays, runs: list[Run], most: Mapping[str, int | None] | None = None
) -> pd.DataFrame:
    """A row per net and point, training points and test points.

    ``most`` has how many of the points of each kind are taken at most, None being all of them.
    """

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        for part in PARTS:
            points = run.points(arrays, part, (most or {}).get(part))
            norms = jacobian_norms(net.model, points.x).tolist()
            losses, correct = outcome(net.model, points, loss_name(run))
            for point, row in enumerate(zip(norms, losses.tolist(), correct.tolist(), strict=True)):
                norm, loss, hit = row
                yield {"points": part, "point": point, "norm": norm, "loss": loss, "correct": hit}

    return rows_of_nets(runs, arrays, measure)
