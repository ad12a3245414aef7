"""A penalty on the largest Jacobian norm."""

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.regularisation import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.trained_nets import scaled, spread
from tests.papers.training_tables import context, epochs_table, stop_table, variants
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("regularisation")


def test_strengths_of_regularisation_come_from_the_names():
    every = pd.concat(
        epochs_table(variant=f"penalty~{n}", factor=f) for n, f in ((0, 1), (1000, 0.5), (100000, 0.1))
    )
    tables = {"regularisation_epochs": every, "regularisation": stop_table(every)}
    facts, _ = measured_and_drawn(room, tables, CONTEXT)
    assert list(facts["by_strength"]) == ["0", "0.001", "0.1"]
    strong = facts["by_strength"]["0.1"]
    assert strong["over_no_penalty_at_the_stop"]["c_upper"]["estimate"] == pytest.approx(0.1)
    assert strong["least_test_loss"]["estimate"] == pytest.approx(2 + 0.1 - 1)


# ---------------------------------------------------------------- claim


def as_claimed():
    """Both penalties halve the test loss, the stronger one a little more."""
    table = variants("penalty", [0, 1000, 10000], lambda size: 10 + 0 * size)
    loss = table["variant"].map({"penalty~0": 2.0, "penalty~1000": 1.1, "penalty~10000": 1.0})
    return both(table.assign(test_loss=loss * spread(table["seed"])))


def both(table):
    return {"regularisation": table, "regularisation_epochs": table.assign(epoch=100)}


def against(given):
    rows = given["regularisation"]
    rows = rows.assign(test_loss=1 / rows["test_loss"], log10_c_upper=rows["variant"].str.len())
    return both(scaled(rows, "test_loss", 9, variant="penalty~1000"))


def test_a_penalty_helps_where_the_table_says_so():
    finding = judged(room, "C19", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert "test loss, strength 0.01: holds 0.5 " in finding.reason


def test_a_penalty_does_not_help_where_the_table_speaks_against_it():
    finding = judged(room, "C19", against(as_claimed()), CONTEXT)
    assert finding.verdict == "does not hold", finding


@pytest.mark.parametrize("left", ["penalty~0", "penalty~1000"])
def test_nets_with_and_without_a_penalty_are_needed(left):
    rows = as_claimed()["regularisation"].query("variant == @left")
    finding = judged(room, "C19", both(rows), CONTEXT)
    assert finding.verdict == "not tested"
    assert "nets without a penalty, or with one, are missing" in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C19", as_claimed(), CONTEXT)
    check_one_seed(room, "C19", as_claimed(), CONTEXT)
    assert np.isfinite(judged(room, "C19", as_claimed(), CONTEXT).estimate)
