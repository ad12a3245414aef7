"""Draw the width double descent: Lipschitz bounds, losses and errors against width."""

from matplotlib.figure import Figure

from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.figures.width import double_descent_facts, draw_double_descent, prepared


def measure(tables: Tables, context: Context) -> Facts:
    """Peaks and falls of the curves, and how the bounds rank the widths beside the test loss."""
    return double_descent_facts(prepared(only(tables)))


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds on the left, losses and errors on the right."""
    return draw_double_descent(prepared(only(tables)), context)
