"""How a double descent in width is judged: heights and places of the peaks of bounds."""

from collections.abc import Iterable

import pandas as pd

from pipeline.claims.claim import Facts
from pipeline.claims.findings import Finding, combine, judge_fact, measured
from pipeline.figures import room
from pipeline.figures.flanks import fall_on_flanks, narrowest_that_fits
from pipeline.figures.width import BOUNDS, JUDGED, LEAST_FALL, double_descent_facts
from pipeline.statistics.intervals import Interval

STATEMENT = "All bounds have a double descent in width, with the test loss's peak at the threshold"

REFUTED_WHERE_IT_FITS = (
    "A bound falls by less than 5 % to half or to twice the narrowest width that fits, or its peak is "
    "elsewhere than that of the test loss or than the width with as many parameters as points."
)
"""What refutes the statement of nets whose parameters grow with the square of the width."""

FALL = "fall_on_both_flanks"
"""The fact with the falls of the bounds from the threshold that counts parameters."""

FALL_WHERE_IT_FITS = "fall_beside_the_narrowest_that_fits"
"""The same from the narrowest width that fits its labels."""

FLANK_WHERE_IT_FITS = 2
"""Flanks end at this factor below and above the narrowest width that fits."""


def judged_peaks(
    facts: Facts, what: str = "", *, fall: str = FALL, bounds: Iterable[str] = JUDGED
) -> dict[str, Finding]:
    """Height and place of the peak of each bound; ``what`` stands behind the names of the parts.

    ``facts`` are those of :func:`pipeline.figures.width.double_descent_facts`. A place is judged only
    where there is a height, and lies in [1/2, 2] times the threshold, and the peak of the test loss.
    """
    parts = {}
    for bound in bounds:
        name = f"{JUDGED[bound]}, {what}" if what else JUDGED[bound]
        height = judge_fact(facts[fall][bound], least=LEAST_FALL)
        places = {
            f"place of {name}": facts["peak_over_threshold"][bound],
            f"{name}, beside the test loss": facts["peak_over_that_of_the_test_loss"][bound],
        }
        parts[f"height of {name}"] = height
        for part, place in places.items():
            untested = height.verdict == "not tested"
            parts[part] = height if untested else judge_fact(place, 0.5, 2)
    return parts


def falls_where_it_fits(data: pd.DataFrame, bounds: Iterable[str]) -> room.Facts:
    """By how much each bound falls on both flanks of the narrowest width that fits."""
    return {bound: measured(_fall_where_it_fits, data, bound) for bound in bounds}


def _fall_where_it_fits(data: pd.DataFrame, bound: str) -> Interval:
    return fall_on_flanks(data, bound, narrowest_that_fits(data), FLANK_WHERE_IT_FITS)


def facts_of_cnns(data: pd.DataFrame, threshold: float) -> room.Facts:
    """What :func:`double_descent_of_cnns` judges, from prepared rows at the stop."""
    return double_descent_facts(data, threshold) | {
        "narrowest_that_fits": measured(narrowest_that_fits, data),
        FALL_WHERE_IT_FITS: falls_where_it_fits(data, BOUNDS),
    }


def double_descent_of_cnns(facts: Facts) -> Finding:
    """By bound, in the mean over seeds at the end. Height: the curve falls from its peak by more than
    5 % to the widths nearest to half and to twice the narrowest one that fits its labels (a training
    error of at most 1 % on average), which have a quarter of its parameters and four times as many.
    Place, where there is a height: the interval of the peak over the width with as many parameters as
    points, and over the peak of the test loss, lies in [1/2, 2]."""
    return combine(judged_peaks(facts, fall=FALL_WHERE_IT_FITS))
