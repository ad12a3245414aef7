"""Jacobian norms of convolutional nets over training images, and over right and wrong test images."""

from matplotlib.figure import Figure

from pipeline.claims.claim import Again
from pipeline.figures.point_norms import Column, draw_norms, norm_facts
from pipeline.figures.room import Context, Facts, Tables, only

COLUMNS = {
    "cnn_cifar10": Column("CIFAR-10", "logits"),
    "cnn_mnist": Column("MNIST", "logits"),
}


def measure(tables: Tables, context: Context) -> Facts:
    """By data set, experiment and width: the tail, and what norms have to do with losses and errors."""
    facts = norm_facts(only(tables))
    return {name.removeprefix("cnn_"): {name: found} for name, found in facts.items()}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column per data set; above the training points, below the test points."""
    by_experiment = {name: found for own in facts.values() for name, found in own.items()}
    return draw_norms(only(tables), by_experiment, context, COLUMNS)


ON_CIFAR10 = Again(
    "C27",
    on="CIFAR-10",
    within="cifar10",
    reported="correlation of loss and norm 0.03 (ResNet-20)",
    since="2026-11-28",
    of_a_change=False,
)

ON_MNIST = Again(
    "C27",
    on="MNIST",
    within="mnist",
    reported="no number",
    since="2026-11-28",
    of_a_change=False,
)
