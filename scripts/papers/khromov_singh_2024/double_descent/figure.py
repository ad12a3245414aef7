"""The width double descent: Lipschitz bounds, losses and errors against width."""

from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact
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


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, and how the bounds rank the widths beside the test loss."""
    data, threshold = prepared(only(tables)), context["settings"]["threshold_width"]
    return double_descent_facts(data, threshold)


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
