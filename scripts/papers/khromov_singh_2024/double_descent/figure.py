"""The width double descent: Lipschitz bounds, losses and errors against width."""

from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine
from pipeline.figures.flanks import WHERE_UNTESTED
from pipeline.figures.peaks import STATEMENT, judged_peaks
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import LOSSES, double_descent_facts, draw_double_descent, prepared


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, and how the bounds rank the widths beside the test loss."""
    data, threshold = prepared(only(tables)), context["settings"]["threshold_width"]
    return double_descent_facts(data, threshold)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, losses and errors on the right."""
    return draw_double_descent(prepared(only(tables)), context)


@claim(
    "C10",
    STATEMENT,
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
    both = zip((cross_entropy, squared_error), LOSSES.values(), strict=True)
    return combine({k: part for facts, loss in both for k, part in judged_peaks(facts, loss).items()})
