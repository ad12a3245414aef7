"""How Jacobian norms are distributed over training points, and over right and wrong test points."""

from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact
from pipeline.figures.point_norms import FEWEST_WRONG, LIMITS, Column, draw_norms, norm_facts
from pipeline.figures.room import Context, Facts, Tables, only

COLUMNS = {
    "double_descent": Column("cross-entropy", "logits"),
    "double_descent_mse": Column("squared error", "outputs"),
}


def measure(tables: Tables, context: Context) -> Facts:
    """By experiment and width: the tail, and what norms have to do with losses and errors."""
    return norm_facts(only(tables))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column per loss function; above the training points, below the test points."""
    return draw_norms(only(tables), facts, context, COLUMNS)


@claim(
    "C27",
    "Misclassified points more often have large norms; maxima are alike, and the loss says little",
    reported="correlation of loss and norm 0.03 (ResNet-20)",
    unit="mean norm, wrong / right",
    refuted="At misclassified points norms are no larger in the mean, or their largest is half or twice "
    "that of the others, or loss and norm go together.",
    untested=f"No net misclassifies {FEWEST_WRONG} test points.",
    since="2026-11-28",
    changes={
        "2026-11-28": "test points, which the figure shows, in place of training points, of which nets "
        "that fit misclassify none. Their numbers were known."
    },
)
def wrong_points_are_steeper(facts: Facts) -> Finding:
    """Over the seeds of each loss and width, at test points. The mean norm at misclassified points over
    that at the others holds above 1; the largest norm over that of the others in [1/2, 2]; the
    correlation of loss and norm in [-0.1, 0.1]."""
    return combine(
        {
            f"{name}, {_of(experiment)}width {width}": judge_fact(found["test_points"][name], *limits)
            for experiment, widths in facts.items()
            for width, found in widths.items()
            for name, limits in LIMITS.items()
        }
    )


def _of(experiment: str) -> str:
    """The loss, where nets are told apart by it."""
    return f"{COLUMNS[experiment].title}, " if experiment in COLUMNS else ""
