"""The growth of the bounds along training."""

import json

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.evolution import figure as room
from tests.papers.helpers import measured_and_drawn, printed
from tests.papers.trained_nets import grid, scaled, spread
from tests.papers.training_tables import SEEDS, context, epochs_table, falling, growing
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("evolution", "evolution", "evolution_wide", "double_descent_mse")


def tables(width=256):
    extended = [
        {"experiment": name, "seed": 0, "epoch": e, "points": "all", "count": 1005000, "maximum": m}
        for name in ("evolution", "evolution_wide")
        for e, m in ((0, 0.44), (100, 4.4))
    ]
    return {
        "evolution_epochs": epochs_table(width=width),
        "evolution_wide_epochs": epochs_table(power=0.25, width=2048),
        "double_descent_mse_epochs": pd.concat([epochs_table(width=w) for w in (64, 256)]),
        "extended_set": pd.DataFrame(extended),
    }


def test_evolution_knows_growth_slopes_and_the_extended_set():
    facts, _ = measured_and_drawn(room, tables(), CONTEXT)
    found = facts["evolution"]
    assert found["growth"]["c_lower"]["estimate"] == pytest.approx(1000**0.5)
    assert found["growth"]["c_lower"]["low"] == pytest.approx(1000**0.5)
    assert found["slopes"]["c_upper"]["slope"] == pytest.approx(0.5)
    assert facts["evolution_wide"]["slopes"]["c_avg"]["slope"] == pytest.approx(0.25)
    assert found["stable_from_epoch"] == 10
    assert found["extended_over_lower"]["by_epoch"] == pytest.approx({"0": 1.1, "100": 1.1})
    assert found["extended_over_lower"]["points"] == 1005000
    assert found["c_lower_by_epoch"]["1000"]["paper"] == 1.336
    assert found["c_lower_by_epoch"]["0"]["mean"] == pytest.approx(0.44)
    assert found["seeds_that_met_the_target"] == 3
    assert "extended_over_lower" not in facts["double_descent_mse"]


def test_only_the_papers_net_is_compared_with_table_s3():
    assert "c_lower_by_epoch" not in room.measure(tables(32), CONTEXT)["evolution"]


def test_slopes_are_drawn_as_they_were_measured():
    facts = room.measure(tables(), CONTEXT)
    facts["evolution"]["slopes"]["c_lower"]["slope"] = 0.123
    drawing = room.draw(tables(), facts, CONTEXT)
    assert [text.get_text() for text in drawing.axes[0].texts] == [
        "slope 0.50",
        "slope 0.12",
        "slope 0.50",
    ]


def test_what_other_rooms_print_of_the_paper_is_the_same_here():
    own, table_s3, table_s8 = (printed(name) for name in ("evolution", "pairwise", "slopes"))
    assert own["c_lower"] == table_s3["c_lower"]
    assert set(own["stable_phase"]) == set(table_s8)
    for name, phase in own["stable_phase"].items():
        assert phase.items() <= table_s8[name].items()


# ---------------------------------------------------------------- claims


def as_claimed():
    names = ["train", "test", "convex_train", "all"]
    extended = grid(
        experiment=["evolution", "evolution_wide"], seed=SEEDS, epoch=[0, 10000], points=names
    )
    factor = np.where(extended["points"] == "all", 1.05, 1.0)
    return {
        "evolution_epochs": growing(),
        "evolution_wide_epochs": growing(),
        "double_descent_mse_epochs": growing(),
        "extended_set": extended.assign(count=1000, maximum=101 * factor * spread(extended["seed"])),
    }


def against_growth(given):
    return given | {name: falling(given[name]) for name in ("evolution_epochs", "evolution_wide_epochs")}


def against_small_steps(given):
    return given | {"extended_set": scaled(given["extended_set"], "maximum", 2.5, points="all")}


AGAINST = {"C1": against_growth, "C4": against_small_steps}


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_holds_where_the_tables_say_so(name):
    finding = judged(room, name, as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert np.isfinite(finding.estimate)


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_does_not_hold_where_the_tables_speak_against_it(name):
    finding = judged(room, name, AGAINST[name](as_claimed()), CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_the_share_of_the_gap_is_by_hand():
    found = judged(room, "C4", as_claimed(), CONTEXT)
    # C_upper is three times the root of 10001
    share = np.log(1.05) / np.log(3 * 10001**0.5 / 101)
    assert f"share of the gap, width 256: holds {share:.3g} " in found.reason


@pytest.mark.parametrize("name", AGAINST)
def test_claims_need_numbers_and_seeds(name):
    check_degenerate(room, name, as_claimed(), CONTEXT)
    check_one_seed(room, name, as_claimed(), CONTEXT)


def test_the_growth_that_is_judged_is_that_in_the_facts():
    facts = json.loads(json.dumps(room.measure(as_claimed(), CONTEXT)))
    facts["evolution"]["growth"]["c_lower"] = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    found = room.grows.judged("evolution", {"evolution": facts})
    assert (found.estimate, found.verdict) == (0.5, "holds in part")
