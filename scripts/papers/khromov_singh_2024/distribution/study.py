"""Jacobian norms of trained nets at every point, with the losses there.

After Khromov & Singh, ICLR 2024, Figures S22, S23 and S38.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from pydantic import Field

from lipbounds.jacobian import jacobian_norms
from nets.settings import Count, Section
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, outcome, rows_of_nets


class Settings(Section):
    """Jacobian norms of trained nets at every point."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
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
