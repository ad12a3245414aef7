"""Slopes of the stable phase of training."""

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.slopes import table as room
from tests.papers.training_tables import context, epochs_table, falling, growing
from tests.papers.width_tables import as_json, check_degenerate, check_one_seed, judged, sweep_epochs

NAMES = ("evolution", "double_descent_mse")
CONTEXT = context("slopes", *NAMES)
TABLES = {
    "evolution_epochs": epochs_table(),
    "double_descent_mse_epochs": pd.concat([epochs_table(width=w) for w in (64, 256)]),
}


def rows(where=CONTEXT, tables=TABLES):
    return room.rows(tables, as_json(room, tables, where), where)


def test_table_of_slopes():
    found = rows()
    assert list(found["slope"]) == ["0.500"] * 6
    assert list(found["slope, paper"]) == ["0.59", "0.46", "0.44", "0.80", "0.62", "0.52"]
    assert set(found["epochs"]) == {"10 to 1000"}
    assert set(found["R²"]) == {"1.0000"}


def test_the_papers_stable_phase_at_its_scale_and_too_short_training():
    found = rows(context("slopes", *NAMES, scale="paper"))
    assert list(found["epochs"]) == ["2500 to 1000"] * 3 + ["75000 to 1000"] * 3
    assert set(found["slope"]) == {""}


def test_the_table_has_the_slopes_of_the_facts():
    facts = as_json(room, TABLES, CONTEXT)
    facts["stable_phase"]["evolution"]["slopes"]["c_lower"]["slope"] = 0.123
    assert list(room.rows(TABLES, facts, CONTEXT)["slope"])[:3] == ["0.500", "0.123", "0.500"]


# ---------------------------------------------------------------- claim


def as_claimed():
    sweep = sweep_epochs(64).assign(number_of_points=4000)
    return {"evolution_epochs": growing(), "double_descent_mse_epochs": sweep}


def test_bounds_grow_late_where_the_table_says_so():
    finding = judged(room, "C2", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    epochs = np.array([10, 30, 100, 300, 1000, 1064])  # from the end of the warm-up on
    assert finding.estimate == pytest.approx(np.polyfit(np.log(epochs), 0.3 * np.log(epochs + 1), 1)[0])


def test_the_claim_has_the_slopes_of_the_table():
    shown = rows(tables=as_claimed())
    beside = dict(zip(shown["bound"][3:], shown["slope"][3:], strict=True))
    parts = judged(room, "C2", as_claimed(), CONTEXT).parts
    assert {name: f"{part.estimate:.3f}" for name, part in parts.items()} == beside


def test_bounds_that_fall_do_not_grow():
    given = as_claimed()
    given["double_descent_mse_epochs"] = falling(given["double_descent_mse_epochs"])
    assert judged(room, "C2", given, CONTEXT).verdict == "does not hold"


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C2", as_claimed(), CONTEXT)
    check_one_seed(room, "C2", as_claimed(), CONTEXT)
