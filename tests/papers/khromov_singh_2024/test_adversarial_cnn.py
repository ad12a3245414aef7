import json

import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.adversarial import figure as mnist1d
from papers.khromov_singh_2024.adversarial_cnn import figure, study
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.trained_nets import made_up_arrays, made_up_run, only, perturbed, scaled

ROOM = "adversarial_cnn"
CONTEXT = job_context(
    ROOM, {"cnn_cifar10": {"threshold_width": 80}, ROOM: {"steps": 5, "check_steps": 50}}
)

# ---------------------------------------------------------------- study


def settings(**changes):
    given = {
        "radii": (0.3, 0.5),
        "steps": 12,
        "first_step": 1,
        "last_step": 0.05,
        "check_steps": 40,
        "start_noise": 0,
        "seeds": 1,
        "train_points": 12,
        "test_points": 100,
    }
    return study.Settings(**(given | changes))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Of inputs in the box, many of them at its faces."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    arrays = {name: x.clamp(0, 1) for name, x in made_up_arrays().items()}
    runs = [made_up_run(folder / str(width), width) for width in (5, 7)]
    tables = [study.study(settings(**more), arrays, runs) for more in ({}, {"start_noise": 1e-4})]
    torch.set_num_threads(threads)
    return tables


def test_rows_are_of_the_seeds_radii_and_ways_that_were_asked_for(measured):
    table, _ = measured
    assert set(table["seed"]) == {0}
    plain = table[table["steps"].isin([0, 12])]
    ways = plain.groupby(["width", "points"])[["radius", "projection"]].apply(
        lambda rows: set(rows.itertuples(index=False, name=None))
    )
    expected = {(0.0, "none")} | {(r, way) for r in (0.3, 0.5) for way in ("exact", "authors")}
    assert all(found == expected for found in ways)
    assert set(table.loc[table["steps"] == 40, "width"]) == {5}


def test_exact_attacks_stay_in_the_box_and_go_farther_than_those_of_the_authors(measured):
    table, noisy = measured
    moved = table[table["radius"] > 0]
    exact, authors = (only(moved, projection=way) for way in ("exact", "authors"))
    assert (exact["out_of_the_box"] == 0).all()
    assert (exact["distance"] <= exact["radius"]).all()
    keys = ["width", "points", "radius", "steps"]
    both = exact.merge(authors, on=keys, suffixes=("", "_authors"))
    assert (both["loss"] >= both["loss_authors"]).all()
    assert (both["distance"] > both["distance_authors"]).all()
    clean = only(table, radius=0).set_index(["width", "points"])["loss"]
    assert (authors["loss"].to_numpy() >= clean.loc[pd.MultiIndex.from_frame(authors[keys[:2]])]).all()
    assert (noisy["loss"] != table["loss"]).any()


# ---------------------------------------------------------------- figure and claim


def attacks():
    """The authors' step takes points a tenth as far; C_lower is the same, and secants are 0.8."""
    table = perturbed(5)
    clean, moved = table[table["radius"] == 0], table[table["radius"] > 0]
    exact = moved.assign(projection="exact", distance=0.9 * moved["radius"], out_of_the_box=0.0)
    authors = exact.assign(projection="authors", distance=0.1 * moved["radius"], out_of_the_box=0.01)
    authors = authors.assign(c_lower=authors["c_lower"] * 0.5)
    as_they_are = clean.assign(projection="none", distance=0.0, out_of_the_box=0.0)
    return pd.concat([as_they_are, exact, authors], ignore_index=True)


def judged(facts):
    claim = figure.ON_CIFAR10.of(mnist1d.robust_to_attack)
    return claim.judged(ROOM, {ROOM: json.loads(json.dumps(facts))})


def test_both_ways_are_measured_and_drawn():
    facts, drawing = measured_and_drawn(figure, {ROOM: attacks()}, CONTEXT)
    assert all(axes.lines for axes in drawing.axes)
    exact, authors = (facts["attacks"][way]["0.5"] for way in ("exact", "authors"))
    assert exact == {"distance_over_radius": pytest.approx(0.9), "out_of_the_box": 0}
    assert authors == {"distance_over_radius": pytest.approx(0.1), "out_of_the_box": 0.01}
    ratio = "over_c_lower_at_radius_near_0.5"
    assert facts[ratio]["c_lower"]["estimate"] == pytest.approx(1)
    theirs = facts["with_the_step_of_the_authors"][ratio]
    assert theirs["c_lower"]["estimate"] == pytest.approx(0.5)


def test_the_claim_is_judged_on_exact_attacks():
    assert judged(figure.measure({ROOM: attacks()}, CONTEXT)).verdict == "holds"
    steeper = scaled(attacks(), "c_lower", 2, projection="exact")
    parts = judged(figure.measure({ROOM: steeper}, CONTEXT)).parts
    assert parts["C_lower moved / clean"].verdict == "does not hold"
    one = attacks().query("seed == 0")
    assert judged(figure.measure({ROOM: one}, CONTEXT)).verdict == "not tested"
