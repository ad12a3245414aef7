"""The largest Jacobian norm and the test loss over width and label noise."""

from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact
from pipeline.figures.flanks import WHERE_UNTESTED
from pipeline.figures.noise_map import draw_noise, noise_facts
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import LEAST_FALL, prepared


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks along the width for each noise and along the noise for each width, and what moves them."""
    return noise_facts(prepared(only(tables)))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Heat maps above, cuts through them, and where along the width each row peaks."""
    return draw_noise(prepared(only(tables)), facts, context)


@claim(
    "C14",
    "At any share of noisy labels C_lower has a double descent in width",
    reported="no number (CIFAR-10)",
    unit="smaller relative fall from the peak",
    refuted="At some share of noise C_lower does not fall to one side of the threshold.",
    untested=f"At a share of noise at which no width fits the labels, {WHERE_UNTESTED}.",
    since="2026-11-28",
    changes={
        "2026-11-28": "Flanks end at half and twice the threshold, not at the ends of the grid, and "
        "have to be trained; the falls to the ends of the grid were known."
    },
    of_a_change=True,
)
def double_descent_under_noise(facts: Facts) -> Finding:
    """At each share of swapped labels, C_lower falls from its peak by more than 5 % to the widths
    nearest to half and to twice the narrowest one that fits these labels (a training error of at most
    1 % on average). A part holds if the interval of the smaller fall lies above 0.05."""
    falls = facts["fall_on_both_flanks_over_width"]
    return combine(
        {f"{noise} % noise": judge_fact(fall, least=LEAST_FALL) for noise, fall in falls.items()}
    )


@claim(
    "C15",
    "At any width C_lower first rises and then falls with the share of noisy labels",
    reported="no number (CIFAR-10)",
    unit="smaller relative fall from the peak",
    refuted="At some width C_lower has no peak inside of the shares of noise, though the share at which "
    "the net ceases to fit is.",
    untested="At widths that fit no share of noise, the least alone, or the largest (a training error "
    "of at most 1 % on average): then the share at which C_lower turns is none of those inside.",
    since="2026-11-28",
    changes={
        "2026-11-28": "Widths at which no peak can lie inside of the shares of noise are not judged; "
        "the falls at all widths were known."
    },
    of_a_change=True,
)
def rise_and_fall_in_noise(facts: Facts) -> Finding:
    """At each width, C_lower falls from its peak in the share of swapped labels by more than 5 % to
    either end: a part holds if the interval of the smaller fall lies above 0.05."""
    falls = facts["fall_on_both_sides_over_noise"]
    return combine(
        {f"width {width}": judge_fact(fall, least=LEAST_FALL) for width, fall in falls.items()}
    )


@claim(
    "C16",
    "The width at which C_lower peaks grows with the share of noisy labels",
    reported="no number (CIFAR-10)",
    unit="rank correlation",
    refuted="The peak stays where it is, or moves to narrower nets.",
    untested="Fewer than three shares of noise, or one seed.",
    since="2026-11-28",
    of_a_change=True,
)
def noise_moves_threshold(facts: Facts) -> Finding:
    """Rank correlation of the share of swapped labels with the width at which C_lower peaks, by seed.
    Holds if its interval lies above 0; 0 where the peak stays at one width."""
    return judge_fact(facts["rank_correlation_of_noise_and_width_of_peak"], least=1e-9)


@claim(
    "C17",
    "Over-parameterised nets fit random labels more smoothly than nets near the threshold",
    reported="no number (CIFAR-10)",
    unit="C_lower, widest / narrowest net that fits",
    refuted="C_lower of the widest nets that fit random labels is no smaller than of the narrowest.",
    untested="Fewer than two widths fit the labels.",
    since="2026-11-28",
    of_a_change=True,
)
def wide_nets_are_smoother(facts: Facts) -> Finding:
    """C_lower of the widest nets over that of the narrowest ones that fit, of those trained on the
    largest share of swapped labels, ratio of the means over seeds (fitting: a training error of at most
    1 % on average; the threshold that counts parameters is that of clean labels). Holds if its interval
    lies below 1."""
    return judge_fact(facts["widest_over_narrowest_that_fits_at_most_noise"], most=1)
