"""Jacobian norms of trained nets at every point, with the losses there.

After Khromov & Singh, ICLR 2024, Figures S22, S23 and S38.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from lipbounds.jacobian import jacobian_norms
from pipeline.config.studies import Distribution
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, outcome, rows_of_nets
from pipeline.study_command import Arrays, runs_command


def study(settings: Distribution, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and point, training points and test points."""

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        for part in PARTS:
            points = run.points(arrays, part)
            norms = jacobian_norms(net.model, points.x).tolist()
            losses, correct = outcome(net.model, points, loss_name(run))
            for point, row in enumerate(zip(norms, losses.tolist(), correct.tolist(), strict=True)):
                norm, loss, hit = row
                yield {"points": part, "point": point, "norm": norm, "loss": loss, "correct": hit}

    return rows_of_nets(runs, measure)


if __name__ == "__main__":
    runs_command(study, Distribution, __doc__)
