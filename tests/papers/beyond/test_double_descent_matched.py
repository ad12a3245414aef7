"""Bounds against width where all nets have the same training loss."""

import math

import pytest

from papers.beyond.double_descent_matched import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn

NAMES = ("double_descent_epochs", "double_descent_mse_epochs")


def test_targets_are_what_all_wider_nets_reach():
    found = room.targets(room.complete_runs(given.epochs()), threshold=64)
    assert found == pytest.approx({16: 1 / 20, 32: 1 / 100, 64: 1 / 900})
    data = given.epochs()
    data.loc[(data["width"] == 256) & (data["epoch"] > 10), "train_loss"] = 0.1
    assert room.targets(room.complete_runs(data), threshold=64) == {16: 0.1}
    assert list(room.targets(room.complete_runs(given.epochs()), threshold=8)) == [16]


def test_interpolation_is_exact_for_power_laws():
    data = room.complete_runs(given.epochs())
    found = room.matched(data, 1 / 77)
    assert set(found["width"]) == {32, 64, 128, 256}
    for _, one in found.iterrows():
        assert one["c_lower"] == pytest.approx(1000 * 77 / one["width"] * (1 + one["seed"] / 100))
        assert one["epoch"] == pytest.approx(60 + 40 * math.log(77 / 60) / math.log(100 / 60))
    at_first = room.matched(data, 2)
    assert set(at_first["epoch"]) == {0}


def test_a_width_with_a_seed_that_misses_the_target_is_left_out():
    data = room.complete_runs(given.epochs())
    short = data[(data["width"] != 64) | (data["seed"] != 1) | (data["epoch"] <= 60)]
    assert set(room.matched(short, 1 / 100)["width"]) == {32, 128, 256}


def test_facts_find_no_peak_where_there_is_one_at_the_stop():
    tables = dict.fromkeys(NAMES, given.epochs())
    facts = given.as_json(room, tables, given.BOTH)["double_descent_mse"]
    assert facts["at_the_stop"]["c_lower"]["peak_width"] == 64
    assert facts["at_the_stop"]["c_lower"]["peak_is_interior"] is True
    first, _, last = facts["at_equal_training_loss"]
    assert (first["reached_from_width"], first["widths_left_out"]) == (16, [])
    assert first["c_lower"]["peak_width"] == 16
    assert (last["reached_from_width"], last["widths_left_out"]) == (64, [16, 32])
    assert last["c_upper"]["peak_is_interior"] is False


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_also_when_every_seed_diverged(lost):
    measured_and_drawn(room, dict.fromkeys(NAMES, given.epochs(lost)), given.BOTH)


def test_curves_are_named_by_the_losses_that_were_measured():
    facts, drawing = measured_and_drawn(room, dict.fromkeys(NAMES, given.epochs()), given.BOTH)
    labels = [text.get_text() for text in drawing.axes[0].get_legend().get_texts()]
    losses = [one["training_loss"] for one in facts["double_descent"]["at_equal_training_loss"]]
    assert labels[1:] == [
        f"{loss:.2g}  (width ≥ {w})" for loss, w in zip(losses, (16, 32, 64), strict=True)
    ]


# ---------------------------------------------------------------- claims


def swept():
    """As the paper has it at the stop: a peak in width, also at the same training loss."""
    return dict.fromkeys(NAMES, given.sweep_epochs())


def test_bounds_that_fall_beyond_the_threshold_do_so_at_equal_loss():
    facts = given.as_json(room, swept(), given.BOTH_AT_80)
    finding = given.of(room, "N1").judged("own", {"own": facts})
    assert finding.verdict == "holds", finding
    assert finding.high < 0


def test_bounds_that_grow_with_width_do_not_fall():
    tables = {name: given.rising(rows) for name, rows in swept().items()}
    finding = given.judged(room, "N1", tables, given.BOTH_AT_80)
    assert finding.verdict == "does not hold", finding


def test_a_loss_whose_runs_all_diverged_is_untested():
    tables = swept() | {NAMES[1]: given.epochs(lost=True)}
    finding = given.judged(room, "N1", tables, given.BOTH_AT_80)
    assert finding.verdict == "holds in part", finding
    assert "C_lower, squared error: not tested (no run without missing numbers)" in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    given.check_degenerate(room, "N1", swept(), given.BOTH_AT_80)
    given.check_one_seed(room, "N1", swept(), given.BOTH_AT_80)
