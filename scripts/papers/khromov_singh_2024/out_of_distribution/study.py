"""Bounds and losses of trained nets at points with Gaussian noise.

After Khromov & Singh, ICLR 2024, appendix S3.3 and Figure S5.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from pydantic import Field

from lipbounds.bounds import lower_bound
from nets.point_sets import gaussian_neighbours
from nets.settings import NonNegative, NonNegativeFloat, Section
from nets.training.points import Points
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, outcome, rows_of_nets


class Settings(Section):
    """Bounds and losses of trained nets at points with Gaussian noise."""

    radii: tuple[NonNegativeFloat, ...] = Field(
        min_length=1, description="standard deviations of the noise on each coordinate (data: about 1)"
    )
    seed: NonNegative = Field(description="root of the seeds of the noise")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net, point set and radius; the noise is the same for all nets and, but for its
    size, for all radii."""

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        for part in PARTS:
            clean = run.points(arrays, part)
            for radius in settings.radii:
                generator = torch.Generator().manual_seed(derive_seed(settings.seed, part))
                noisy = Points(gaussian_neighbours(clean.x, radius, generator), clean.y)
                bound, result = (
                    lower_bound(net.model, noisy.x),
                    outcome(net.model, noisy, loss_name(run)),
                )
                yield {
                    "points": part,
                    "radius": radius,
                    "c_lower": bound.max,
                    "c_avg": bound.mean,
                    "loss": result.loss,
                    "error": result.error,
                }

    return rows_of_nets(runs, arrays, measure)
