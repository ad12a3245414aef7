"""Jacobian norms of trained nets at every point, with the losses there.

After Khromov & Singh, ICLR 2024, Figures S22, S23 and S38.
"""

import pandas as pd
from pydantic import Field

from nets.settings import Count, Section
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.point_norms import norms_at_points
from pipeline.runs.run import Run


class Settings(Section):
    """Jacobian norms of trained nets at every point."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and point, training points and test points."""
    return norms_at_points(arrays, runs)
