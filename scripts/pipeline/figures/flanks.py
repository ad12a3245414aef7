"""Peaks over widths, judged on flanks that end at a fixed distance from the threshold.

How far a curve falls to either side depends on where it ends; nets on the wide flank have to fit.
"""

import math

import numpy as np
import pandas as pd

from pipeline.claims.findings import UntestedError, readable
from pipeline.statistics.curves import hump
from pipeline.statistics.intervals import Interval

NEAR = 1.5
"""A width stands for one that it is at most this factor away from."""

FITTED = 0.01
"""Nets with this training error or less, on average over seeds, fit their labels."""

WHERE_UNTESTED = (
    "no width is near the ends of the flanks, or fewer than half of the runs on the wide flank reach "
    "the stop or a training error of zero (narrow nets have too few parameters to, however long)"
)
"""When :func:`fall_on_flanks` finds nothing, in words."""


def fall_on_flanks(data: pd.DataFrame, name: str, threshold: float, factor: float) -> Interval:
    """By how much a curve falls from its peak to ``factor`` times below and above the threshold.

    The smaller of the two falls, as :func:`hump` has it. Raises :class:`UntestedError` where no width is
    near these ends, and where fewer than half of the runs on the wide flank reach the stop or a training
    error of zero; on the narrow one there are too few parameters for that.
    """
    rows = beside_threshold(data[np.isfinite(data[name])], threshold, factor)
    _refuse_untrained(rows, name)
    return hump(rows, "width", name)


def that_fit(rows: pd.DataFrame, x: str) -> list[float]:
    """The values of ``x``, in order, at which nets fit their labels."""
    errors = rows.groupby(x)["train_error"].mean()
    return sorted(errors.index[errors <= FITTED])


def narrowest_that_fits(rows: pd.DataFrame) -> float:
    """The least width at which nets fit their labels. Raises :class:`UntestedError` where none does."""
    fitting = that_fit(rows, "width")
    if not fitting:
        raise UntestedError("no width fits the labels")
    return fitting[0]


def beside_threshold(data: pd.DataFrame, threshold: float, factor: float) -> pd.DataFrame:
    """The rows from the width nearest to ``threshold / factor`` to the one at ``threshold * factor``.

    Raises :class:`UntestedError` where there is none near one of these.
    """
    if data.empty:
        raise UntestedError("no rows without NaN in width, seed")
    ends = [
        _nearest(data["width"].unique(), wanted) for wanted in (threshold / factor, threshold * factor)
    ]
    return data[data["width"].between(*ends)]


def _nearest(widths: np.ndarray, wanted: float) -> float:
    found = float(min(widths, key=lambda width: abs(math.log(width / wanted))))
    if abs(math.log(found / wanted)) > math.log(NEAR):
        raise UntestedError(f"no width is near {wanted:g}, where a flank ends")
    return found


def _refuse_untrained(rows: pd.DataFrame, name: str) -> None:
    done, runs = fitting_beyond_the_peak(rows, name)
    if done < runs / 2:
        raise UntestedError(
            f"{done} of {runs} runs on the wide flank of {readable(name)} reach the stop or a training "
            "error of zero"
        )


def fitting_beyond_the_peak(rows: pd.DataFrame, name: str) -> tuple[int, int]:
    """How many runs at widths beyond a peak reach the stop or a training error of zero, and of how many.

    The peak is the largest mean inside of the widths.
    """
    means = np.log(rows.set_index("width")[name]).groupby(level=0).mean()
    peak = means.iloc[1:-1].idxmax() if len(means) > 2 else means.index[0]
    wide = rows[rows["width"] > peak]
    done = (wide["stop_reason"] == "gradient_norm") | (wide["train_error"] == 0)
    return int(done.sum()), len(wide)
