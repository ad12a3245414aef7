"""Variance over seeds, its bounds, and the squared bias."""

import numpy as np
import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.bias_variance import figure as room
from papers.khromov_singh_2024.bias_variance.study import Settings, study
from tests.papers import trained_nets
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn

HEIGHTS = {16: 1.0, 64: 3.0, 256: 2.0}
CONTEXT = {"scale": "laptop", "settings": {"double_descent_mse": {"threshold_width": 800}}}

# ---------------------------------------------------------------- the study


@pytest.mark.usefixtures("single_threaded")
def test_bias_and_variance_by_hand(tmp_path):
    arrays = trained_nets.made_up_arrays()
    run = trained_nets.made_up_run(tmp_path / "run", experiment="double_descent_mse")
    (row,) = study(Settings(draws=50, seed=0), arrays, [run]).to_dict("records")
    models = [trained_nets.net(0, 20, 5).double(), trained_nets.net(1, 30, 5).double()]
    x = arrays["x_test"].double()
    with torch.no_grad():
        first, second = (model(x) for model in models)
    variance = ((first - second).square().sum(1) / 2).mean().item()
    assert row["variance"] == pytest.approx(variance, rel=1e-5)
    assert row["variance_low"] < variance < row["variance_high"]
    assert row["bias_squared"] + row["variance"] == pytest.approx(row["expected_loss"])
    assert (row["seeds"], row["capped"]) == (2, 1)
    constants = [
        max(trained_nets.jacobian_norm(model, point) for point in arrays["x_train"]) for model in models
    ]
    assert row["c_seed_mean"] == pytest.approx(np.mean(constants))
    slope = row["c_mean_net"] ** 2 + np.mean(np.square(constants))
    distances = x.square().sum(1).mean().item()
    assert row["bound_zero"] == pytest.approx(3 * slope * distances, rel=1e-5)
    assert row["bound_paper"] < row["bound_zero"] < row["upper_bound_zero"]
    assert row["variance"] < row["upper_bound_mean"]


# ---------------------------------------------------------------- the figure


def variances():
    """The variance and most of its bounds peak at width 64."""
    rows = []
    for width, height in HEIGHTS.items():
        bounds = {"bound_zero": 100 * height, "bound_mean": 99 * height, "bound_paper": 98 * height}
        rows.append(
            {"experiment": "double_descent_mse", "variant": "base", "noise": 0}
            | {"width": width, "seeds": 3, "capped": int(width == 16), "bias_squared": 0.5}
            | {"variance": height, "variance_low": height - 0.2, "variance_high": height + 0.2}
            | {"expected_loss": 0.5 + height, "upper_bound_mean": 5000 * (4 - height)}
            | bounds
        )
    return pd.DataFrame(rows)


def test_it_draws_with_hollow_marks_where_nets_stopped_at_the_cap():
    _, figure = measured_and_drawn(room, {"bias_variance": variances()}, CONTEXT)
    assert all(axes.lines for axes in figure.axes)
    assert trained_nets.hollow_marks(figure.axes[0]) == {16}


def test_variance_and_its_bounds():
    facts = given.as_json(room, {"bias_variance": variances()}, CONTEXT)
    assert facts["peaks"]["variance"] == facts["peaks"]["bound_zero"] == 64
    assert facts["peaks"]["upper_bound_mean"] == 16
    assert facts["variance_at_peak"] == pytest.approx([2.8, 3, 3.2])
    assert facts["widths_that_may_have_the_peak"] == [64]
    assert facts["rank_correlation_with_variance"]["bound_paper"] == pytest.approx(1)
    assert facts["rank_correlation_with_variance"]["upper_bound_mean"] == pytest.approx(-1)
    assert facts["mean_instead_of_zero"] == pytest.approx([0.99, 0.99])


def test_two_widths_have_no_rank_correlation():
    few = variances().iloc[:2]
    facts = given.as_json(room, {"": few}, CONTEXT)
    assert facts["rank_correlation_with_variance"] == {}
    finding = given.judged(room, "C13", {"": few}, CONTEXT)
    assert "2 values of width have no rank correlation" in finding.reason


# ---------------------------------------------------------------- claims


def driven_by_variance():
    """As the paper has it."""
    table = pd.DataFrame({"width": given.CLAIM_WIDTHS})
    variance = given.peak(table["width"], 64)
    bounds = dict.fromkeys(
        ("bound_paper", "bound_zero", "bound_mean", "upper_bound_mean"), 100 * variance
    )
    return table.assign(
        bias_squared=1.0 / np.arange(10, 16),
        variance=variance,
        variance_low=0.98 * variance,
        variance_high=1.02 * variance,
        expected_loss=variance + 0.1,
        seeds=4,
        capped=0,
        **bounds,
    )


AGAINST = {
    "C12": lambda rows: rows.assign(bias_squared=9 * rows["variance"]),
    "C13": lambda rows: rows.assign(bound_paper=0.1 / rows["variance"]),
}


def finding_of(name, rows, share=1.0):
    facts = given.as_json(room, {"": rows}, CONTEXT)
    squared_error = {"share_that_fits_beyond_the_peak": {"estimate": share}}
    return given.of(room, name).judged("own", {"own": facts, "double_descent_mse": squared_error})


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_holds_where_the_table_says_so(name):
    finding = finding_of(name, driven_by_variance())
    assert finding.verdict == "holds", finding
    assert np.isfinite(finding.estimate)


@pytest.mark.parametrize("name", AGAINST)
def test_a_claim_does_not_hold_where_the_table_speaks_against_it(name):
    finding = finding_of(name, AGAINST[name](driven_by_variance()))
    assert finding.verdict == "does not hold", finding


@pytest.mark.parametrize("name", AGAINST)
def test_claims_need_numbers(name):
    given.check_degenerate(room, name, {"": driven_by_variance()}, CONTEXT)


def test_a_loss_that_only_falls_has_no_peak_to_fall_from():
    falling = driven_by_variance().assign(expected_loss=lambda rows: 1.0 / rows["width"])
    finding = finding_of("C12", falling)
    assert finding.reason == "the expected loss has no peak inside of the widths"


def test_nets_that_do_not_fit_have_no_double_descent():
    finding = finding_of("C12", driven_by_variance(), share=0.25)
    assert finding.verdict == "not tested"
    assert "25 % of the runs beyond the peak of the test loss" in finding.reason
