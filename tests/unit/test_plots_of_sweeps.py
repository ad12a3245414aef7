"""Figures by depth, points, strength and seed, and of theory, from tables with known answers."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tests.conftest import ROOT
from tests.unit.training_tables import check, context, epochs_table, stop_table

import plot_depth
import plot_regularisation
import plot_sample_size
import plot_seed_sources
import plot_theory
from pipeline import figures


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


def test_depth_recovers_powers_from_two_layers_on():
    every = pd.concat(
        epochs_table(variant=f"layers~{d}", start=(9.0 if d == 1 else d**2), width=64)
        for d in range(1, 6)
    )
    tables = {"depth": stop_table(every), "depth_epochs": every}
    facts = check(plot_depth, tables, context())
    assert facts["trained"]["slopes"]["c_upper"]["slope"] == pytest.approx(2)
    assert facts["trained"]["slopes"]["c_upper"]["points"] == 4
    assert facts["at initialisation"]["slopes"]["c_avg"]["points"] == 4
    assert facts["trained"]["slopes_through_all_depths"]["c_upper"] < 1.5  # one layer starts at 9
    assert facts["stop_reasons"]["3 layers, gradient_norm"] == 3
    diverged = tables["depth"].assign(stop_reason="diverged", log10_c_upper=math.nan)
    diverged.loc[diverged["seed"] > 0, "log10_c_upper"] = 1.0
    plot_depth.draw(tables | {"depth": diverged}, context())


def test_sample_size_recovers_powers():
    sizes = (100, 500, 4000)
    table = pd.concat(
        stop_table(epochs_table(variant=f"points~{n}", start=n**0.4), reason="epoch_cap") for n in sizes
    )
    facts = check(plot_sample_size, table, context())
    assert facts["slopes"]["c_lower"]["slope"] == pytest.approx(0.4)
    assert facts["stop_reasons"] == {"epoch_cap": 9}
    assert list(facts["means"]) == ["100", "500", "4000"]


def test_strengths_of_regularisation_come_from_the_names():
    every = pd.concat(
        epochs_table(variant=f"penalty~{n}", factor=f) for n, f in ((0, 1), (1000, 0.5), (100000, 0.1))
    )
    tables = {"regularisation_epochs": every, "regularisation": stop_table(every)}
    facts = check(plot_regularisation, tables, context())
    assert list(facts["by_strength"]) == ["0", "0.001", "0.1"]
    strong = facts["by_strength"]["0.1"]
    assert strong["over_no_penalty_at_the_stop"]["c_upper"]["estimate"] == pytest.approx(0.1)
    assert strong["least_test_loss"]["estimate"] == pytest.approx(2 + 0.1 - 1)


def seed_table():
    """Initialisations differ by factors of 2, orders hardly, the fixed order by a factor of 3."""
    rows = []
    for order in range(5):
        one = stop_table(epochs_table(variant=f"order~{order}", seeds=4))
        own = np.where(one["seed"] % 2, 2.0, 1.0) * (3.0 if order == 0 else 1.0)
        rows.append(one.assign(c_lower=own * (1 + 1e-3 * (order * one["seed"]))))
    return pd.concat(rows)


def test_spread_is_traced_to_initialisations():
    facts = check(plot_seed_sources, seed_table(), context())
    found = facts["by_width"]["256"]["c_lower"]
    assert found["initialisation"]["share"] > 0.99
    assert found["initialisation"]["p"] < 1e-6
    assert found["batch_order"]["share"] < 0.01
    assert found["fixed_order_over_drawn"] == pytest.approx(3, rel=0.01)
    assert facts["orders"] == 4


def test_quantities_without_spread_have_no_shares():
    facts = plot_seed_sources.facts(seed_table(), context())
    assert math.isnan(facts["by_width"]["256"]["test_error"]["initialisation"]["share"])


def test_theory_bounds_are_the_formulas():
    epochs = epochs_table(variant="base", width=100, seeds=2)
    epochs = epochs.assign(path_length=epochs["epoch"] / 10, largest_gradient_norm=3.0)
    constants = epochs[epochs["points"] == "train"][["variant", "noise", "width", "seed", "epoch"]]
    constants = constants.assign(
        experiment="theory", points=4000, diameter=4.0, c_theta=2.0, c_theta_running=2.0
    )
    tables = {"theory_epochs": epochs, "theory_bounds": constants}
    data = plot_theory.prepared(tables, context("theory", "theory_bounds"))
    last = data[(data["seed"] == 1) & (data["epoch"] == 1000)].iloc[0]
    assert last["updates"] == 8000
    assert last["bound_1"] == pytest.approx(2 / 4 * 2 * 100 + 0.44)
    assert last["bound_2"] == pytest.approx(2 / 4 * 2 * 3 * 0.1 * 8000 + 0.44)
    facts = check(plot_theory, tables, context("theory", "theory_bounds"))
    assert facts["rank_correlations"]["bound_1 and c_lower"]["estimate"] == pytest.approx(1)
    assert facts["below"]["bound_1 below c_upper"]["last_update"] == 800
    assert facts["below"]["bound_2 below c_upper"]["share"] == 0


def test_one_seed_draws():
    every = epochs_table(variant="points~100", seeds=1)
    more = epochs_table(variant="points~1000", seeds=1, start=1)
    check(plot_sample_size, stop_table(pd.concat([every, more])), context())
