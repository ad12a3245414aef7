import json
import math

import pandas as pd
import pytest
import torch

from papers.beyond.bound_claims import evidence, figure, lipsdp, study
from pipeline.claims.report import Source, claims_frame
from tests.papers.helpers import PAPERS, measured_and_drawn, room_context

SETTINGS = study.Settings(instances=4, seed=0)


@pytest.fixture(scope="module")
def table():
    return study.study(SETTINGS, {})


def drawn(table):
    return measured_and_drawn(figure, {"bound_claims": table}, room_context("bound_claims", SETTINGS))


def test_every_claim_has_a_verdict_and_a_rule(table):
    columns = "claim source statement rule kind instances violations estimate low high verdict figure"
    assert set(table) >= set(columns.split())
    assert len(set(table["claim"])) == len(table) == 21
    assert (table["rule"].str.len() > 40).all()
    assert set(table["figure"]) <= {path.parent.name for path in PAPERS.glob("*/*/figure.yaml")}
    verdict = table.set_index("claim")["verdict"]
    certain = {"A1", "A2", "A3", "A4", "A7", "A8", "B1", "B2", "B3", "D1", "D3", "D4", "X1"}
    assert (verdict[sorted(certain)] == "holds").all()
    assert (verdict[["B5", "B7", "D2"]] == "does not hold").all()
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()


def test_claims_of_all_modules_of_the_room_are_judged_in_order(table):
    modules = {module.__name__.rsplit(".", 1)[1] for module in study.SUBJECTS}
    folder = PAPERS / "beyond" / "bound_claims"
    assert modules == {path.stem for path in folder.glob("*.py") if "\n@claim(" in path.read_text()}
    letters = {"A": 8, "B": 7, "D": 4, "X": 2}
    expected = [f"{letter}{n + 1}" for letter, count in letters.items() for n in range(count)]
    assert list(table["claim"]) == expected


def test_table_survives_the_file_and_is_drawn(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    facts, drawing = drawn(pd.read_csv(tmp_path / "table.csv"))
    drawing.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    assert json.dumps(facts, allow_nan=False)
    assert sum(facts["claims_by_verdict"].values()) == 21
    shown = {text.get_text() for text in drawing.axes[0].texts}
    assert shown >= {*table["claim"], *table["source"], *table["verdict"]}


def test_table_of_all_claims_takes_the_verdicts(table):
    facts, _ = drawn(table)
    source = Source("papers.beyond.bound_claims.figure", "bound_claims", "our question")
    claims = claims_frame([source], {"bound_claims": facts})
    assert list(claims["claim"]) == list(table["claim"])
    for column in ("source", "statement", "rule", "estimate", "low", "high", "verdict", "unit"):
        assert list(claims[column]) == list(table[column])
    assert claims["reason"][0] == "violated by 0 of 4 random instances"


def test_without_a_solver_claims_are_not_tested_and_still_drawn(monkeypatch, table):
    monkeypatch.setattr(lipsdp, "has_solver", lambda: False)
    for claim in (lipsdp.order_of_bounds, lipsdp.lipsdp_below_seqlip):
        assert claim.test(4, torch.Generator()) == evidence.NOT_TESTED
    assert evidence.NOT_TESTED.verdict == "not tested"
    untested = {"instances": 0, "violations": 0, "estimate": math.nan, "low": math.nan, "high": math.nan}
    last = table.index[-1:]
    facts, _ = drawn(pd.concat([table[:-1], table.loc[last].assign(verdict="not tested", **untested)]))
    assert math.isnan(facts["verdicts"][-1]["estimate"])
    assert facts["claims_by_verdict"]["not tested"] == 1


def test_rules_on_planted_data():
    assert evidence.universal([False] * 20).verdict == "holds"
    assert evidence.universal([False] * 19 + [True]).verdict == "does not hold"
    assert evidence.within([1.0, 1.1, 0.9, 1.0], 0.5, 1.5, "a mean").verdict == "holds"
    assert evidence.within([1.0, 1.1, 0.9, 1.0], 2, 3, "a mean").verdict == "does not hold"
    assert evidence.within([1.0, 3.0, 1.0, 3.0], 0, 2, "a mean").verdict == "undecided"
    assert evidence.within([1.0, 3.0], 0, 2, "a mean").violations == 1
    assert evidence.within([1.0, 3.0], 0, 2, "a mean").unit == "a mean"
    assert evidence.universal([False]).unit == "share of violations"


def test_intervals():
    share, low, high = evidence.share(0, 30)
    assert (share, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert evidence.share(30, 30)[1] == pytest.approx(0.025 ** (1 / 30))
    assert evidence.share(3, 10) == pytest.approx((0.3, 0.06673951, 0.65245285), rel=1e-6)
    mean, low, high = evidence.mean_interval([1.0, 2.0, 3.0, 4.0])
    error = math.sqrt(5 / 3 / 4)
    assert (mean, high - mean, mean - low) == pytest.approx((2.5, *[3.18244630528 * error] * 2))
    assert math.isnan(evidence.mean_interval([5.0])[1])


def test_theorems_are_counted_apart(table):
    kinds = table.set_index("claim")["kind"]
    assert set(kinds) == {"theorem", "empirical"}
    assert (kinds[["B4", "B6", "X2"]] == "empirical").all()
    facts, _ = drawn(table)
    counts = facts["claims_by_kind_and_verdict"]
    assert sum(counts["theorem"].values()) == (kinds == "theorem").sum()
    assert {row["kind"] for row in facts["verdicts"]} == set(counts)


def test_greedy_search_and_the_pooling_constant_are_of_this_project(table):
    sources = table.set_index("claim")["source"]
    assert set(sources.index[sources == evidence.THIS_PROJECT]) == {"A6", "A8"}
