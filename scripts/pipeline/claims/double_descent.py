"""How claims judge the double descent of bounds in width, by facts of pipeline.figures.width."""

from pipeline.claims.findings import Finding, combine, judge_fact
from pipeline.figures.room import Facts
from pipeline.figures.width import JUDGED, LEAST_FALL

STATEMENT = "All bounds have a double descent in width, with the test loss's peak at the threshold"

REFUTED_ON_IMAGES = (
    "A bound falls by less than 5 % to half or to twice the narrowest width that fits, or its peak is "
    "elsewhere than that of the test loss or than the width with as many parameters as points."
)


def parts(facts: Facts, suffix: str = "") -> dict[str, Finding]:
    """Height and places of the peak of each bound, whose names end in ``suffix``.

    Places are judged where there is a height.
    """
    found = {}
    for bound, word in JUDGED.items():
        height = judge_fact(facts["fall_on_both_flanks"][bound], least=LEAST_FALL)
        places = {
            f"place of {word}{suffix}": facts["peak_over_threshold"][bound],
            f"{word}{suffix}, beside the test loss": facts["peak_over_that_of_the_test_loss"][bound],
        }
        found[f"height of {word}{suffix}"] = height
        for name, place in places.items():
            untested = height.verdict == "not tested"
            found[name] = height if untested else judge_fact(place, 0.5, 2)
    return found


def double_descent_of_cnns(facts: Facts) -> Finding:
    """By bound, in the mean over seeds at the end. Height: the curve falls from its peak by more than
    5 % to the widths nearest to half and to twice the narrowest one that fits its labels (a training
    error of at most 1 % on average), which have a quarter of its parameters and four times as many.
    Place, where there is a height: the interval of the peak over the width with as many parameters as
    points, and over the peak of the test loss, lies in [1/2, 2]."""
    return combine(parts(facts))
