"""The largest Jacobian norm at the training points, and the steepest secant through two of them."""

from typing import Any

import pandas as pd

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured
from pipeline.figures.room import Context, Facts, Tables
from pipeline.statistics.intervals import Interval, mean_interval

WIDTH = 256
"""Of the paper's net."""

RUN = ["experiment", "variant", "noise", "width", "seed"]
"""What names a net."""

BOUNDS = {"c_lower": "C_lower", "c_pairwise": "C_pairwise"}


def measure(tables: Tables, context: Context) -> Facts:
    """By bound and epoch the paper's value, that of its own start and our seeds'; and their ratios."""
    epochs = {column: _by_epoch(column, tables, context) for column in BOUNDS}
    return {
        "by_epoch": epochs,
        "largest_deviation_from_the_table": {
            column: measured(_largest_deviation, rows, set(tables["paper_run"]["width"]))
            for column, rows in epochs.items()
        },
        "least_ratio_of_a_run": measured(_least_ratio, tables["pairwise"]),
    }


def _by_epoch(column: str, tables: Tables, context: Context) -> dict[str, dict[str, Any]]:
    same, ours = tables["paper_run"], tables["pairwise"]
    papers = context["printed"][column] if set(same["width"]) == {WIDTH} else {}
    found: dict[str, dict[str, Any]] = {}
    for epoch, value in zip(same["epoch"], same[column], strict=True):
        seeds, paper = ours.loc[ours["epoch"] == epoch, column], papers.get(str(epoch))
        found[str(epoch)] = {
            "paper": paper,
            "papers_start": float(value),
            "deviation": None if paper is None else float(value / paper - 1),
            "seeds": len(seeds),
            "mean": float(seeds.mean()),
            "std": float(seeds.std()),
        }
    return found


def _largest_deviation(rows: dict[str, dict[str, Any]], widths: set[int]) -> float:
    """In per cent, over the epochs of the table."""
    if widths != {WIDTH}:
        raise UntestedError(f"the table paper_run has no rows with width = {WIDTH}")
    known = [abs(row["deviation"]) for row in rows.values() if row["deviation"] is not None]
    if len(known) < 3:
        raise UntestedError("the run has fewer than three epochs of the table")
    return 100 * max(known)


def _least_ratio(ours: pd.DataFrame) -> Interval:
    """C_lower over the steepest secant, the least of each run's checkpoints, mean over seeds."""
    return mean_interval(
        (ours["c_lower"] / ours["c_pairwise"]).groupby([ours[name] for name in RUN]).min()
    )


def rows(tables: Tables, facts: Facts, context: Context) -> pd.DataFrame:
    """A row per epoch and quantity."""
    return pd.DataFrame(
        [
            {
                "bound": name,
                "epoch": int(epoch),
                "paper": "" if row["paper"] is None else f"{row['paper']:.3f}",
                "paper's start": f"{row['papers_start']:.3f}",
                "difference": "" if row["paper"] is None else f"{100 * row['deviation']:+.1f} %",
                "our seeds": _mean_and_deviation(row),
            }
            for column, name in BOUNDS.items()
            for epoch, row in facts["by_epoch"][column].items()
        ]
    )


def _mean_and_deviation(row: dict[str, Any]) -> str:
    if row["seeds"] == 0:
        return ""
    spread = f" ± {row['std']:.3f}" if row["seeds"] > 1 else ""
    return f"{row['mean']:.3f}{spread}"


@claim(
    "C5",
    "The largest Jacobian norm is a better lower bound than ratios of differences over pairs",
    reported="ratios 1.36 to 2.24",
    unit="least ratio of a run",
    refuted="At some kept checkpoint a ratio of differences over pairs is as large as C_lower.",
    untested="There is one seed only.",
    since="2026-11-25",
)
def above_pairs(facts: Facts) -> Finding:
    """C_lower over the largest ratio of differences over pairs of training points: the least of the kept
    checkpoints of a run, mean over seeds. Holds if its interval lies above 1."""
    return judge_fact(facts["least_ratio_of_a_run"], least=1)


@claim(
    "N5",
    "From the initialisation and the batches of the authors' code, a run reproduces Table S3",
    reported="the table's values",
    unit="largest deviation of C_lower, per cent",
    source="our question",
    refuted="A value is off by more than 5 %.",
    untested="The paper's own run was not repeated at this scale.",
    since="2026-11-25",
)
def reproduces_the_table(facts: Facts) -> Finding:
    """Our values of the paper's own run over those of its Table S3: the largest
    deviation of C_lower and of C_alt.lower over its epochs, in per cent. A part holds up to 5."""
    found = facts["largest_deviation_from_the_table"]
    return combine(
        {
            "C_lower": judge_fact(found["c_lower"], 0, 5),
            "C_alt.lower": judge_fact(found["c_pairwise"], 0, 5),
        }
    )
