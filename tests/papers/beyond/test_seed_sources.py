"""What the spread over seeds comes from."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.patches import Rectangle

from papers.beyond.seed_sources import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.trained_nets import grid
from tests.papers.training_tables import SEEDS, bounds, context, epochs_table, stop_table
from tests.papers.width_tables import check_degenerate, judged, one_seed

CONTEXT = context("seed_sources")


def tables():
    """Initialisations differ by factors of 2, orders hardly, the fixed order by a factor of 3."""
    rows = []
    for order in range(5):
        one = stop_table(epochs_table(variant=f"order~{order}", seeds=4))
        own = np.where(one["seed"] % 2, 2.0, 1.0) * (3.0 if order == 0 else 1.0)
        rows.append(one.assign(c_lower=own * (1 + 1e-3 * (order * one["seed"]))))
    return {"seed_sources": pd.concat(rows)}


def test_spread_is_traced_to_initialisations():
    facts, _ = measured_and_drawn(room, tables(), CONTEXT)
    found = facts["by_width"]["256"]["c_lower"]
    assert found["initialisation"]["share"] > 0.99
    assert found["initialisation"]["p"] < 1e-6
    assert found["batch_order"]["share"] < 0.01
    assert found["fixed_order_over_drawn"] == pytest.approx(3, rel=0.01)
    assert facts["orders"] == 4


def test_quantities_without_spread_have_no_shares():
    facts = room.measure(tables(), CONTEXT)
    assert math.isnan(facts["by_width"]["256"]["test_error"]["initialisation"]["share"])


def test_bars_are_the_shares_of_the_facts():
    facts = room.measure(tables(), CONTEXT)
    facts["by_width"]["256"]["c_upper"]["initialisation"]["share"] = 0.123
    left = room.draw(tables(), facts, CONTEXT).axes[0]
    first = next(patch for patch in left.patches if isinstance(patch, Rectangle))
    assert first.get_width() == pytest.approx(12.3)


# ---------------------------------------------------------------- claim


def as_claimed(initialisation=3, batch_order=0.1):
    table = grid(variant=[f"order~{i}" for i in range(5)], width=[64, 256], seed=SEEDS)
    order = table["variant"].str[-1].astype(int)
    size = 10 + initialisation * table["seed"] + batch_order * order
    return {"seed_sources": bounds(table, 1.0, c_lower=size)}


def test_order_matters_less_where_the_table_says_so():
    finding = judged(room, "N4", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    logs = np.log(10 + 3 * np.arange(4)[:, None] + 0.1 * np.arange(1, 5))
    ratio = logs.mean(axis=0).var(ddof=1) / logs.mean(axis=1).var(ddof=1)
    assert finding.estimate == pytest.approx(np.sqrt(ratio))
    assert finding.high == pytest.approx(np.sqrt(ratio * scipy.stats.f.ppf(0.975, 3, 3)))
    assert "width 256: holds" in finding.reason


def test_orders_and_initialisations_that_matter_alike_are_seldom_told_apart():
    random = np.random.default_rng(0)
    said = 0
    for _ in range(300):
        logs = random.normal(size=(4, 1)) + random.normal(size=(1, 4)) + random.normal(size=(4, 4))
        table = pd.DataFrame(
            {
                "seed": np.repeat(range(4), 4),
                "order": np.tile(range(1, 5), 4),
                "c_lower": np.exp(logs).ravel(),
            }
        )
        said += room._order_over_start(table).high < 1
    assert said / 300 <= 0.05


def test_order_matters_more_where_the_table_speaks_against_it():
    finding = judged(room, "N4", as_claimed(0.1, 3), CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_the_claim_needs_numbers_and_several_initialisations():
    check_degenerate(room, "N4", as_claimed(), CONTEXT)
    finding = judged(room, "N4", one_seed(as_claimed()), CONTEXT)
    assert finding.verdict == "not tested"
    assert "fewer than two initialisations" in finding.reason
