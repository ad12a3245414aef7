import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from papers.khromov_singh_2024.distribution import figure as mnist1d
from papers.khromov_singh_2024.distribution_resnet import figure, study
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import POINTS, grid, made_up_arrays, made_up_run

ROOM = "distribution_resnet"
CONTEXT = job_context(ROOM, {})
NETS = ("resnet20_cifar10", "resnet56_cifar10")
SHARES = (np.arange(1000) + 0.5) / 1000
LONG, SHORT, NORMAL = (
    tails.ppf(SHARES) for tails in (stats.lognorm(0.5), stats.uniform(1), stats.norm(10))
)
"""A thousand norms with a long tail, with a short one, and with that of a normal distribution."""

# ---------------------------------------------------------------- study


@pytest.mark.usefixtures("single_threaded")
def test_nets_are_measured_at_no_more_points_than_asked_for(tmp_path):
    runs = [made_up_run(tmp_path / name, experiment=name) for name in NETS]
    settings = study.Settings(train_points=10, test_points=None)
    table = study.study(settings, made_up_arrays(), runs)
    counts = table.groupby(["experiment", "points", "seed"]).size().unstack("points")
    assert set(table["experiment"]) == set(NETS)
    assert (counts["train"] == 10).all()
    assert (counts["test"] == POINTS["test"]).all()


# ---------------------------------------------------------------- figure and claims


def rows_of(net, norms, wrong=0, seeds=3):
    """These norms at training and test points, in a unit of each seed; the largest differs a little."""
    rows = grid(experiment=[net], variant=["base"], noise=[0], width=[8], seed=range(seeds))
    rows = rows.assign(stop_reason="epoch_cap")
    points = pd.DataFrame({"point": range(len(norms)), "shape": norms})
    rows = rows.merge(points, how="cross").merge(
        pd.DataFrame({"points": ["train", "test"]}), how="cross"
    )
    largest = rows["shape"] >= norms.max()
    norm = (1 + rows["seed"] / 7) * rows["shape"] * (1 + largest * rows["seed"] / 100)
    correct = (rows["points"] == "train") & (rows["point"] >= wrong) | (rows["point"] % 4 > 0)
    return rows.assign(norm=norm, loss=(rows["point"] % 3) / 3, correct=correct).drop(columns="shape")


def tables(one, other, **more):
    return {ROOM: pd.concat([rows_of(NETS[0], one, **more), rows_of(NETS[1], other, **more)])}


def verdict(tables):
    return judged(figure.long_tails, ROOM, figure.measure(tables, CONTEXT))


def test_the_tail_of_a_normal_distribution_counts_as_none():
    facts = figure.measure(tables(NORMAL, LONG), CONTEXT)
    found = {name: own[f"{name}_cifar10"]["8"]["tail_over_normal"] for name, own in facts.items()}
    assert found["resnet20"]["estimate"] == pytest.approx(1, abs=0.02)
    tail = (LONG[-10:].mean() - LONG.mean()) / LONG.std(ddof=1)
    expected = tail * stats.norm.sf(stats.norm.isf(0.01), 0, 1) / stats.norm.pdf(stats.norm.isf(0.01))
    assert found["resnet56"]["estimate"] == pytest.approx(expected, rel=0.01)
    assert found["resnet56"]["low"] > 1


def test_long_tails_are_claimed_of_each_net():
    held = verdict(tables(LONG, LONG))
    assert held.verdict == "holds"
    assert set(held.parts) == {"ResNet-20, width 8", "ResNet-56, width 8"}
    assert verdict(tables(LONG, SHORT)).verdict == "holds in part"
    refuted = verdict(tables(SHORT, SHORT))
    assert refuted.verdict == "does not hold"
    assert refuted.high < 1


def test_nets_that_do_not_fit_their_images_are_not_judged():
    found = verdict(tables(LONG, LONG, wrong=600))
    assert found.verdict == "not tested"
    assert found.reason == "training error 15 %"
    assert verdict(tables(LONG, LONG, wrong=400)).verdict == "holds"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({ROOM: rows_of(NETS[0], LONG).iloc[:0]}, "no rows that can be used"),
        (tables(LONG, LONG, seeds=1), "one seed"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(given, reason):
    found = verdict(given)
    assert found.verdict == "not tested"
    assert reason in found.reason


def test_the_norms_of_each_net_are_drawn_beside_normal_ones():
    facts, drawing = measured_and_drawn(figure, tables(LONG, SHORT), CONTEXT)
    titles = [axes.get_title(loc="left") for axes in drawing.axes]
    assert titles[:2] == ["a   ResNet-20, training points", "b   ResNet-56, training points"]
    for axes, own in zip(drawing.axes[:2], facts.values(), strict=True):
        (found,) = own.values()
        lines = {line.get_linestyle(): line for line in axes.lines}
        assert lines[":"].get_xdata()[0] == found["8"]["largest"]["estimate"]
        x, density = lines["-."].get_data()
        assert density.max() > 0
        assert np.trapezoid(density, x) == pytest.approx(1, abs=0.1)
    assert "normal distribution" in {text.get_text() for text in drawing.legends[0].texts}


def test_right_and_wrong_points_are_judged_again_by_net():
    facts = json.loads(json.dumps(figure.measure(tables(LONG, SHORT), CONTEXT)))
    for again in (figure.ON_RESNET20, figure.ON_RESNET56):
        found = again.of(mnist1d.wrong_points_are_steeper).judged(ROOM, {ROOM: facts})
        assert set(found.parts) == {
            f"{name}, width 8" for name in ("ratio of means", "ratio of maxima", "correlation")
        }
