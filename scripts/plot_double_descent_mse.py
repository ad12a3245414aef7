"""Draw the width double descent of nets trained with the squared error."""

from pipeline.figures.width import double_descent_facts, draw_double_descent, prepared
from pipeline.plot_command import plot_command

PAPER_ITEM = "Khromov & Singh, ICLR 2024, Figure S13 (set-up E-M1D-MSE)"

if __name__ == "__main__":
    plot_command(
        lambda table, context: draw_double_descent(prepared(table), context),
        lambda table, context: double_descent_facts(prepared(table)),
        figure="double_descent_mse",
        paper_item=PAPER_ITEM,
        description=__doc__,
    )
