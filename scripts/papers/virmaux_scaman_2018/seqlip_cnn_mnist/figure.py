"""Lower and upper bounds of convolutional nets of several depths on MNIST, beside the paper's."""

from matplotlib.figure import Figure

from pipeline.figures.depths import depth_facts, draw_depths
from pipeline.figures.room import Context, Facts, Tables, only


def measure(tables: Tables, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over greedy SeqLip, and the paper's table."""
    return depth_facts(only(tables), context)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each depth, the paper's values as rings."""
    return draw_depths(only(tables), facts, context, "MNIST", "input in [-1, 1]")
