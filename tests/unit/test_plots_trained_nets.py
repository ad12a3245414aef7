"""Figures of the studies of trained nets: that they draw, and facts with known answers."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tests.conftest import ROOT

import plot_adversarial
import plot_distribution
import plot_linearisation
import plot_out_of_distribution
import plot_sandwich
import plot_subsampling
from pipeline import figures

WIDTHS = (16, 64, 256)
HEIGHTS = {16: 1.0, 64: 3.0, 256: 2.0}
CONTEXT = {
    "scale": "laptop",
    "settings": {
        "double_descent": {"threshold_width": 80},
        "double_descent_mse": {"threshold_width": 800},
        "adversarial": {"steps": 5, "check_steps": 50},
    },
}
NAME = {"experiment": "double_descent", "variant": "base", "noise": 0}


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


def nets():
    for width in WIDTHS:
        for seed in range(3):
            stop = "epoch_cap" if width == 16 else "gradient_norm"
            yield NAME | {"width": width, "seed": seed, "stop_reason": stop}, HEIGHTS[width] + seed / 100


def distribution():
    rng = np.random.default_rng(0)
    rows = []
    for net, height in nets():
        if net["width"] == 64:
            continue
        for experiment in ("double_descent", "double_descent_mse"):
            for points, count in (("train", 200), ("test", 100)):
                norms = height * np.append(rng.uniform(0.5, 1.5, count - 1), 2.0)
                # wrong points are those of the largest norms, and the loss grows with the norm
                hits = norms < np.quantile(norms, 0.7)
                rows += [
                    net
                    | {
                        "experiment": experiment,
                        "points": points,
                        "point": i,
                        "norm": n,
                        "loss": 2 * n,
                        "correct": c,
                    }
                    for i, (n, c) in enumerate(zip(norms, hits, strict=True))
                ]
    return pd.DataFrame(rows)


def perturbed(size, column=None):
    """Bounds that do not depend on the radius, losses that grow with it."""
    return pd.DataFrame(
        [
            net
            | {"points": points, "radius": radius, "c_lower": height, "c_avg": height / 2}
            | {"loss": 1 + radius * height, "error": 0.5, "steps": size if radius else 0}
            | {"c_secant": 0.8 * height if radius else 0.0}
            for net, height in nets()
            for points in ("train", "test")
            for radius in (0.0, 0.5, 1.0)
        ]
    )


def sandwich():
    factors = {
        "mean": ("lower", 0.5), "data": ("lower", 1), "search": ("lower", 1.2), "autolip": ("upper", 4),
        "liplt": ("upper", 3), "lipsdp_descent": ("upper", 1.5),
    }  # fmt: skip
    rows = [
        net
        | {
            "method": method,
            "value": f * height,
            "kind": kind,
            "certified": kind == "upper",
            "seconds": 1.0,
        }
        for net, height in nets()
        for method, (kind, f) in factors.items()
    ]
    rows += [
        net
        | {
            "method": "exact",
            "value": 1.25 * height,
            "kind": "exact",
            "certified": False,
            "seconds": 1.0,
        }
        for net, height in nets()
        if net["width"] == 16
    ]
    return pd.DataFrame(rows)


def linearisation():
    rows = []
    for seed in range(3):
        scalars = {
            "c_initial": 0.4,
            "c_final": 20.0,
            "distance": 2.0,
            "mixed_largest": 4.0,
            "bound": 8.4,
            "c_linearised": 5.0,
        }
        own = NAME | {"width": 256, "seed": seed}
        rows += [own | {"quantity": name, "point": None, "value": v} for name, v in scalars.items()]
        rows += [own | {"quantity": "mixed", "point": i, "value": 2 + 2 * i / 9} for i in range(10)]
    return pd.DataFrame(rows)


def subsampling():
    rows = []
    for net, height in nets():
        common = net | {"full": height, "std": 0.1}
        for size, short in ((1000, 0.1), (2000, 0.04), (4000, 0.0)):
            values = {"size": size, "mean": height * (1 - short), "shortfall": short}
            rows.append(common | values | {"points": "train", "way": "exact", "draws": None})
            rows.append(common | values | {"points": "train", "way": "drawn", "draws": 100})
        for points, way, factor in (("fresh", "exact", 1.1), ("train", "tail", 1.05)):
            values = {"points": points, "way": way, "size": 8000, "mean": height * factor, "draws": None}
            full = height * 1.1 if points == "fresh" else height
            rows.append(common | values | {"full": full, "shortfall": 0.0})
    return pd.DataFrame(rows)


TABLES = {
    plot_distribution: distribution,
    plot_out_of_distribution: lambda: perturbed(5),
    plot_adversarial: lambda: perturbed(5),
    plot_sandwich: sandwich,
    plot_linearisation: linearisation,
    plot_subsampling: subsampling,
}


@pytest.mark.parametrize("plot", TABLES, ids=lambda plot: plot.__name__)
def test_it_draws_and_its_facts_are_json(plot):
    table = TABLES[plot]()
    figure = plot.draw(table, CONTEXT)
    figure.canvas.draw()
    assert all(axes.lines for axes in figure.axes)
    json.dumps(plot.facts(table, CONTEXT))


@pytest.mark.parametrize("plot", [plot_out_of_distribution, plot_sandwich])
def test_capped_nets_have_hollow_marks(plot):
    figure = plot.draw(TABLES[plot](), CONTEXT)
    hollow = [
        x
        for line in figure.axes[0].lines
        if line.get_linestyle() == "None" and line.get_markerfacecolor() == "white"
        for x in line.get_xdata()
    ]
    assert set(hollow) == {16}


def test_distribution_counts_pairs():
    facts = plot_distribution.facts(distribution(), CONTEXT)["double_descent"]["256"]
    test = facts["test_points"]
    assert test["chance_that_a_wrong_point_has_the_larger_norm"]["estimate"] == pytest.approx(1)
    assert test["error"] == pytest.approx(0.3, abs=0.01)
    assert test["largest_of_wrong_over_right"]["estimate"] > 1
    assert facts["correlation_of_loss_and_norm"]["train"]["estimate"] == pytest.approx(1)
    assert facts["largest_over_mean"]["estimate"] == pytest.approx(2, rel=0.05)


def test_perturbed_ratios_and_peaks():
    facts = plot_adversarial.facts(perturbed(5), CONTEXT)
    ratios = facts["relative_to_no_attack"]["train"]
    assert ratios["c_lower"]["0.5"]["range"] == pytest.approx([1, 1])
    assert ratios["loss"]["1"]["16"]["estimate"] == pytest.approx(2.01)
    assert facts["secant_over_clean"]["test"]["1"]["range"] == pytest.approx([0.8, 0.8])
    assert facts["peak_of_c_lower"]["1"]["position"] == 64
    assert facts["check"] == {}
    noisy = plot_out_of_distribution.facts(perturbed(5), CONTEXT)
    assert noisy["relative_to_no_noise"]["train"]["c_avg"]["1"]["range"] == pytest.approx([1, 1])


def test_the_check_of_an_attack_compares_it_with_more_steps():
    table = perturbed(5)
    more = table[(table["width"] == 16) & (table["seed"] == 0) & (table["radius"] > 0)]
    more = more.assign(steps=50, loss=more["loss"] / 0.9, c_lower=more["c_lower"] * 2)
    check = plot_adversarial.facts(pd.concat([table, more]), CONTEXT)["check"]
    assert check["loss_over_that_of_more_steps"] == pytest.approx(0.9)
    assert check["c_lower_over_that_of_more_steps"] == pytest.approx([0.5, 0.5])


def test_sandwich_gaps_and_the_exact_constant():
    facts = plot_sandwich.facts(sandwich(), CONTEXT)
    wide, narrow = facts["gaps"]["256"], facts["gaps"]["16"]
    assert wide["paper_upper_over_lower"]["estimate"] == pytest.approx(4)
    assert wide["least_upper_over_largest_lower"]["estimate"] == pytest.approx(1.25)
    assert narrow["least_upper_over_largest_lower"]["estimate"] == pytest.approx(1)
    assert facts["over_exact"] == {"16": facts["over_exact"]["16"]}
    assert facts["over_exact"]["16"]["search"]["estimate"] == pytest.approx(1.2 / 1.25)
    assert facts["peaks"]["autolip"]["position"] == 64
    assert facts["uncertified_upper_bounds"] == []


def test_linearisation_that_falls_short():
    facts = plot_linearisation.facts(linearisation(), CONTEXT)
    assert facts["growth"]["estimate"] == pytest.approx(50)
    assert facts["trained_exceeds_bound"] is True
    assert facts["means"]["mixed_mean"]["estimate"] == pytest.approx(3)


def test_doublings_and_extrapolation():
    facts = plot_subsampling.facts(subsampling(), CONTEXT)["64"]
    gains = facts["points_gained_per_doubling"]
    assert gains["1000 to 2000"]["estimate"] == pytest.approx(6)
    assert gains["2000 to 4000"]["estimate"] == pytest.approx(4)
    assert facts["fresh_maximum_over_trained"]["estimate"] == pytest.approx(1.1)
    assert facts["predicted_over_fresh_maximum"]["estimate"] == pytest.approx(1.05 / 1.1)
    assert facts["largest_deviation_of_draws_in_standard_errors"] == pytest.approx(0)
