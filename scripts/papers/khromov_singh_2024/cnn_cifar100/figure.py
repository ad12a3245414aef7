"""The width double descent of convolutional nets on the 20 classes of CIFAR-100."""

from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.figures.flanks import WHERE_UNTESTED
from pipeline.figures.peaks import (
    REFUTED_WHERE_IT_FITS,
    STATEMENT,
    double_descent_of_cnns,
    facts_of_cnns,
)
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import draw_double_descent, prepared


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, and how the bounds rank the widths beside the test loss."""
    return facts_of_cnns(prepared(only(tables)), context["settings"]["threshold_width"])


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, losses and errors on the right."""
    return draw_double_descent(prepared(only(tables)), context)


DOUBLE_DESCENT = claim(
    "C10 CIFAR-100",
    STATEMENT,
    reported="expected peak at width 11 to 12",
    unit="smaller relative fall from the peak of C_lower",
    refuted=REFUTED_WHERE_IT_FITS,
    untested=f"No width fits the labels, a peak is at an end, {WHERE_UNTESTED}.",
    since="2026-11-28",
    of_a_change=True,
)(double_descent_of_cnns)
