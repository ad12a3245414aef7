"""Jacobian norms beside secants, and the paper's table beside its own run."""

import numpy as np
import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.pairwise import study
from papers.khromov_singh_2024.pairwise import table as room
from tests.papers.helpers import job_context, printed
from tests.papers.trained_nets import scaled
from tests.papers.training_runs import NETS, PLACES, jacobian_norm, made_up_arrays, made_up_run
from tests.papers.training_tables import growing
from tests.papers.width_tables import check_needs_facts, check_untested, judged

CONTEXT = job_context("pairwise", {}, "laptop")

# ---------------------------------------------------------------- study


@pytest.mark.usefixtures("single_threaded")
def test_pairwise_is_brute_force(tmp_path):
    arrays = made_up_arrays()
    table = study.study(study.Settings(epochs=(5,)), arrays, [made_up_run(tmp_path / "run")])
    assert list(zip(table["seed"], table["epoch"], strict=True)) == PLACES
    assert (table["pairs"] == 30 * 29 // 2).all()
    x = arrays["x_train"]
    for row in table.itertuples():
        net = NETS[row.seed, row.epoch]
        with torch.no_grad():
            secants = [
                (torch.linalg.vector_norm(net(x[i]) - net(x[j])) / (x[i] - x[j]).norm()).item()
                for i in range(30)
                for j in range(i)
            ]
        assert row.c_pairwise == pytest.approx(max(secants), rel=1e-5)
        assert row.c_lower == pytest.approx(max(jacobian_norm(net, point) for point in x), rel=1e-5)


# ---------------------------------------------------------------- table


def test_table_of_secants_beside_the_papers():
    names = {"experiment": "evolution", "variant": "base", "noise": 0, "width": 256}
    ours = pd.DataFrame(
        {**names, "seed": [0, 1], "epoch": 0, "c_lower": [0.3, 0.5], "c_pairwise": [0.2, 0.2]}
    )
    same = pd.DataFrame(
        {"width": 256, "epoch": [0, 83000], "c_lower": [0.4, 20.0], "c_pairwise": [0.165, 8.0]}
    )
    tables = {"pairwise": ours, "paper_run": same}
    rows = room.rows(tables, room.measure(tables, CONTEXT), CONTEXT)
    first, last, secant, _ = rows.to_dict("records")
    assert first == {
        "bound": "C_lower",
        "epoch": 0,
        "paper": "0.369",
        "paper's start": "0.400",
        "difference": "+8.4 %",
        "our seeds": "0.400 ± 0.141",
    }
    assert last["paper"] == last["difference"] == last["our seeds"] == ""
    assert (secant["bound"], secant["difference"]) == ("C_pairwise", "+0.0 %")


def test_one_seed_has_no_deviation():
    tables = as_claimed()
    one = tables | {"pairwise": tables["pairwise"].query("seed == 0")}
    rows = room.rows(one, room.measure(one, CONTEXT), CONTEXT)
    assert rows["our seeds"].iloc[0] == f"{one['pairwise']['c_lower'].iloc[0]:.3f}"


# ---------------------------------------------------------------- claims


def as_claimed():
    ours = growing().assign(experiment="evolution", c_pairwise=lambda rows: rows["c_lower"] / 1.5)
    table = printed("pairwise")
    same = pd.DataFrame(
        {
            "width": 256,
            "epoch": list(table["c_lower"]),
            "c_lower": [1.01 * value for value in table["c_lower"].values()],
            "c_pairwise": [0.98 * value for value in table["c_pairwise"].values()],
        }
    )
    return {"pairwise": ours, "paper_run": same}


def against_pairs(given):
    return given | {"pairwise": scaled(given["pairwise"], "c_pairwise", 2)}


def against_the_table(given):
    return given | {"paper_run": scaled(scaled(given["paper_run"], "c_lower", 2), "c_pairwise", 2)}


CLAIMS = {"C5": (against_pairs, 1.5), "N5": (against_the_table, 1)}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_where_the_tables_say_so(name):
    finding = judged(room, name, as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert finding.estimate == pytest.approx(CLAIMS[name][1])


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_does_not_hold_where_the_tables_speak_against_it(name):
    finding = judged(room, name, CLAIMS[name][0](as_claimed()), CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_the_largest_deviation_is_that_of_the_differences_in_the_table():
    given = as_claimed()
    given["paper_run"].loc[2, "c_lower"] *= 0.9
    facts = room.measure(given, CONTEXT)
    worst = max(abs(row["deviation"]) for row in facts["by_epoch"]["c_lower"].values())
    found = judged(room, "N5", given, CONTEXT)
    assert found.estimate == pytest.approx(100 * worst) == pytest.approx(100 * (1 - 0.9 * 1.01))
    assert found.verdict == "holds in part"


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_need_rows_and_numbers(name):
    check_needs_facts(room, name)
    given = as_claimed()
    for change in (
        lambda rows: rows.iloc[:0],
        lambda rows: rows.assign(c_lower=np.nan, c_pairwise=np.nan),
    ):
        empty = {table: change(rows) for table, rows in given.items()}
        check_untested(judged(room, name, empty, CONTEXT))


def test_another_width_and_a_short_run_say_nothing_about_the_table():
    given = as_claimed()
    narrow = given | {"paper_run": given["paper_run"].assign(width=32)}
    assert "width = 256" in judged(room, "N5", narrow, CONTEXT).reason
    short = given | {"paper_run": given["paper_run"].iloc[:2]}
    assert "fewer than three epochs" in judged(room, "N5", short, CONTEXT).reason


def test_one_seed_has_no_interval():
    given = as_claimed()
    one = given | {"pairwise": given["pairwise"].query("seed == 0")}
    finding = judged(room, "C5", one, CONTEXT)
    assert finding.verdict == "not tested"
    assert "one seed" in finding.reason
