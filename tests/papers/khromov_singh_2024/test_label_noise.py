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
    assert facts["over_noise"]["32"]["c_lower"]["peak_noise"] == 0
    assert facts["over_noise"]["256"]["c_lower"]["at_the_last"] == pytest.approx(100 * given.MEAN)
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
    facts["over_width"]["50"]["c_lower"] |= {"peak_width": 32, "peak_width_interval": [16, 64]}
    axes = room.draw(tables, facts, given.CONTEXT).subfigs[2].axes[1]
    (lower,) = [bars for bars in axes.containers if "lower" in bars.get_label()]
    line, _, (bar,) = lower.lines
    np.testing.assert_allclose(line.get_ydata(), [64, 32, 128])
    np.testing.assert_allclose(bar.get_segments()[1][:, 1], [16, 64])


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_also_when_every_seed_diverged(lost):
    measured_and_drawn(room, {"label_noise": noises(lost)}, given.CONTEXT)
    plt.close("all")


# ---------------------------------------------------------------- claims


def swapped():
    """As the paper has it: the peak moves to wider nets, and is the higher the more noise there is."""
    table = given.grid(noise=[0, 20, 50, 80, 100], width=given.CLAIM_WIDTHS, seed=given.CLAIM_SEEDS)
    factor = 1 + table["noise"] * (100 - table["noise"]) / 200
    size = given.peak(table["width"], 48 + table["noise"]) * factor
    error = np.where(table["width"] < 48 + table["noise"], 0.3, 0.0)
    return given.bounds(table, size, train_error=error)


AGAINST = {
    "C14": given.rising,
    "C15": lambda rows: given.bounds(rows, 1.0 + rows["noise"]),
    "C16": lambda rows: given.bounds(rows, given.peak(rows["width"], 200 - rows["noise"])),
    "C17": given.rising,
}


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_holds_where_the_table_says_so(name):
    finding = given.judged(room, name, {"": swapped()}, given.AT_80)
    assert finding.verdict == "holds", finding
    assert np.isfinite(finding.estimate)


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_does_not_hold_where_the_table_speaks_against_it(name):
    finding = given.judged(room, name, {"": AGAINST[name](swapped())}, given.AT_80)
    assert finding.verdict == "does not hold", finding


def test_parts_are_in_the_order_of_noise_and_width():
    finding = given.judged(room, "C14", {"": swapped()}, given.AT_80)
    assert finding.reason.index("0 % noise") < finding.reason.index("50 % noise: holds")
    assert finding.reason.index("80 % noise") < finding.reason.index("100 % noise")
    finding = given.judged(room, "C15", {"": swapped()}, given.AT_80)
    assert finding.reason.startswith("width 16: holds")


def test_a_peak_that_stays_where_it_is_does_not_move():
    rows = swapped()
    still = given.bounds(rows, given.peak(rows["width"], 64))
    assert given.judged(room, "C16", {"": still}, given.AT_80).verdict == "does not hold"


@pytest.mark.parametrize("name", AGAINST)
def test_claims_need_numbers(name):
    given.check_degenerate(room, name, {"": swapped()}, given.AT_80)


@pytest.mark.parametrize("name", sorted(set(AGAINST) - {"C16"}))
def test_claims_need_seeds(name):
    given.check_one_seed(room, name, {"": swapped()}, given.AT_80)
