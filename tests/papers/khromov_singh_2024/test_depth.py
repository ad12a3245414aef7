"""Bounds against the number of hidden layers."""

import math

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.depth import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.training_tables import context, epochs_table, stop_table, variants
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("depth")


def tables():
    every = pd.concat(
        epochs_table(variant=f"layers~{d}", start=(9.0 if d == 1 else d**2), width=64)
        for d in range(1, 6)
    )
    return {"depth": stop_table(every), "depth_epochs": every}


def test_depth_recovers_powers_from_two_layers_on():
    facts, _ = measured_and_drawn(room, tables(), CONTEXT)
    assert facts["trained"]["slopes"]["c_upper"]["slope"] == pytest.approx(2)
    assert facts["trained"]["slopes"]["c_upper"]["points"] == 4
    assert facts["at initialisation"]["slopes"]["c_avg"]["points"] == 4
    assert facts["trained"]["slopes_through_all_depths"]["c_upper"] < 1.5  # one layer starts at 9
    assert facts["stop_reasons"]["3 layers, gradient_norm"] == 3


def test_it_draws_where_seeds_diverged():
    diverged = tables()["depth"].assign(stop_reason="diverged", log10_c_upper=math.nan)
    diverged.loc[diverged["seed"] > 0, "log10_c_upper"] = 1.0
    measured_and_drawn(room, tables() | {"depth": diverged}, CONTEXT)


def test_slopes_are_drawn_as_they_were_measured_beside_the_papers():
    facts = room.measure(tables(), CONTEXT)
    facts["trained"]["slopes"]["c_lower"]["slope"] = 1.23
    left, right = room.draw(tables(), facts, CONTEXT).axes[:2]
    assert [text.get_text() for text in left.texts] == [
        "slope 2.00 (paper 3.33)",
        "slope 1.23 (paper 2.03)",
        "slope 2.00 (paper 1.19)",
    ]
    assert right.texts[2].get_text() == "slope 2.00 (paper \u22122.84)"


# ---------------------------------------------------------------- claim


def depths(power):
    return variants("layers", range(1, 6), lambda size: size**power)


def as_claimed():
    start = depths(-2.0).assign(epoch=0)
    layers = start["variant"].str[-1].astype(float)
    return {"depth": depths(2.0), "depth_epochs": start.assign(log10_c_upper=0.3 * np.log10(layers))}


def test_bounds_grow_with_depth_where_the_tables_say_so():
    finding = judged(room, "C23", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert finding.estimate == pytest.approx(2)
    assert "C_upper, at initialisation: holds 0.3 " in finding.reason


def test_bounds_do_not_grow_where_the_tables_speak_against_it():
    against = {"depth": depths(-1.0), "depth_epochs": depths(2.0).assign(epoch=0)}
    finding = judged(room, "C23", against, CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C23", as_claimed(), CONTEXT)
    check_one_seed(room, "C23", as_claimed(), CONTEXT)
