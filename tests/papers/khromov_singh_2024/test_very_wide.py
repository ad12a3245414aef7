"""Whether C_upper rises again far beyond the threshold."""

import numpy as np
import pytest

from papers.khromov_singh_2024.very_wide import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn

TRAINING = given.TRAINING | {"loss": "cross_entropy"}
SETTINGS = {"threshold_width": 80, "training": TRAINING}
CONTEXT = {
    "scale": "laptop",
    "settings": dict.fromkeys(("double_descent", "double_descent_wide"), SETTINGS),
}


def nets(bound, **more):
    """C_upper by width, in two tables, with seeds that differ by per cents."""
    table = given.grid(width=list(bound), seed=range(4))
    table = given.bounds(table, table["width"].map(bound), **more)
    narrow = table["width"] <= 512
    return {"double_descent": table[narrow], "double_descent_wide": table[~narrow]}


def verdict(tables):
    return given.judged(room, "C11", tables, CONTEXT)


def test_c_upper_rises_again_where_it_does():
    finding = verdict(nets({16: 1, 80: 9, 256: 4, 512: 3, 1024: 4, 2048: 6}))
    assert finding.verdict == "holds", finding
    assert finding.estimate == pytest.approx(2)


def test_the_interval_is_widened_for_the_search():
    once = verdict(nets({80: 9, 512: 3, 2048: 6}))
    often = verdict(nets({80: 9, 96: 8, 128: 7, 256: 6, 512: 3, 1024: 5, 2048: 6}))
    assert often.estimate == pytest.approx(once.estimate)
    assert often.low < once.low < once.high < often.high


def test_a_bound_that_still_falls_is_judged_only_far_beyond_the_threshold():
    falling = {80: 9, 512: 4, 2048: 3}
    finding = verdict(nets(falling))
    assert finding.verdict == "not tested", finding
    assert finding.reason.startswith("C_upper has not risen up to 25.6 thresholds: 0.75 [0.7")
    finding = verdict(nets(falling | {16384: 2}))
    assert finding.verdict == "does not hold", finding


def test_no_rise_is_judged_near_the_threshold():
    finding = verdict(nets({16: 1, 80: 9, 256: 4, 512: 6}))
    assert finding.reason == "the widest net has 6.4 thresholds, less than 16"


def test_nets_that_did_not_stop_are_not_judged():
    rising = {16: 1, 80: 9, 512: 3, 2048: 6}
    finding = verdict(nets(rising, stop_reason="epoch_cap"))
    assert finding.reason == "only a share of 0 of the runs reached the stop"
    assert verdict(nets(rising, stop_reason="epoch_cap", train_error=0.0)).verdict == "holds"


def test_nets_that_both_trainings_have_count_once():
    tables = nets({16: 1, 80: 9, 512: 3, 2048: 6})
    twice = tables | {"double_descent": room.both(tables)}
    assert len(room.both(twice)) == 16


def test_a_rise_needs_numbers_and_seeds():
    tables = nets({16: 1, 80: 9, 512: 3, 2048: 6})
    given.check_degenerate(room, "C11", tables, CONTEXT)
    given.check_one_seed(room, "C11", tables, CONTEXT)
    assert "largest at the widest net" in verdict(nets({80: 2, 2048: 3})).reason


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_drawn_is_relative_to_the_least(lost):
    tables = nets({16: 1, 80: 9, 512: 3, 2048: 6})
    if lost:
        tables = {name: rows.assign(log10_c_upper=np.nan) for name, rows in tables.items()}
    _, drawing = measured_and_drawn(room, tables, CONTEXT)
    bars = drawing.axes[1].containers
    heights = [] if lost else bars[0].lines[0].get_ydata()
    assert list(heights) == ([] if lost else pytest.approx([3, 1, 2]))
