"""How far weights travel, against width."""

import numpy as np
import pytest

from papers.khromov_singh_2024.parameter_distance import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn


def test_distances_peak_where_they_do():
    tables = {"double_descent": given.stops(), "double_descent_mse": given.stops(128)}
    facts = given.as_json(room, tables, given.BOTH)
    assert facts["double_descent"]["parameter_distance"]["peak_width"] == 64
    assert facts["double_descent_mse"]["distance_from_start"]["peak_width"] == 128


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_also_when_every_seed_diverged(lost):
    tables = dict.fromkeys(("double_descent", "double_descent_mse"), given.stops(lost=lost))
    measured_and_drawn(room, tables, given.BOTH)


def test_the_band_is_at_the_measured_peak_of_the_test_loss():
    tables = {"double_descent": given.stops(), "double_descent_mse": given.stops(128)}
    _, drawing = measured_and_drawn(room, tables, given.BOTH)
    bands = [
        line.get_xdata()[0]
        for axes in drawing.axes
        for line in axes.lines
        if line.get_label() == "largest test loss"
    ]
    assert bands == [64, 128, 64, 128]


# ---------------------------------------------------------------- claims


def swept():
    """As the paper has it."""
    return {"double_descent": given.sweep(), "double_descent_mse": given.sweep()}


def growing(rows):
    """Distances that grow with the width."""
    return rows.assign(parameter_distance=rows["width"] * given.spread(rows["seed"]))


def test_distances_with_a_peak_have_one():
    finding = given.judged(room, "C22", swept(), given.BOTH_AT_80)
    assert finding.verdict == "holds", finding
    assert np.isfinite(finding.estimate)
    assert "squared error: holds" in finding.reason


def test_distances_that_grow_with_width_have_none():
    tables = {name: growing(rows) for name, rows in swept().items()}
    finding = given.judged(room, "C22", tables, given.BOTH_AT_80)
    assert finding.verdict == "does not hold", finding


def test_flanks_that_were_not_trained_or_are_not_there_are_not_judged():
    capped = {
        name: rows.assign(stop_reason="epoch_cap", train_error=0.1) for name, rows in swept().items()
    }
    finding = given.judged(room, "C22", capped, given.BOTH_AT_80)
    assert finding.verdict == "not tested"
    assert "wide flank of parameter distance reach the stop" in finding.reason
    short = {name: rows[rows["width"] < 256] for name, rows in swept().items()}
    finding = given.judged(room, "C22", short, given.BOTH_AT_80)
    assert "no width is near 320" in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    given.check_degenerate(room, "C22", swept(), given.BOTH_AT_80)
    given.check_one_seed(room, "C22", swept(), given.BOTH_AT_80)
