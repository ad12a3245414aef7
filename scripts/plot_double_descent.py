"""Draw the width double descent: Lipschitz bounds, losses and errors against width."""

from pipeline.figures.width import double_descent_facts, draw_double_descent, prepared
from pipeline.plot_command import plot_command

PAPER_ITEM = "Khromov & Singh, ICLR 2024, Figure S12 (set-up E-M1D-CE)"

draw, facts = draw_double_descent, double_descent_facts

if __name__ == "__main__":
    plot_command(
        lambda table, context: draw(prepared(table), context),
        lambda table, context: facts(prepared(table)),
        figure="double_descent",
        paper_item=PAPER_ITEM,
        description=__doc__,
    )
