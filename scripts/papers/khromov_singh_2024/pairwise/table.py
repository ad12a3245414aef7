"""The largest Jacobian norm at the training points, and the steepest secant through two of them."""

import pandas as pd

from pipeline.figures.room import Context, Tables
from pipeline.paper_values import TABLE_S3

WIDTH = 256
"""Of the paper's net."""


def rows(tables: Tables, context: Context) -> pd.DataFrame:
    """A row per epoch and quantity: the paper's value, that of its own start, and our seeds'."""
    same, ours = tables["paper_run"], tables["pairwise"]
    papers = TABLE_S3 if set(same["width"]) == {WIDTH} else {}
    found = []
    for place, (column, name) in enumerate((("c_lower", "C_lower"), ("c_pairwise", "C_pairwise"))):
        for epoch, values in same.set_index("epoch")[column].items():
            known = papers[epoch][place] if epoch in papers else None
            found.append(
                {
                    "bound": name,
                    "epoch": int(epoch),
                    "paper": "" if known is None else f"{known:.3f}",
                    "paper's start": f"{values:.3f}",
                    "difference": "" if known is None else f"{100 * (values / known - 1):+.1f} %",
                    "our seeds": _mean_and_deviation(ours.loc[ours["epoch"] == epoch, column]),
                }
            )
    return pd.DataFrame(found)


def _mean_and_deviation(values: pd.Series) -> str:
    if values.empty:
        return ""
    if len(values) == 1:
        return f"{values.mean():.3f}"
    return f"{values.mean():.3f} ± {values.std():.3f}"
