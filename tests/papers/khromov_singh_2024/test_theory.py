"""The bounds that theory gives for the growth of the constant."""

import numpy as np
import pytest

from papers.khromov_singh_2024.theory import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.training_tables import context, epochs_table, falling, growing
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("theory", "theory", "theory_bounds")


def with_constants(epochs, **more):
    names = ["variant", "noise", "width", "seed", "epoch"]
    constants = epochs[epochs["points"] == "train"][names].assign(
        experiment="theory", points=4000, diameter=4.0, c_theta=2.0, **more
    )
    return {"theory_epochs": epochs, "theory_bounds": constants}


def test_theory_bounds_are_the_formulas():
    epochs = epochs_table(variant="base", width=100, seeds=2)
    epochs = epochs.assign(path_length=epochs["epoch"] / 10, largest_gradient_norm=3.0)
    tables = with_constants(epochs, c_theta_running=2.0)
    data = room.prepared(tables, CONTEXT)
    last = data[(data["seed"] == 1) & (data["epoch"] == 1000)].iloc[0]
    assert last["updates"] == 8000
    assert last["bound_1"] == pytest.approx(2 / 4 * 2 * 100 + 0.44)
    assert last["bound_2"] == pytest.approx(2 / 4 * 2 * 3 * 0.1 * 8000 + 0.44)
    facts, _ = measured_and_drawn(room, tables, CONTEXT)
    assert facts["rank_correlations"]["bound_1 and c_lower"]["estimate"] == pytest.approx(1)
    assert facts["below"]["bound_1 below c_upper"]["last_update"] == 800
    assert facts["below"]["bound_2 below c_upper"]["share"] == 0


# ---------------------------------------------------------------- claim


def as_claimed(constant_power=0.3):
    tables = with_constants(growing().assign(largest_gradient_norm=3.0))
    constants = tables["theory_bounds"]
    running = (1 + constants["epoch"]) ** constant_power
    return tables | {"theory_bounds": constants.assign(c_theta_running=running)}


def test_theory_follows_where_the_tables_say_so():
    finding = judged(room, "C31", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert "ranks, C_lower: holds 0.982 " in finding.reason
    assert "slopes, C_upper: holds 1.2 " in finding.reason


def test_theory_does_not_follow_bounds_that_fall():
    given = as_claimed()
    epochs = given["theory_epochs"]
    paths = epochs[["path_length", "largest_gradient_norm"]]
    finding = judged(room, "C31", given | {"theory_epochs": falling(epochs).assign(**paths)}, CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_theory_does_not_follow_a_bound_that_grows_otherwise():
    finding = judged(room, "C31", as_claimed(3), CONTEXT)
    assert finding.verdict == "holds in part"
    assert "slopes, C_lower: does not hold" in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C31", as_claimed(), CONTEXT)
    check_one_seed(room, "C31", as_claimed(), CONTEXT)


def test_seeds_that_share_no_epoch_are_not_compared():
    given = as_claimed()
    apart = np.where(given["theory_epochs"]["seed"] == 0, 1, 0) * 7
    tables = {
        name: rows.assign(epoch=rows["epoch"] + apart * (rows["epoch"] > 0))
        for name, rows in given.items()
    }
    finding = judged(room, "C31", tables, CONTEXT)
    assert finding.verdict == "not tested"
    assert "share no epoch" in finding.reason
