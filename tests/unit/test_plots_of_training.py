"""Figures and tables along training, from tables with known answers."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from tests.conftest import ROOT
from tests.unit.training_tables import (
    EPOCHS,
    TRAINING,
    check,
    context,
    epochs_table,
)

import plot_evolution
import plot_loss_function
import plot_optimizer
import table_pairwise
import table_slopes
from pipeline import figures
from pipeline.figures.epochs import last_rows, shared_epochs, warmup_epochs
from pipeline.statistics.growth import own_ends


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


def test_shared_epochs_last_rows_and_warm_up():
    table = epochs_table(seeds=2)
    table = table[(table["points"] == "train") & ~((table["seed"] == 1) & (table["epoch"] > 100))]
    assert sorted(shared_epochs(table)["epoch"].unique()) == [0, 1, 10, 100]
    assert last_rows(table)["epoch"].tolist() == [1000, 100]
    assert warmup_epochs(TRAINING, 4000) == 10


def evolution_tables(width=256):
    extended = [
        {"experiment": name, "seed": 0, "epoch": e, "points": "all", "count": 1005000, "maximum": m}
        for name in ("evolution", "evolution_wide")
        for e, m in ((0, 0.44), (100, 4.4))
    ]
    return {
        "evolution_epochs": epochs_table(width=width),
        "evolution_wide_epochs": epochs_table(power=0.25, width=2048),
        "double_descent_mse_epochs": pd.concat([epochs_table(width=w) for w in (64, 256)]),
        "extended_set": pd.DataFrame(extended),
    }


NAMES = ("evolution", "evolution_wide", "double_descent_mse")


def test_evolution_knows_growth_slopes_and_the_extended_set():
    facts = check(plot_evolution, evolution_tables(), context(*NAMES))
    found = facts["evolution"]
    assert found["growth"]["c_lower"]["estimate"] == pytest.approx(1000**0.5)
    assert found["growth"]["c_lower"]["low"] == pytest.approx(1000**0.5)
    assert found["slopes"]["c_upper"]["slope"] == pytest.approx(0.5)
    assert facts["evolution_wide"]["slopes"]["c_avg"]["slope"] == pytest.approx(0.25)
    assert found["stable_from_epoch"] == 10
    assert found["extended_over_lower"]["by_epoch"] == pytest.approx({"0": 1.1, "100": 1.1})
    assert found["extended_over_lower"]["points"] == 1005000
    assert found["c_lower_by_epoch"]["1000"]["paper"] == 1.336
    assert found["c_lower_by_epoch"]["0"]["mean"] == pytest.approx(0.44)
    assert found["seeds_that_met_the_target"] == 3
    assert "extended_over_lower" not in facts["double_descent_mse"]


def test_only_the_papers_net_is_compared_with_table_s3():
    facts = plot_evolution.facts(evolution_tables(32), context(*NAMES))
    assert "c_lower_by_epoch" not in facts["evolution"]


def test_table_of_slopes():
    tables = {name: t for name, t in evolution_tables().items() if name in SLOPE_TABLES}
    rows = table_slopes.rows(tables, context("evolution", "double_descent_mse"))
    assert list(rows["slope"]) == ["0.500"] * 6
    assert list(rows["slope, paper"]) == ["0.59", "0.46", "0.44", "0.80", "0.62", "0.52"]
    assert set(rows["epochs"]) == {"10 to 1000"}
    assert set(rows["R²"]) == {"1.0000"}


SLOPE_TABLES = ("evolution_epochs", "double_descent_mse_epochs")


def test_the_papers_stable_phase_at_its_scale_and_too_short_training():
    tables = {name: evolution_tables()[name] for name in SLOPE_TABLES}
    rows = table_slopes.rows(tables, context("evolution", "double_descent_mse") | {"scale": "paper"})
    assert list(rows["epochs"]) == ["2500 to 1000"] * 3 + ["75000 to 1000"] * 3
    assert set(rows["slope"]) == {""}


def test_table_of_secants_beside_the_papers():
    ours = pd.DataFrame({"width": 256, "epoch": [0, 0], "c_lower": [0.3, 0.5], "c_pairwise": [0.2, 0.2]})
    same = pd.DataFrame(
        {"width": 256, "epoch": [0, 83000], "c_lower": [0.4, 20.0], "c_pairwise": [0.165, 8.0]}
    )
    rows = table_pairwise.rows({"pairwise": ours, "paper_run": same}, context())
    first, last, secant, _ = rows.to_dict("records")
    assert first == {
        "bound": "C_lower",
        "epoch": 0,
        "paper": "0.369",
        "paper's start": "0.400",
        "difference": "+8.4 %",
        "our seeds": "0.400 ± 0.141",
    }
    assert last["paper"] == last["difference"] == last["our seeds"] == ""
    assert (secant["bound"], secant["difference"]) == ("C_pairwise", "+0.0 %")


def loss_table():
    rows = [
        {
            "experiment": experiment,
            "width": 256,
            "points": 4000,
            "seed": seed,
            "epoch": epoch,
            "quantity": name,
            "value": height * (1 + epoch) ** 0.5,
            "train_loss": 1 / (1 + epoch),
        }
        for experiment, heights in (
            ("double_descent", {"c_lower": 2, "c_avg": 1, "c_upper": 6, "c_lower_softmax": 0.5}),
            ("double_descent_mse", {"c_lower": 1, "c_avg": 0.5, "c_upper": 3}),
        )
        for name, height in heights.items()
        for seed in range(2)
        for epoch in EPOCHS
    ]
    return pd.DataFrame(rows)


def test_ratios_of_losses():
    facts = check(plot_loss_function, loss_table(), context("double_descent", "double_descent_mse"))
    assert facts["softmax_over_logits_at_the_stop"]["estimate"] == pytest.approx(0.25)
    for name in ("c_lower", "c_upper"):
        for ratio in facts[f"{name}_cross_entropy_over_squared_error"].values():
            assert ratio["estimate"] == pytest.approx(2)


def test_summed_rates_are_those_of_the_schedule():
    sums = plot_loss_function.summed_rates(TRAINING, 20, 4000)
    warm = [0.1 * (u + 1) / 80 for u in range(80)]
    assert sums[0] == 0
    assert sums[1] == pytest.approx(sum(warm[:8]))
    assert sums[20] == pytest.approx(sum(warm) + 80 * 0.1)


def optimizer_tables():
    slow = epochs_table(variant="adam~0")
    fast = epochs_table(variant="adam~1", epochs=EPOCHS[:-1], factor=10)
    return {"optimizer_epochs": pd.concat([slow, fast]), "optimizer": pd.DataFrame()}


def test_optimisers_at_the_same_epoch_and_at_their_ends():
    tables = optimizer_tables()
    facts = check(plot_optimizer, tables, context())
    same = facts["adam_over_sgd_at_the_same_epoch"]
    assert same["epoch"] == 500
    assert same["c_lower"]["estimate"] == pytest.approx(10)
    assert facts["end_epochs"] == {"SGD": [500] * 3, "Adam": [500] * 3}
    ends = own_ends(plot_optimizer.training_rows(tables["optimizer_epochs"]), 1e-4)
    assert not ends["met"].any()
    assert sorted(set(ends["epoch"])) == [500, 1000]
