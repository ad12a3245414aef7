import json

import numpy as np
import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.distribution import figure, study
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import (
    CLASSES,
    NAME,
    POINTS,
    SETTINGS,
    grid,
    jacobian_norm,
    made_up_arrays,
    made_up_run,
    net,
    nets,
    only,
)

ROOM = "distribution"

# ---------------------------------------------------------------- study

pytestmark = pytest.mark.usefixtures("single_threaded")


def measured(tmp_path, **more):
    run = made_up_run(tmp_path / "run", **more)
    return study.study(study.Settings(widths=(5,)), made_up_arrays(), [run])


def test_every_point_of_every_seed_that_did_not_diverge(tmp_path):
    table = measured(tmp_path)
    assert len(table) == 2 * sum(POINTS.values())
    row = only(table, seed=1, points="test", point=4).iloc[0]
    model, x = net(1, 30, 5), made_up_arrays()["x_test"][4]
    assert row["norm"] == pytest.approx(jacobian_norm(model, x))
    logits = model(x[None].double())
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([4 % CLASSES])).item()
    assert row["loss"] == pytest.approx(expected, rel=1e-5)
    assert row["correct"] == (logits.argmax().item() == 4 % CLASSES)
    assert row["stop_reason"] == "epoch_cap"


def test_the_loss_is_that_of_the_run(tmp_path):
    table = measured(tmp_path, loss="mean_squared_error", experiment="double_descent_mse")
    row = only(table, seed=0, points="train", point=7).iloc[0]
    target = torch.nn.functional.one_hot(torch.tensor(7 % CLASSES), CLASSES)
    x = made_up_arrays()["x_train"][7:8]
    expected = (net(0, 20, 5)(x)[0] - target).square().sum().item()
    assert row["loss"] == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------- figure


def table_of_nets():
    """Wrong points are those of the largest norms, and the loss grows with the norm."""
    rng = np.random.default_rng(0)
    rows = []
    for about, height in nets():
        if about["width"] == 64:
            continue
        for experiment in ("double_descent", "double_descent_mse"):
            for points, count in (("train", 200), ("test", 100)):
                norms = height * np.append(rng.uniform(0.5, 1.5, count - 1), 2.0)
                hits = norms < np.quantile(norms, 0.7)
                rows += [
                    about
                    | {"experiment": experiment, "points": points, "point": i}
                    | {"norm": n, "loss": 2 * n, "correct": c}
                    for i, (n, c) in enumerate(zip(norms, hits, strict=True))
                ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def table():
    return table_of_nets()


def test_it_draws_the_largest_norm_of_the_facts(table):
    facts, drawing = measured_and_drawn(figure, {ROOM: table}, job_context(ROOM, SETTINGS))
    assert all(axes.lines for axes in drawing.axes)
    dotted = {line.get_xdata()[0] for line in drawing.axes[0].lines if line.get_linestyle() == ":"}
    assert dotted == {one["largest"]["estimate"] for one in facts["double_descent"].values()}


def test_pairs_of_right_and_wrong_points_are_counted(table):
    facts = figure.measure({ROOM: table}, job_context(ROOM, SETTINGS))
    of_width = facts["double_descent"]["256"]
    test = of_width["test_points"]
    assert test["chance_that_a_wrong_point_has_the_larger_norm"]["estimate"] == pytest.approx(1)
    assert test["error"] == pytest.approx(0.3, abs=0.01)
    assert test["ratio of maxima"]["estimate"] > 1
    assert test["correlation"]["estimate"] == pytest.approx(1)
    assert of_width["correlation_of_loss_and_norm_at_training_points"]["estimate"] == pytest.approx(1)
    assert of_width["largest_over_mean"]["estimate"] == pytest.approx(2, rel=0.05)


# ---------------------------------------------------------------- claim


def as_claimed():
    rows = grid(**{key: [value] for key, value in NAME.items()}, width=[64], seed=range(4))
    rows = rows.merge(pd.DataFrame({"point": range(200)}), how="cross")
    wrong = rows["point"] % 4 == 0
    norm = 1 + (rows["point"] // 4) / 50 + 0.2 * wrong
    rows = rows.assign(points="test", norm=norm, loss=(rows["point"] % 3) / 3, correct=~wrong)
    train = rows.assign(points="train", norm=norm[::-1].to_numpy(), correct=True)
    return pd.concat([rows, train], ignore_index=True)


def verdict(rows):
    facts = figure.measure({ROOM: rows}, job_context(ROOM, SETTINGS))
    return judged(figure.wrong_points_are_steeper, ROOM, json.loads(json.dumps(facts)))


def test_wrong_points_are_steeper_where_the_table_says_so():
    assert verdict(as_claimed()).verdict == "holds"
    against = as_claimed().assign(
        norm=lambda rows: np.where(rows["correct"], 3 + rows["loss"], 1),
        loss=lambda rows: rows["correct"] + rows["loss"],
    )
    assert verdict(against).verdict == "does not hold"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (as_claimed().iloc[:0], "no rows that can be used"),
        (as_claimed().query("seed == 0"), "one seed"),
        (as_claimed().query("correct or point == 0"), "no net misclassifies 20"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(rows, reason):
    found = verdict(rows)
    assert found.verdict == "not tested"
    assert reason in found.reason
