"""Bounds over width and label noise."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.label_noise import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn


def noises(lost=False):
    """Peaks move from width 64 to 128 when noise comes in."""
    parts = [
        given.stops(peak, lost=lost, noise=noise) for noise, peak in ((0, 64), (50, 128), (100, 128))
    ]
    return pd.concat(parts, ignore_index=True)


def test_facts_and_frames_follow_the_moving_peak():
    tables = {"label_noise": noises()}
    facts = given.as_json(room, tables, given.CONTEXT)
    found = {noise: one["c_lower"]["peak_width"] for noise, one in facts["over_width"].items()}
    assert found == {"0": 64, "50": 128, "100": 128}
    assert facts["mean_c_lower"]["noise 50"]["128"] == pytest.approx(200 * 1.01)
    heat = room.draw(tables, facts, given.CONTEXT).subfigs[0].axes[0]
    assert [round(frame.get_x() - 0.04) for frame in heat.patches] == [2, 3, 3]
    assert [text.get_text() for text in heat.texts[:5]] == ["50", "101", "202", "101", "50"]


def test_heat_maps_leave_out_what_no_seed_has():
    data = noises()
    data.loc[(data["noise"] == 50) & (data["width"] == 16), ["c_lower", "test_loss"]] = np.nan
    tables = {"label_noise": data}
    facts = given.as_json(room, tables, given.CONTEXT)
    heat = room.draw(tables, facts, given.CONTEXT).subfigs[0].axes[0]
    assert len(heat.texts) == 14
    assert [round(frame.get_x() - 0.04) for frame in heat.patches] == [2, 3, 3]


def test_marks_stand_at_the_peaks_that_were_measured():
    tables = {"label_noise": noises()}
    facts = given.as_json(room, tables, given.CONTEXT)
    moved = {"peak_width": 32, "peak_width_refined": 32, "peak_width_interval": [16, 64]}
    facts["over_width"]["50"]["c_lower"] |= moved
    axes = room.draw(tables, facts, given.CONTEXT).subfigs[2].axes[1]
    (lower,) = [line for line in axes.lines if "lower" in str(line.get_label())]
    np.testing.assert_allclose(lower.get_ydata()[1], 32)
    bars = [segment for lines in axes.collections for segment in lines.get_segments()]
    (bar,) = [bar for bar in bars if bar[0, 0] == lower.get_xdata()[1]]
    np.testing.assert_allclose(bar[:, 1], [16, 64])


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_also_when_every_seed_diverged(lost):
    measured_and_drawn(room, {"label_noise": noises(lost)}, given.CONTEXT)
    plt.close("all")


# ---------------------------------------------------------------- claims


THRESHOLDS = {0: 64, 20: 64, 50: 128, 80: 128, 100: 256}
"""By share of noise, the width that fits the labels, and at which bounds peak."""


def swapped():
    """As the paper has it: the peak moves to wider nets, and is the higher the more noise there is."""
    table = given.grid(noise=[0, 20, 50, 80, 100], width=given.CLAIM_WIDTHS, seed=given.CLAIM_SEEDS)
    factor = 1 + table["noise"] * (100 - table["noise"]) / 200
    threshold = table["noise"].map(THRESHOLDS)
    error = np.where(table["width"] < threshold, 0.3, 0.0)
    return given.bounds(table, given.peak(table["width"], threshold) * factor, train_error=error)


AGAINST = {
    "C14": given.rising,
    "C15": lambda rows: given.bounds(rows, 1.0 + rows["noise"]),
    "C16": lambda rows: given.bounds(rows, given.peak(rows["width"], 200 - rows["noise"])),
    "C17": given.rising,
}


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_holds_where_the_table_says_so(name):
    finding = given.judged(room, name, {"": swapped()}, given.AT_80)
    assert finding.verdict == ("holds in part" if name == "C15" else "holds"), finding
    assert "does not hold" not in finding.reason
    assert np.isfinite(finding.estimate)


@pytest.mark.parametrize("name", sorted(set(AGAINST) - {"C15"}))
def test_a_claim_does_not_hold_where_the_table_speaks_against_it(name):
    finding = given.judged(room, name, {"": AGAINST[name](swapped())}, given.AT_80)
    assert finding.verdict == "does not hold", finding


def test_parts_are_in_the_order_of_noise_and_width():
    finding = given.judged(room, "C14", {"": swapped()}, given.AT_80)
    assert finding.reason.index("0 % noise") < finding.reason.index("50 % noise: holds")
    assert finding.reason.index("80 % noise") < finding.reason.index("100 % noise")
    finding = given.judged(room, "C15", {"": swapped()}, given.AT_80)
    assert finding.reason.index("width 16: not tested") < finding.reason.index("width 32: not tested")


def test_a_turn_in_noise_is_asked_for_where_it_can_lie():
    finding = given.judged(room, "C15", {"": swapped()}, given.AT_80)
    assert "width 32: not tested (no share of noise is fitted" in finding.reason
    assert "width 64: holds" in finding.reason
    assert "width 256: not tested (the largest share of noise is fitted" in finding.reason
    against = given.judged(room, "C15", {"": AGAINST["C15"](swapped())}, given.AT_80)
    assert "width 64: does not hold" in against.reason
    early = swapped().assign(train_error=np.where(swapped()["noise"] == 0, 0.0, 0.3))
    finding = given.judged(room, "C15", {"": early}, given.AT_80)
    assert finding.verdict == "not tested"
    assert "only the least share of noise is fitted" in finding.reason


def test_flanks_are_those_of_the_threshold_at_the_same_noise():
    facts = given.as_json(room, {"label_noise": swapped()}, given.AT_80)
    found = {noise: one["estimate"] for noise, one in facts["narrowest_that_fits"].items()}
    assert found == {str(noise): width for noise, width in THRESHOLDS.items()}
    unfitted = swapped().assign(train_error=0.3)
    finding = given.judged(room, "C14", {"": unfitted}, given.AT_80)
    assert finding.reason == "no width fits the labels"


def test_wide_nets_that_were_not_trained_to_the_end_say_nothing_of_a_flank():
    rows = swapped()
    wide = (rows["train_error"] == 0) & (rows["width"] > rows["noise"].map(THRESHOLDS))
    errors = rows["train_error"].mask(wide, 0.005)  # which is as good as fitted, for the threshold
    capped = rows.assign(stop_reason=rows["stop_reason"].mask(wide, "epoch_cap"), train_error=errors)
    finding = given.judged(room, "C14", {"": capped}, given.AT_80)
    assert finding.verdict == "not tested"
    assert "runs on the wide flank of C_lower reach the stop" in finding.reason


def test_a_peak_that_stays_where_it_is_does_not_move():
    rows = swapped()
    still = given.bounds(rows, given.peak(rows["width"], 64))
    assert given.judged(room, "C16", {"": still}, given.AT_80).verdict == "does not hold"
    moving = pd.concat([still[still["seed"] == 0], rows[rows["seed"] > 0]])
    found = given.judged(room, "C16", {"": moving}, given.AT_80)
    assert 0.5 < found.estimate < given.judged(room, "C16", {"": rows}, given.AT_80).estimate


@pytest.mark.parametrize("name", AGAINST)
def test_claims_need_numbers(name):
    given.check_degenerate(room, name, {"": swapped()}, given.AT_80)


@pytest.mark.parametrize("name", sorted(set(AGAINST) - {"C16"}))
def test_claims_need_seeds(name):
    given.check_one_seed(room, name, {"": swapped()}, given.AT_80)
