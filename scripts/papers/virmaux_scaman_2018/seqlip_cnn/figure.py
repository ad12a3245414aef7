"""Lower and upper bounds of convolutional nets of several depths, and the paper's on MNIST."""

from matplotlib.figure import Figure

from pipeline.figures.depths import depth_facts, draw_depths
from pipeline.figures.room import Context, Facts, Tables, only


def measure(tables: Tables, context: Context) -> Facts:
    """Mean bounds by depth and method, AutoLip over greedy SeqLip, and the paper's table."""
    about = {"data": "MNIST-1D, convolutions over one axis; the paper: MNIST, two axes"}
    return about | depth_facts(only(tables), context)


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A group of rows for each depth, the paper's values as rings."""
    return draw_depths(only(tables), facts, context, "MNIST-1D", "input")
