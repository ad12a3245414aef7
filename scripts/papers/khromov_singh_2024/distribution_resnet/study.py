"""Jacobian norms of residual nets at many images, with the losses there.

After Khromov & Singh, ICLR 2024, Figure S26.
"""

import pandas as pd
from pydantic import Field

from nets.settings import Count, Section
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.point_norms import norms_at_points
from pipeline.runs.run import Run


class Settings(Section):
    """Jacobian norms of residual nets at many images."""

    train_points: Count | None = Field(
        description="the largest number of training points, at random and the same for all nets; "
        "null: all"
    )
    test_points: Count | None = Field(description="the same of test points")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and point, training points and test points."""
    most = {"train": settings.train_points, "test": settings.test_points}
    return norms_at_points(arrays, runs, most)
