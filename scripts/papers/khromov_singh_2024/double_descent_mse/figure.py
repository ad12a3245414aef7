"""The width double descent of nets trained with the squared error; double_descent judges it."""

from matplotlib.figure import Figure

from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import double_descent_facts, draw_double_descent, prepared


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, and how the bounds rank the widths beside the test loss."""
    return double_descent_facts(prepared(only(tables)), context["settings"]["threshold_width"])


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, losses and errors on the right."""
    return draw_double_descent(prepared(only(tables)), context)
