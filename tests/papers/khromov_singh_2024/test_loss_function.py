"""Cross-entropy beside the squared error."""

import numpy as np
import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.loss_function import figure as room
from papers.khromov_singh_2024.loss_function import study
from tests.papers.helpers import measured_and_drawn
from tests.papers.trained_nets import grid, scaled, spread
from tests.papers.training_runs import NETS, jacobian_norm, made_up_arrays, made_up_run
from tests.papers.training_tables import EPOCHS, SEEDS, TRAINING, context
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("loss_function", "double_descent", "double_descent_mse")

# ---------------------------------------------------------------- study


@pytest.mark.usefixtures("single_threaded")
def test_losses_and_softmax(tmp_path):
    arrays = made_up_arrays()
    runs = [
        made_up_run(tmp_path / "a", "double_descent"),
        made_up_run(tmp_path / "b", "double_descent_mse", loss="mean_squared_error"),
    ]
    table = study.study(study.Settings(widths=(5,)), arrays, runs)
    assert set(table.loc[table["experiment"] == "double_descent_mse", "quantity"]) == {
        "c_lower",
        "c_avg",
        "c_upper",
    }
    x, y = arrays["x_train"], torch.arange(30) % 3
    one = table[(table["seed"] == 1) & (table["epoch"] == 10)].set_index(["experiment", "quantity"])
    net = NETS[1, 10]
    softmax = max(jacobian_norm(net, point, behind=lambda z: z.softmax(0)) for point in x)
    assert one.loc[("double_descent", "c_lower_softmax"), "value"] == pytest.approx(softmax, rel=1e-5)
    with torch.no_grad():
        entropy = torch.nn.functional.cross_entropy(net(x), y).item()
        squared = (net(x) - torch.nn.functional.one_hot(y, 3)).square().sum(1).mean().item()
    assert one.loc[("double_descent", "c_lower"), "train_loss"] == pytest.approx(entropy, rel=1e-5)
    assert one.loc[("double_descent_mse", "c_lower"), "train_loss"] == pytest.approx(squared, rel=1e-5)


# ---------------------------------------------------------------- figure


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
    facts, _ = measured_and_drawn(room, {"loss_function": loss_table()}, CONTEXT)
    assert "0 of 2 runs" in facts["softmax_over_logits_at_the_stop"]["untested"]
    assert facts["runs_that_reach_the_stop"] == {"double_descent": 0, "double_descent_mse": 0}
    for ratios in facts["squared_error_over_cross_entropy"].values():
        assert "0 of 2 runs" in ratios["at_the_stop"]["untested"]
        assert ratios["as_trained"]["estimate"] == pytest.approx(0.5)
        assert ratios["at_equal_summed_rate"]["estimate"] == pytest.approx(0.5)


def test_summed_rates_are_those_of_the_schedule():
    sums = room.summed_rates(TRAINING, 20, 4000)
    warm = [0.1 * (u + 1) / 80 for u in range(80)]
    assert sums[0] == 0
    assert sums[1] == pytest.approx(sum(warm[:8]))
    assert sums[20] == pytest.approx(sum(warm) + 80 * 0.1)


# ---------------------------------------------------------------- claim


def as_claimed():
    rows = grid(experiment=["double_descent", "double_descent_mse"], seed=SEEDS, epoch=[0, 100])
    entropy = rows["experiment"] == "double_descent"
    value = np.where(entropy, 10, 8) * spread(rows["seed"])
    rows = rows.assign(width=256, points=4000, train_loss=0.1, quantity="c_lower", value=value)
    softmax = rows[entropy].assign(quantity="c_lower_softmax", value=1.0)
    upper = rows.assign(quantity="c_upper", value=3 * value)
    return {"loss_function": pd.concat([rows, softmax, upper], ignore_index=True)}


def against(given):
    rows = scaled(given["loss_function"], "value", 3, experiment="double_descent_mse")
    return {"loss_function": scaled(rows, "value", 9, quantity="c_lower_softmax")}


def test_jacobians_are_smaller_where_the_table_says_so():
    finding = judged(room, "C20", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert "C_lower, squared error / cross-entropy: holds 0.8 " in finding.reason
    assert "C_upper, squared error / cross-entropy: holds 0.8 " in finding.reason
    assert "softmax / logits: holds 0.1 " in finding.reason


def test_jacobians_are_not_smaller_where_the_table_speaks_against_it():
    finding = judged(room, "C20", against(as_claimed()), CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_losses_are_judged_where_each_one_stops():
    later = as_claimed()["loss_function"].query("epoch == 100 and experiment == 'double_descent'")
    longer = pd.concat(
        [as_claimed()["loss_function"], later.assign(epoch=500, value=later["value"] * 1.2)]
    )
    finding = judged(room, "C20", {"loss_function": longer}, CONTEXT)
    assert "C_lower, squared error / cross-entropy: holds 0.667 " in finding.reason


def test_a_loss_whose_runs_do_not_stop_is_not_compared():
    rows = as_claimed()["loss_function"]
    last = (rows["experiment"] == "double_descent_mse") & (rows["epoch"] == 100) & (rows["seed"] > 0)
    rows = rows.assign(epoch=rows["epoch"].mask(last, 1000))  # the epoch cap
    finding = judged(room, "C20", {"loss_function": rows}, CONTEXT)
    assert (
        "cross-entropy: not tested (1 of 4 runs of double_descent_mse reach the stop)" in finding.reason
    )
    assert "softmax / logits: holds 0.1 " in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C20", as_claimed(), CONTEXT)
    check_one_seed(room, "C20", as_claimed(), CONTEXT)
