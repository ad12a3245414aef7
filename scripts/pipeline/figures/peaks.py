"""How a double descent in width is judged: heights and places of the peaks of bounds."""

from collections.abc import Iterable

import pandas as pd

from pipeline.claims.claim import Facts
from pipeline.claims.findings import Finding, judge_fact, measured
from pipeline.figures import room
from pipeline.figures.flanks import fall_on_flanks, narrowest_that_fits
from pipeline.figures.width import JUDGED, LEAST_FALL
from pipeline.statistics.intervals import Interval

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
