"""The largest Jacobian norm at the training points, and the steepest secant through two of them."""

from typing import Any

import pandas as pd

from pipeline.plot_command import Context, Tables
from pipeline.table_command import table_command

PAPER_ITEM = "Khromov & Singh, ICLR 2024, Table S3"

WIDTH = 256
"""Of the paper's net."""

PAPER = {
    0: (0.369, 0.165),
    1000: (1.336, 0.865),
    2000: (3.762, 2.752),
    3000: (5.775, 4.257),
    4000: (7.142, 5.120),
    5000: (7.974, 5.591),
    10000: (9.928, 6.361),
    50000: (19.390, 8.840),
}
"""C_lower and C_alt.lower by epoch, one seed (Table S3)."""

DESCRIPTION = """C_lower is the largest norm of the Jacobian at the training points, C_pairwise the
largest slope of a secant through two of them (C_alt.lower of the paper), in logits per unit of
input; mean ± standard deviation over seeds. The paper has one seed. The difference is that of our
mean from the paper's value."""


def rows(tables: Tables, context: Context) -> pd.DataFrame:
    """A row per epoch: our values, the paper's, and the difference in per cent."""
    (table,) = tables.values()
    found = []
    papers = PAPER if set(table["width"]) == {WIDTH} else {}
    for epoch, part in table.groupby("epoch"):
        known_values = papers.get(epoch, (None, None))
        row: dict[str, Any] = {"epoch": int(epoch), "seeds": len(part)}
        for name, column, known in zip(
            ("C_lower", "C_pairwise"), ("c_lower", "c_pairwise"), known_values, strict=True
        ):
            mean = part[column].mean()
            row[name] = _mean_and_deviation(part[column])
            row[f"{name}, paper"] = "" if known is None else f"{known:.3f}"
            row[f"{name}, difference"] = "" if known is None else f"{100 * (mean / known - 1):+.1f} %"
        row["C_lower / C_pairwise"] = _mean_and_deviation(part["c_lower"] / part["c_pairwise"])
        row["ratio, paper"] = f"{PAPER[epoch][0] / PAPER[epoch][1]:.2f}" if epoch in papers else ""
        found.append(row)
    return pd.DataFrame(found)


def _mean_and_deviation(values: pd.Series) -> str:
    if len(values) < 2:
        return f"{values.mean():.3f}"
    return f"{values.mean():.3f} ± {values.std():.3f}"


if __name__ == "__main__":
    table_command(rows, table="pairwise", paper_item=PAPER_ITEM, description=DESCRIPTION)
