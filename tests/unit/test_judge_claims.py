"""The table of claims: from the command line to Markdown and plain text."""

import argparse
import json
from datetime import date

import numpy as np
import pytest
import yaml
from tests.conftest import ROOT

import judge_claims
from pipeline.claims import report
from pipeline.claims.claim import Again, Claim, import_claims, order
from pipeline.config.loading import load_config
from pipeline.jobs.command import CommandError
from pipeline.snakemake.setup import WorkflowSetup

SETUP = WorkflowSetup(load_config(yaml.safe_load((ROOT / "config.yaml").read_text())))
SOURCES = json.loads(SETUP.claim_sources("claims_images"))
FOUND = [(source, one) for source in SOURCES for one in import_claims(source["module"])]
CLAIMS = {one.name: one for _, one in FOUND if isinstance(one, Claim)}
ALL = [(source, one if isinstance(one, Claim) else one.of(CLAIMS[one.claim])) for source, one in FOUND]

INSTANCES = {
    "verdicts": [
        {
            "claim": name,
            "source": source,
            "statement": statement,
            "rule": rule,
            "instances": instances,
            "violations": 0,
            "estimate": estimate,
            "low": estimate,
            "high": high,
            "verdict": verdict,
            "unit": "share of violations",
            "figure": "tightness",
        }
        for name, source, statement, rule, instances, estimate, high, verdict in (
            (
                "A1",
                "Virmaux & Scaman 2018",
                "AutoLip is a bound",
                "Holds if none.",
                200,
                0.0,
                0.018,
                "holds",
            ),
            ("X1", "several papers", "LipSDP is lower", "Not tested.", 0, np.nan, np.nan, "not tested"),
        )
    ]
}


@pytest.fixture
def judged(tmp_path):
    def judge(scale="laptop", **facts):
        paths = []
        for name, own in facts.items():
            paths.append(tmp_path / f"{name}.json")
            paths[-1].write_text(json.dumps(own))
        arguments = argparse.Namespace(
            facts=paths,
            simulated=[],
            sources=json.dumps(SOURCES),
            scale=scale,
            claims=tmp_path / "claims.csv",
            markdown=tmp_path / "claims.md",
        )
        judge_claims.main(arguments)
        return report.read_claims(arguments.claims), arguments.markdown.read_text()

    return judge


def test_the_papers_claims_are_all_there_once_and_in_order():
    names = sorted((name for name in CLAIMS if " " not in name), key=order)
    assert {name.split()[0] for name in CLAIMS} <= set(names)
    assert names == [*(f"C{i}" for i in range(1, 32)), *(f"N{i}" for i in range(1, 12))]
    for source, one in ALL:
        assert one.statement
        assert not one.statement.endswith(".")
        assert len(one.explanation) > 20, f"{one.name}: its docstring is the rule that readers see"
        assert set(one.also) <= set(SETUP.figures)
        assert date.fromisoformat(one.since) >= date(2026, 11, 21), f"{one.name}: since when?"
        assert all(date.fromisoformat(day) and text for day, text in one.changes.items())
        for text in (one.refuted, one.untested):
            assert len(text) > 15, f"{one.name}: what refutes it, and when is it untested?"
        assert set(one.figures) <= {*SETUP.figures, *SETUP.reader_tables}
        assert source["source"] or one.source


def test_claims_of_both_kinds_are_rows_with_the_same_columns(judged):
    claims, _ = judged(bound_claims=INSTANCES)
    assert list(claims.columns) == report.COLUMNS
    assert len(claims) == len(ALL) + 2
    assert claims["claim"].is_unique
    assert claims["claim"].iloc[0] == "C1"
    rows = claims.set_index("claim")
    assert rows.loc["A1", "reason"] == "violated by 0 of 200 random instances"
    assert rows.loc["A1", "figure"] == "tightness, bound_claims"
    assert rows.loc["X1", "reason"] == "needs cvxpy, which is not installed"
    assert set(rows.loc[[one.name for _, one in ALL], "verdict"]) == {"not tested"}
    assert rows["reason"].str.len().min() > 10
    assert "there are no facts of evolution" in rows.loc["C1", "reason"]
    assert rows.loc["N1", "source"] == "our question"
    assert rows.loc["C1", "source"] == "Khromov & Singh 2024"


def test_markdown_has_totals_links_and_numbers(judged):
    claims, text = judged(bound_claims=INSTANCES)
    assert report.totals(claims) in text
    assert "[tightness](../../figures/tightness.png), [bound_claims](" in text
    assert "0 [0, 0.018]: share of violations" in text
    assert "- **A1.** Holds if none. *violated by 0 of 200 random instances.*" in text
    assert "mean nothing" not in text


def test_smoke_scale_says_that_its_verdicts_mean_nothing(judged):
    claims, text = judged(scale="smoke", bound_claims=INSTANCES)
    assert "mean nothing" in " ".join(text.replace("**", "").split())
    assert "mean nothing" in " ".join(report.plain(claims, "smoke").split())


def test_plain_text_fits_a_terminal(judged):
    claims, _ = judged(bound_claims=INSTANCES)
    text = report.plain(claims, "laptop")
    assert max(map(len, text.splitlines())) <= 100
    assert "A1  HOLDS: AutoLip is a bound." in text
    assert "here 0 [0, 0.018] (share of violations)" in text


def test_two_claims_of_one_name_are_refused(judged, monkeypatch):
    monkeypatch.setattr(report, "import_claims", lambda module: import_claims(SOURCES[0]["module"])[:1])
    with pytest.raises(CommandError, match=r"two claims are called \w+: in papers\."):
        judged()


def test_claims_on_images_stand_behind_those_that_they_repeat(judged):
    claims, _ = judged()
    rows = claims.set_index("claim")
    assert rows.loc["C14 CIFAR-10", "rule"] == rows.loc["C14", "rule"]
    assert rows.loc["C14 CIFAR-10", "figure"] == "label_noise_cnn"
    names = [name for name in claims["claim"] if name.split()[0] in ("C13", "C14", "C15")]
    assert names == ["C13", "C14", "C14 CIFAR-10", "C15", "C15 CIFAR-10"]


def test_the_other_table_has_no_claims_on_images():
    sources = json.loads(SETUP.claim_sources("claims"))
    names = {one.name for source in sources for one in import_claims(source["module"])}
    assert names == {name for name in CLAIMS if " " not in name} - {"C30"}


def test_no_claim_is_judged_again_that_is_not_there(judged, monkeypatch):
    unknown = Again("C99", on="CIFAR-10", reported="", since="2026-11-28")
    monkeypatch.setattr(
        report, "import_claims", lambda module: [unknown] if "label_noise_cnn" in module else []
    )
    with pytest.raises(CommandError, match=r"C99 is to be judged again on CIFAR-10, and there is no"):
        judged()


def test_facts_that_lack_something_leave_claims_untested(judged):
    claims, _ = judged(**{name: {} for name in [*SETUP.figures, *SETUP.reader_tables]})
    assert set(claims["verdict"]) == {"not tested"}
    assert claims["reason"].str.len().min() > 5
