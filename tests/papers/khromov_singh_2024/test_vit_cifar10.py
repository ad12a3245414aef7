"""Vision transformers: their width double descent, and norms between the images."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.extended_set_vit import study as between
from papers.khromov_singh_2024.vit_cifar10 import figure as room
from pipeline.figures.peaks import FALL_WHERE_IT_FITS
from tests.papers import width_tables as given

C4, C10 = room.between_the_images, room.double_descent
CONTEXT = {
    "scale": "laptop",
    "settings": {
        "vit_cifar10": {"threshold_width": 80, "training": given.TRAINING},
        "extended_set_vit": {},
    },
}


def parameters(width):
    return 48 * width**2 + 669 * width + 394


def extended(factor=1.1, widths=given.CLAIM_WIDTHS):
    """Norms between the images that are ``factor`` times those at them."""
    table = given.grid(width=widths, seed=given.CLAIM_SEEDS, points=["train", "convex"])
    largest = 10 * given.spread(table["seed"])
    return table.assign(
        count=np.where(table["points"] == "train", 1000, 5000),
        maximum=largest.where(table["points"] == "train", factor * largest),
        mean=1.0,
    )


def tables(sweep=None, between_images=None):
    """Nets of 64 neurons and more fit their labels."""
    sweep = given.sweep() if sweep is None else sweep
    sweep = sweep.assign(
        parameters=parameters(sweep["width"]), train_error=np.where(sweep["width"] < 64, 0.2, 0.0)
    )
    return {
        "vit_cifar10": sweep,
        "extended_set_vit": extended() if between_images is None else between_images,
    }


def judged(claim, **changed):
    facts = json.loads(json.dumps(room.measure(tables(**changed), CONTEXT)))
    return claim.judged("own", {"own": facts})


def test_facts_have_parameters_and_our_upper_bound():
    facts = given.as_json(room, tables(), CONTEXT)
    assert facts["parameters"]["64"] == parameters(64)
    assert facts["parameters_at_the_threshold"] == pytest.approx(parameters(80))
    assert set(facts["log10_of_our_upper_bound"]) == {str(width) for width in given.CLAIM_WIDTHS}
    assert facts["points_of_the_extended_set"] == [5000]
    assert facts["extended_over_lower"]["16"]["estimate"] == pytest.approx(1.1)


def test_flanks_lie_beside_the_narrowest_width_that_fits():
    facts = given.as_json(room, tables(), CONTEXT)
    flanks = given.peak(np.array([32, 64, 128]), 64)
    expected = 1 - max(flanks[0], flanks[2]) / flanks[1]
    assert facts[FALL_WHERE_IT_FITS]["c_lower"]["estimate"] == pytest.approx(expected)


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_bounds_against_parameters(lost):
    given_tables = tables()
    if lost:
        names = given_tables["vit_cifar10"].select_dtypes("float").columns
        given_tables["vit_cifar10"][[*names.drop("train_error")]] = np.nan
        given_tables["vit_cifar10"]["stop_reason"] = "diverged"
    facts = given.as_json(room, given_tables, CONTEXT)
    figure = room.draw(given_tables, facts, CONTEXT)
    figure.canvas.draw()
    above = figure.axes[0].child_axes[0]
    assert {"16", "64", "512"} <= {label.get_text() for label in above.get_xticklabels()}
    assert figure.axes[0].get_xlabel() == "parameters"


def test_a_double_descent_at_both_thresholds_is_one():
    finding = judged(C10)
    assert finding.verdict == "holds", finding
    assert "C_upper" not in finding.reason


def test_a_double_descent_far_from_as_many_parameters_as_points_holds_in_part():
    sweep = tables(given.sweep(256))["vit_cifar10"]
    given_tables = tables() | {
        "vit_cifar10": sweep.assign(train_error=np.where(sweep["width"] < 256, 0.2, 0.0))
    }
    facts = json.loads(json.dumps(room.measure(given_tables, CONTEXT)))
    finding = C10.judged("own", {"own": facts})
    assert finding.verdict == "holds in part", finding
    assert "height of C_lower: holds" in finding.reason
    assert "place of C_lower: does not hold 3.2" in finding.reason
    assert "C_lower, beside the test loss: holds 1" in finding.reason


def test_rising_bounds_have_no_double_descent():
    assert judged(C10, sweep=given.rising(given.sweep())).verdict == "does not hold"


def test_nets_that_never_fit_say_nothing():
    never = {"vit_cifar10": tables()["vit_cifar10"].assign(train_error=0.2)}
    facts = json.loads(json.dumps(room.measure(tables() | never, CONTEXT)))
    finding = C10.judged("own", {"own": facts})
    given.check_untested(finding)
    assert "no width fits the labels" in finding.reason


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.1, "holds"), (0.7, "holds"), (2.3, "does not hold"), (0.4, "does not hold")],
)
def test_norms_between_the_images_are_held_against_those_at_them(factor, verdict):
    assert judged(C4, between_images=extended(factor)).verdict == verdict


def test_one_seed_or_no_larger_set_is_no_test():
    one = extended()
    finding = judged(C4, between_images=one[one["seed"] == 0])
    given.check_untested(finding)
    assert "one seed" in finding.reason
    given.check_untested(judged(C4, between_images=one[one["points"] == "train"]))


@pytest.mark.parametrize("name", [C4.name, C10.name])
def test_without_facts_nothing_is_judged(name):
    given.check_needs_facts(room, name)


class Net(torch.nn.Module):
    """Its Jacobian at x is diag(2 x), with the largest |2 x_i| as its norm."""

    def forward(self, x):
        return x.flatten(1) ** 2


class FakeRun:
    """A run with one net for each seed, of images with one pixel lit."""

    width = 4
    about = {"experiment": "vit_cifar10", "variant": "base", "noise": 0, "width": 4}  # noqa: RUF012

    def points(self, arrays, part):
        assert part == "train"
        return arrays["points"]

    def seeds(self):
        return [{"seed": seed} for seed in (0, 1, 2)]

    def at_stop(self):
        return [between.Checkpoint(seed, 7, Net()) for seed in (0, 1, 2)]


def test_the_study_measures_at_all_images_and_halfway_between_pairs():
    images = torch.eye(4).reshape(4, 1, 2, 2) * 3
    settings = between.Settings(seeds=2, weight=0.5, combinations=50, seed=0)
    arrays = {"points": type("Set", (), {"x": images})()}
    table = between.study(settings, arrays, [FakeRun()])
    assert list(table["seed"]) == [0, 0, 1, 1]
    assert set(table["epoch"]) == {7}
    largest = table.set_index(["seed", "points"])["maximum"]
    count = table.set_index(["seed", "points"])["count"]
    assert largest[0, "train"] == pytest.approx(6)
    assert largest[0, "convex"] == pytest.approx(3)  # no pair has one image twice
    assert (count[1, "train"], count[1, "convex"]) == (4, 50)
    pd.testing.assert_frame_equal(table, between.study(settings, arrays, [FakeRun()]))
