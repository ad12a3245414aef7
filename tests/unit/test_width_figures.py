"""What figures over width say and show, from tables whose answers are known."""

import json
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from tests.conftest import ROOT

import plot_constrained
import plot_double_descent_matched as matched
import plot_initialisation as initialisation
import plot_label_noise
import plot_parameter_distance
from nets.models.fcn import fcn
from pipeline import figures
from pipeline.figures.width import (
    at_stop,
    curve_facts,
    double_descent_facts,
    draw_double_descent,
    prepared,
    shades,
)

WIDTHS = (16, 32, 64, 128, 256)
SEEDS = range(3)
TRAINING = {
    "loss": "cross_entropy",
    "max_epochs": 1000,
    "spectral_cap": None,
    "temperature": 1.0,
}
SETTINGS = {
    "threshold_width": 64,
    "training": TRAINING,
    "variants": {
        "cap~0": {"training": TRAINING},
        "cap~10": {"training": TRAINING | {"spectral_cap": 10.0, "temperature": 10.0}},
    },
}
CONTEXT = {"scale": "laptop", "settings": SETTINGS}
BOTH = {
    "scale": "laptop",
    "settings": {
        "double_descent": SETTINGS,
        "double_descent_mse": SETTINGS | {"training": TRAINING | {"loss": "mean_squared_error"}},
    },
}


def hill(width, peak):
    """1 at the peak, and half of that an octave or two away."""
    return 2 ** -abs(math.log2(width / peak))


def row(width, seed, height, *, lost=False, **other):
    size = math.nan if lost else height * (1 + seed / 100)
    return {
        "variant": "base",
        "noise": 0,
        "width": width,
        "seed": seed,
        "points": "train",
        "stop_reason": "diverged" if lost else "epoch_cap" if width < 64 else "gradient_norm",
        "log10_c_upper": math.log10(4 * size) if not lost else math.nan,
        "c_lower": 2 * size,
        "c_avg": size,
        "train_loss": 1 / width,
        "test_loss": size / 10,
        "train_error": 0.1,
        "test_error": 0.5,
        "parameter_distance": 3 * size,
        "distance_from_start": 2 * size,
    } | other


def stops(peak=64, *, lost=False, **other):
    """A table at the stop whose curves peak at one width."""
    return pd.DataFrame(
        [row(w, s, 100 * hill(w, peak), lost=lost, **other) for w in WIDTHS for s in SEEDS]
    )


def epochs(lost=False):
    """Training losses 1/epoch and a bound of 1000 / (width * loss); narrow nets stop earlier.

    At equal loss the bound falls with the width; at the stop it peaks at width 64.
    """
    last = {16: 20, 32: 100, 64: 900, 128: 900, 256: 900}
    rows = []
    for width in WIDTHS:
        for seed in SEEDS:
            for epoch in [0, *(e for e in (2, 5, 10, 20, 60, 100, 300) if e < last[width]), last[width]]:
                loss = 1 / max(epoch, 1)
                height = 500 / (width * loss)
                rows.append(row(width, seed, height, lost=lost, epoch=epoch, train_loss=loss))
    return pd.DataFrame(rows).drop(columns="stop_reason")


def noises(lost=False):
    """Peaks move from width 64 to 128 when noise comes in."""
    return pd.concat(
        [stops(peak, lost=lost, noise=noise) for noise, peak in ((0, 64), (50, 128), (100, 128))]
    )


def caps(lost=False):
    """A peak at 64 without a cap, and none with it."""
    flat = [row(w, s, 1, lost=lost, variant="cap~10") for w in WIDTHS for s in SEEDS]
    return pd.concat([stops(variant="cap~0", lost=lost), pd.DataFrame(flat)])


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


def test_curve_facts_are_those_of_the_means():
    facts = curve_facts(prepared(stops()), "c_lower")
    assert facts["peak_width"] == 64
    assert facts["peak_width_interval"] == [64, 64]
    assert facts["peak_is_interior"] is True
    assert facts["peak"] == pytest.approx(200 * 1.01)
    assert facts["at_the_widest"] == pytest.approx(50 * 1.01)
    assert facts["fall_in_per_cent"] == pytest.approx(75)
    low, high = facts["fall_in_per_cent_interval"]
    assert 74 < low <= 75 <= high < 76
    assert curve_facts(prepared(stops(lost=True)), "c_lower") == {}


def test_rank_correlations_and_stop_reasons():
    data = prepared(stops())
    facts = double_descent_facts(data)
    # the test loss is a multiple of each bound
    assert facts["rank_correlation_with_test_loss"]["c_upper"]["estimate"] == pytest.approx(1)
    assert facts["stop_reasons"] == {"epoch_cap": 6, "gradient_norm": 9}
    few = double_descent_facts(data[data["width"] > 64])
    assert few["rank_correlation_with_test_loss"]["c_upper"] is None
    json.dumps([facts, few], allow_nan=False)


def test_double_descent_with_the_squared_error_has_its_own_labels():
    figure = draw_double_descent(
        prepared(stops()), CONTEXT | {"settings": BOTH["settings"]["double_descent_mse"]}
    )
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["Lipschitz bound (outputs per unit of input)", "squared error", "error (%)"]
    assert any("outputs" in text.get_text() for text in figure.axes[0].texts)


def test_the_stop_is_the_last_checkpoint():
    data = prepared(epochs())
    stop = at_stop(data, {"training": {"max_epochs": 900}})
    assert dict(zip(stop["width"], stop["epoch"], strict=True)) == {
        16: 20,
        32: 100,
        64: 900,
        128: 900,
        256: 900,
    }
    assert set(stop.loc[stop["stop_reason"] == "epoch_cap", "width"]) == {64, 128, 256}


def test_targets_are_what_all_wider_nets_reach():
    found = matched.targets(matched.complete_runs(epochs()), threshold=64)
    assert found == pytest.approx({16: 1 / 20, 32: 1 / 100, 64: 1 / 900})
    data = epochs()
    data.loc[(data["width"] == 256) & (data["epoch"] > 10), "train_loss"] = 0.1
    assert matched.targets(matched.complete_runs(data), threshold=64) == {16: 0.1}
    assert list(matched.targets(matched.complete_runs(epochs()), threshold=8)) == [16]


def test_interpolation_is_exact_for_power_laws():
    data = matched.complete_runs(epochs())
    found = matched.matched(data, 1 / 77)
    assert set(found["width"]) == {32, 64, 128, 256}
    for _, one in found.iterrows():
        assert one["c_lower"] == pytest.approx(1000 * 77 / one["width"] * (1 + one["seed"] / 100))
        assert one["epoch"] == pytest.approx(60 + 40 * math.log(77 / 60) / math.log(100 / 60))
    at_first = matched.matched(data, 2)
    assert set(at_first["epoch"]) == {0}


def test_a_width_with_a_seed_that_misses_the_target_is_left_out():
    data = matched.complete_runs(epochs())
    short = data[(data["width"] != 64) | (data["seed"] != 1) | (data["epoch"] <= 60)]
    assert set(matched.matched(short, 1 / 100)["width"]) == {32, 128, 256}


def test_matched_facts_find_no_peak_where_there_is_one_at_the_stop():
    tables = {"double_descent_epochs": epochs(), "double_descent_mse_epochs": epochs()}
    facts = matched.facts(tables, BOTH)["double_descent_mse"]
    assert facts["at_the_stop"]["c_lower"]["peak_width"] == 64
    assert facts["at_the_stop"]["c_lower"]["peak_is_interior"] is True
    first, _, last = facts["at_equal_training_loss"]
    assert (first["reached_from_width"], first["widths_left_out"]) == (16, [])
    assert first["c_lower"]["peak_width"] == 16
    assert (last["reached_from_width"], last["widths_left_out"]) == (64, [16, 32])
    assert last["c_upper"]["peak_is_interior"] is False
    json.dumps(facts, allow_nan=False)


def test_theory_of_initialisation_holds_for_nets():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 40, generator=generator)
    width = 1024
    torch.manual_seed(0)
    norms, products = [], []
    for _ in range(4):
        inner, outer = (w.detach() for w in fcn(40, [width], 10).parameters())
        products.append(float(torch.linalg.matrix_norm(inner, 2) * torch.linalg.matrix_norm(outer, 2)))
        hidden = x @ inner.T
        active = (hidden.relu() @ outer.T) > 0
        for point in range(len(x)):
            jacobian = (outer * (hidden[point] > 0)) @ inner * active[point, :, None]
            norms.append(float(torch.linalg.matrix_norm(jacobian, 2)))
    assert initialisation.upper_by_theory(width) == pytest.approx(np.mean(products), rel=0.03)
    mean = np.mean(norms)
    assert mean < initialisation.average_by_theory() < 1.15 * mean


def test_initialisation_facts_are_those_of_epoch_0():
    facts = initialisation.facts(epochs(), CONTEXT)
    assert facts["at_initialisation"]["c_avg"]["peak_width"] == 16
    assert facts["at_initialisation"]["c_avg"]["peak"] == pytest.approx(500 / 16 * 1.01)
    assert facts["trained"]["c_avg"]["peak_width"] == 64
    ranks = facts["rank_correlation_with_width_at_initialisation"]
    assert ranks["c_upper"]["estimate"] == pytest.approx(-1)
    json.dumps(facts, allow_nan=False)


def test_parameter_distances_peak_where_they_do():
    tables = {"double_descent": stops(), "double_descent_mse": stops(128)}
    facts = plot_parameter_distance.facts(tables, BOTH)
    assert facts["double_descent"]["parameter_distance"]["peak_width"] == 64
    assert facts["double_descent_mse"]["distance_from_start"]["peak_width"] == 128
    json.dumps(facts, allow_nan=False)


def test_constraint_facts_compare_peaks_and_name_the_temperature():
    facts = plot_constrained.facts(prepared(caps()), CONTEXT)
    free, capped = facts["cap~0"], facts["cap~10"]
    assert free["c_lower"]["peak_over_the_widest"]["estimate"] == pytest.approx(4)
    assert capped["c_lower"]["peak_over_the_widest"]["estimate"] == pytest.approx(1)
    low, high = capped["c_lower"]["peak_over_the_widest"]["interval"]
    assert low < 1 < high
    assert capped["largest_c_upper_with_the_temperature"] == pytest.approx(10 * 4 * 1.02)
    json.dumps(facts, allow_nan=False)


def test_label_noise_facts_and_frames_follow_the_moving_peak():
    data = prepared(noises())
    facts = plot_label_noise.facts(data)
    found = {noise: one["c_lower"]["peak_width"] for noise, one in facts["over_width"].items()}
    assert found == {"0": 64, "50": 128, "100": 128}
    assert facts["over_noise"]["32"]["c_lower"]["peak_noise"] == 0
    assert facts["over_noise"]["256"]["c_lower"]["at_the_last"] == pytest.approx(100 * 1.01)
    assert facts["mean_c_lower"]["noise 50"]["128"] == pytest.approx(200 * 1.01)
    json.dumps(facts, allow_nan=False)
    heat = plot_label_noise.draw(data, CONTEXT).subfigs[0].axes[0]
    assert [round(frame.get_x() - 0.04) for frame in heat.patches] == [2, 3, 3]


@pytest.mark.parametrize("lost", [False, True])
def test_all_figures_draw_also_when_every_seed_diverged(lost):
    two = {"double_descent": stops(lost=lost), "double_descent_mse": stops(lost=lost)}
    every = {f"{name}_epochs": epochs(lost=lost) for name in two}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [
            plot_parameter_distance.draw(two, BOTH),
            matched.draw(every, BOTH),
            initialisation.draw(epochs(lost=lost), CONTEXT),
            plot_constrained.draw(prepared(caps(lost)), CONTEXT),
            plot_label_noise.draw(prepared(noises(lost)), CONTEXT),
        ]
        if lost:
            for figure in drawn:
                figure.canvas.draw()
    facts = [
        plot_parameter_distance.facts(two, BOTH),
        matched.facts(every, BOTH),
        initialisation.facts(epochs(lost=lost), CONTEXT),
        plot_constrained.facts(prepared(caps(lost)), CONTEXT),
        plot_label_noise.facts(prepared(noises(lost))),
    ]
    json.dumps(facts, allow_nan=False)


def test_shades_are_distinct_in_grey_and_have_their_own_markers():
    looks = shades([str(i) for i in range(10)])
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == 10
