"""The width double descent under a cap on the layers' norms."""

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.constrained import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn


def caps(lost=False):
    """A peak at 64 without a cap, and none with it."""
    flat = [given.row(w, s, 1, lost=lost, variant="cap~10") for w in given.WIDTHS for s in given.SEEDS]
    free = given.stops(variant="cap~0", lost=lost)
    return pd.concat([free, pd.DataFrame(flat)], ignore_index=True)


def test_facts_compare_peaks_and_name_the_temperature():
    facts = given.as_json(room, {"constrained": caps()}, given.CONTEXT)
    free, capped = facts["cap~0"], facts["cap~10"]
    assert free["c_lower"]["peak_over_the_widest"]["estimate"] == pytest.approx(4)
    assert capped["c_lower"]["peak_over_the_widest"]["estimate"] == pytest.approx(1)
    low, high = capped["c_lower"]["peak_over_the_widest"]["interval"]
    assert low < 1 < high
    assert capped["largest_c_upper_with_the_temperature"] == pytest.approx(10 * 4 * 1.02)


def test_changes_of_height_are_those_of_the_falls():
    facts = given.as_json(room, {"constrained": caps()}, given.CONTEXT)
    assert facts["fall_as_trained"]["cap~0"]["c_lower"]["estimate"] == pytest.approx(0.75)
    unfitted = {"constrained": caps().assign(stop_reason="epoch_cap", train_error=0.1)}
    facts = given.as_json(room, unfitted, given.CONTEXT)
    untrained = facts["change_of_the_fall"]["cap~10"]["c_lower"]["untested"]
    assert "runs on the wide flank of C_lower reach the stop" in untrained
    trained = {"constrained": caps().assign(stop_reason="gradient_norm")}
    facts = given.as_json(room, trained, given.CONTEXT)
    change = facts["change_of_the_fall"]["cap~10"]["c_lower"]
    assert change["estimate"] == pytest.approx(-0.75)
    assert change["low"] < change["estimate"] < change["high"]
    assert "no rows without NaN" in facts["change_of_the_fall"]["cap~1"]["c_lower"]["untested"]
    assert set(facts["change_of_the_fall"]["cap~10"]) == {"c_lower", "test_loss"}


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_also_when_every_seed_diverged(lost):
    measured_and_drawn(room, {"constrained": caps(lost)}, given.CONTEXT)


# ---------------------------------------------------------------- claims


def flattened():
    """As the paper has it: the lower the cap the flatter the peak."""
    table = given.grid(
        variant=["cap~0", "cap~1", "cap~10"], width=given.CLAIM_WIDTHS, seed=given.CLAIM_SEEDS
    )
    heights = table["variant"].map({"cap~0": 3.0, "cap~10": 0.3, "cap~1": 0.0})
    return given.bounds(table, given.peak(table["width"], 64, heights))


def test_a_cap_that_flattens_does_so():
    finding = given.judged(room, "C18", {"": flattened()}, given.AT_80)
    assert finding.verdict == "holds", finding
    assert np.isfinite(finding.estimate)
    assert finding.reason.startswith("C_lower, cap 10: holds")
    assert "test loss, cap 1: holds" in finding.reason


def test_a_cap_under_which_peaks_are_higher_does_not_flatten():
    rows = flattened()
    higher = given.peak(rows["width"], 64) ** (1 + rows["variant"].ne("cap~0"))
    finding = given.judged(room, "C18", {"": given.bounds(rows, higher)}, given.AT_80)
    assert finding.verdict == "does not hold", finding


def test_nothing_is_flattened_where_there_was_no_peak():
    rows = flattened()
    flat = given.bounds(rows, 1.0)
    finding = given.judged(room, "C18", {"": flat}, given.AT_80)
    assert "without a cap C_lower has no clear peak" in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    given.check_degenerate(room, "C18", {"": flattened()}, given.AT_80)
    given.check_one_seed(room, "C18", {"": flattened()}, given.AT_80)
