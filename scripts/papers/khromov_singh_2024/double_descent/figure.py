"""The width double descent: Lipschitz bounds, losses and errors against width."""

import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.flanks import WHERE_UNTESTED
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import (
    JUDGED,
    LEAST_FALL,
    LOSSES,
    double_descent_facts,
    draw_double_descent,
    prepared,
)
from pipeline.statistics.intervals import Interval, ratio_interval


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, how the bounds rank the widths beside the test loss, and whether
    C_upper rises again.
    """
    data, threshold = prepared(only(tables)), context["settings"]["threshold_width"]
    facts = double_descent_facts(data, threshold)
    rise = measured(_rise_beyond_the_peak, data, facts, threshold)
    return facts | {"c_upper_of_the_widest_over_its_least_beyond_the_peak": rise}


def _rise_beyond_the_peak(data: pd.DataFrame, facts: Facts, threshold: float) -> Interval | float:
    """Ratio of the means over seeds; 1 where the widest nets have the least."""
    if "c_upper" not in facts:
        raise UntestedError("C_upper has no finite values")
    widest = data["width"].max()
    if widest < 16 * threshold:
        raise UntestedError(f"the widest net, {widest}, is less than 16 thresholds wide")
    beyond = data[data["width"] >= facts["c_upper"]["peak_width"]]
    least = beyond.groupby("width")["c_upper"].mean().idxmin()
    if least == widest:
        return 1.0
    above, below = (data.loc[data["width"] == width, "c_upper"] for width in (widest, least))
    return ratio_interval(above, below)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, losses and errors on the right."""
    return draw_double_descent(prepared(only(tables)), context)


@claim(
    "C10",
    "All bounds have a double descent in width, with the test loss's peak at the threshold",
    reported="expected peaks at width 80 (cross-entropy) and 800 (squared error)",
    unit="smaller relative fall from the peak of C_lower, cross-entropy",
    figures=tuple(LOSSES),
    also=("double_descent_mse",),
    refuted="A bound falls by less than 5 % to a quarter of the threshold or to four times it, or its "
    "peak stands elsewhere than that of the test loss.",
    untested=f"A peak is at an end, {WHERE_UNTESTED}.",
    since="2026-11-28",
    changes={
        "2026-11-28": "flanks end at a quarter and four times the threshold and the wide one has to be "
        "trained: with the squared error no net fits its points. The heights were known."
    },
    of_a_change=True,
)
def double_descent(cross_entropy: Facts, squared_error: Facts) -> Finding:
    """By loss and bound, in the mean over seeds at the stop. Height: the curve falls from its peak by
    more than 5 % to the widths nearest to a quarter of the threshold and to four times it (interval of
    the smaller fall above 0.05). Place, where there is a height: the interval of the peak over the
    width with as many parameters as points (times outputs, for the squared error), and over the peak of
    the test loss, lies in [1/2, 2]."""
    parts = {}
    for facts, loss in zip((cross_entropy, squared_error), LOSSES.values(), strict=True):
        for bound, word in JUDGED.items():
            height = judge_fact(facts["fall_on_both_flanks"][bound], least=LEAST_FALL)
            places = {
                f"place of {word}, {loss}": facts["peak_over_threshold"][bound],
                f"{word}, {loss}, beside the test loss": facts["peak_over_that_of_the_test_loss"][bound],
            }
            parts[f"height of {word}, {loss}"] = height
            for name, place in places.items():
                untested = height.verdict == "not tested"
                parts[name] = height if untested else judge_fact(place, 0.5, 2)
    return combine(parts)


@claim(
    "C11",
    "C_upper of fully connected nets rises again far beyond the threshold",
    unit="C_upper of the widest net / its least value",
    refuted="C_upper of the widest nets is its least beyond the peak.",
    untested="The widest net is less than 16 times as wide as the threshold.",
    since="2026-11-25",
    of_a_change=True,
)
def rises_again(facts: Facts) -> Finding:
    """C_upper at the widest nets over its smallest value beyond the peak, ratio of the means over
    seeds. Holds if the interval lies above 1. Not tested unless the widest net is 16 times wider than
    the threshold."""
    return judge_fact(facts["c_upper_of_the_widest_over_its_least_beyond_the_peak"], least=1 + 1e-9)
