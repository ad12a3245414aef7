"""Jacobian norms of residual nets over training images, and over right and wrong test images."""

from typing import Any

from matplotlib.figure import Figure

from pipeline.claims.claim import Again, claim
from pipeline.claims.findings import Finding, combine, judge_fact
from pipeline.figures.point_norms import Column, draw_norms, norm_facts
from pipeline.figures.room import Context, Facts, Tables, only

COLUMNS = {
    "resnet20_cifar10": Column("ResNet-20", "logits"),
    "resnet56_cifar10": Column("ResNet-56", "logits"),
}

FITTED = 0.1
"""Largest mean training error at which nets count as trained."""


def measure(tables: Tables, context: Context) -> Facts:
    """By net, experiment and width: the tail, and what norms have to do with losses and errors."""
    facts = norm_facts(only(tables))
    return {name.removesuffix("_cifar10"): {name: found} for name, found in facts.items()}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column per net; above the training points, below the test points."""
    by_experiment = {name: found for own in facts.values() for name, found in own.items()}
    return draw_norms(only(tables), by_experiment, context, COLUMNS, normal=True)


@claim(
    "C30",
    "Jacobian norms of ResNets have a long tail",
    unit="distance of the largest hundredth from the mean, over that of a normal distribution",
    refuted="The largest norms are no further from the mean than those of a normal distribution.",
    untested="The nets have a mean training error above 10 %: those of the paper fit their images.",
    since="2026-11-29",
)
def long_tails(facts: Facts) -> Finding:
    """Over the seeds of each net, at training points: by how many standard deviations the mean of the
    largest hundredth of the norms lies above the mean of all, over the 2.67 of a normal distribution.
    Holds above 1."""
    return combine(
        {
            f"{COLUMNS[experiment].title}, width {width}": _judge_tail(found)
            for own in facts.values()
            for experiment, widths in own.items()
            for width, found in widths.items()
        }
    )


def _judge_tail(found: dict[str, Any]) -> Finding:
    error = found["train_error"]
    if not error <= FITTED:
        return Finding("not tested", reason=f"training error {100 * error:.2g} %")
    return judge_fact(found["tail_over_normal"], least=1)


ON_RESNET20 = Again(
    "C27",
    on="ResNet-20",
    within="resnet20",
    reported="correlation of loss and norm 0.03",
    since="2026-11-29",
    of_a_change=False,
)

ON_RESNET56 = Again(
    "C27",
    on="ResNet-56",
    within="resnet56",
    reported="no number",
    since="2026-11-29",
    of_a_change=False,
)
