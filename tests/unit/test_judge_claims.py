"""The table of claims: from the command line to Markdown and plain text."""

import argparse
import itertools

import numpy as np
import pandas as pd
import pytest

import judge_claims
from pipeline import claims_report
from pipeline.config.studies import Studies
from pipeline.paper_claims import CLAIMS
from pipeline.snakemake.setup import RUNS_OF_STUDY, TABLES_OF_FIGURE

INSTANCES = pd.DataFrame(
    {
        "claim": ["A1", "X1"],
        "source": ["Virmaux & Scaman 2018", "several papers"],
        "statement": ["AutoLip is a bound", "LipSDP is lower"],
        "rule": ["Holds if none is violated.", "Not tested without a solver."],
        "instances": [200, 0],
        "violations": [0, 0],
        "estimate": [0.0, np.nan],
        "low": [0.0, np.nan],
        "high": [0.018, np.nan],
        "verdict": ["holds", "not tested"],
        "unit": ["share of violations"] * 2,
        "figure": ["tightness", "tightness"],
        "seconds": [1.0, 0.0],
    }
)


def growing():
    """Bounds of four seeds that double between epochs 0 and 100."""
    rows = [
        {
            "points": "train",
            "seed": seed,
            "epoch": epoch,
            "c_lower": (1 + epoch / 100) * (1 + seed / 100),
            "c_avg": (1 + epoch / 100) * (1 + seed / 100),
            "log10_c_upper": np.log10((1 + epoch / 100) * (1 + seed / 100)),
        }
        for seed in range(4)
        for epoch in (0, 100)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def judged(tmp_path):
    def judge(scale="laptop", **tables):
        paths = []
        for name, table in tables.items():
            path = tmp_path / f"{name}.csv"
            path.write_text("" if table is None else table.to_csv(index=False))
            paths.append(path)
        arguments = argparse.Namespace(
            table=paths, scale=scale, claims=tmp_path / "claims.csv", markdown=tmp_path / "claims.md"
        )
        judge_claims.main(arguments)
        return claims_report.read_claims(arguments.claims), arguments.markdown.read_text()

    return judge


def test_claims_of_both_kinds_are_rows_with_the_same_columns(judged):
    claims, _ = judged(evolution_epochs=growing(), bound_claims=INSTANCES)
    assert list(claims.columns) == claims_report.COLUMNS
    assert len(claims) == len(CLAIMS) + 2
    assert claims["claim"].is_unique
    row = claims.set_index("claim").loc["C1"]
    assert row["verdict"] == "holds"
    assert row["estimate"] == pytest.approx(2)
    assert (
        "C_lower, wide net: not tested (the table evolution_wide_epochs is not there)" in row["reason"]
    )
    instance = claims.set_index("claim").loc["A1"]
    assert instance["reason"] == "violated by 0 of 200 random instances"
    assert claims.set_index("claim").loc["X1", "verdict"] == "not tested"


def test_markdown_has_totals_links_and_numbers(judged):
    claims, text = judged(evolution_epochs=growing(), bound_claims=INSTANCES)
    assert claims_report.totals(claims) in text
    assert f"{len(claims) - 2} not tested" in text
    assert "2 [2, 2]: growth of C_lower, width 256" in text
    assert "[tightness](../../figures/tightness.png), [bound_claims](" in text
    assert "0 [0, 0.018]: share of violations" in text
    assert "- **A1.** Holds if none is violated. *violated by 0 of 200 random instances.*" in text
    assert "mean nothing" not in text


def test_smoke_scale_says_that_its_verdicts_mean_nothing(judged):
    claims, text = judged(scale="smoke", evolution_epochs=growing())
    assert "mean nothing" in " ".join(text.replace("**", "").split())
    assert "mean nothing" in " ".join(claims_report.plain(claims, "smoke").split())


def test_empty_and_missing_tables_leave_claims_untested(judged):
    claims, text = judged(evolution_epochs=None, double_descent=pd.DataFrame({"width": []}))
    assert set(claims["verdict"]) == {"not tested"}
    assert claims["reason"].str.len().min() > 10
    assert "the table evolution_epochs is not there" in text


def test_plain_text_fits_a_terminal(judged):
    claims, _ = judged(evolution_epochs=growing(), bound_claims=INSTANCES)
    text = claims_report.plain(claims, "laptop")
    assert max(map(len, text.splitlines())) <= 100
    assert "C1  HOLDS: Lower, average and upper bounds grow" in text
    assert "here 2 [2, 2] (growth of C_lower, width 256); paper: C_lower x 63" in text


def test_claims_ask_for_tables_that_the_workflow_has():
    asked = set()

    class Asked(dict):
        def __contains__(self, name):
            asked.add(name)
            return False

    for claim in CLAIMS:
        claim.judged(Asked())
    known = set(itertools.chain(*TABLES_OF_FIGURE.values(), Studies.model_fields, RUNS_OF_STUDY))
    assert len(asked) > 10
    assert asked <= known, asked - known
