"""Bounds against the number of training points."""

import pandas as pd
import pytest

from papers.khromov_singh_2024.sample_size import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.training_tables import context, epochs_table, stop_table, variants
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("sample_size")


def tables():
    return {
        "sample_size": pd.concat(
            stop_table(epochs_table(variant=f"points~{n}", start=n**0.4), reason="epoch_cap")
            for n in (100, 500, 4000)
        ).assign(epochs=1000)
    }


def test_sample_size_recovers_powers():
    facts, _ = measured_and_drawn(room, tables(), CONTEXT)
    assert facts["slopes"]["c_lower"]["slope"] == pytest.approx(0.4)
    assert facts["stop_reasons"] == {"epoch_cap": 9}
    assert list(facts["means"]) == ["100", "500", "4000"]
    assert facts["r_squared_of_the_paper"]["c_upper"] == 0.968


def test_slopes_are_drawn_as_they_were_measured_beside_the_papers():
    facts = room.measure(tables(), CONTEXT)
    facts["slopes"]["c_lower"]["slope"] = 0.123
    drawing = room.draw(tables(), facts, CONTEXT)
    assert [text.get_text() for text in drawing.axes[0].texts] == [
        "slope 0.40 (paper 0.53)",
        "slope 0.12 (paper 0.37)",
        "slope 0.40 (paper 0.36)",
    ]


def test_one_seed_draws():
    every = epochs_table(variant="points~100", seeds=1)
    more = epochs_table(variant="points~1000", seeds=1, start=1)
    measured_and_drawn(room, {"sample_size": stop_table(pd.concat([every, more]))}, CONTEXT)


# ---------------------------------------------------------------- claim


def powers(power):
    return {"sample_size": variants("points", [100, 500, 1000, 4000], lambda size: size**power)}


def test_bounds_grow_slowly_where_the_table_says_so():
    finding = judged(room, "C25", powers(0.4), CONTEXT)
    assert finding.verdict == "holds", finding
    assert finding.estimate == pytest.approx(0.4)


def test_bounds_grow_fast_where_the_table_speaks_against_it():
    assert judged(room, "C25", powers(1.5), CONTEXT).verdict == "does not hold"


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C25", powers(0.4), CONTEXT)
    check_one_seed(room, "C25", powers(0.4), CONTEXT)
