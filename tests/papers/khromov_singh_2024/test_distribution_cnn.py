import json

import numpy as np
import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.distribution import figure as mnist1d
from papers.khromov_singh_2024.distribution_cnn import figure, study
from pipeline.measuring.arrays import together
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.trained_nets import (
    POINTS,
    grid,
    jacobian_norm,
    made_up_arrays,
    made_up_run,
    net,
    only,
)

ROOM = "distribution_cnn"
CONTEXT = job_context(ROOM, {})


# ---------------------------------------------------------------- study


def run_of(data_set, folder):
    """A run whose labels say of which data set its inputs are."""
    run = made_up_run(folder / data_set, experiment=data_set)
    labels = folder / "labels" / data_set / "pair_swap~0" / "noise~0" / "labels.safetensors"
    labels.parent.mkdir(parents=True)
    run.labels.rename(labels)
    return run.model_copy(update={"labels": labels})


@pytest.mark.usefixtures("single_threaded")
def test_nets_are_measured_at_some_points_of_their_own_data_set(tmp_path):
    runs = [run_of(name, tmp_path) for name in ("ones", "signals")]
    signals = made_up_arrays()
    ones = {name: torch.ones_like(x) for name, x in signals.items()}
    settings = study.Settings(widths=(5,), train_points=10, test_points=100)
    table = study.study(settings, together({"signals": signals, "ones": ones}), runs)
    counts = table.groupby(["experiment", "points", "seed"]).size().unstack("points")
    assert (counts["train"] == 10).all()
    assert (counts["test"] == POINTS["test"]).all()
    at_ones = only(table, experiment="ones", seed=1)["norm"]
    assert at_ones.to_numpy() == pytest.approx(jacobian_norm(net(1, 30, 5), torch.ones(40)))
    row = only(table, experiment="signals", seed=1, points="test", point=4).iloc[0]
    assert row["norm"] == pytest.approx(jacobian_norm(net(1, 30, 5), signals["x_test"][4]))
    again = study.study(settings, together({"signals": signals, "ones": ones}), runs)
    pd.testing.assert_frame_equal(table, again)


# ---------------------------------------------------------------- figure and claims


def as_claimed(experiment):
    rows = grid(experiment=[experiment], variant=["base"], noise=[0], width=[4, 12], seed=range(4))
    rows = rows.merge(pd.DataFrame({"point": range(200)}), how="cross")
    wrong = rows["point"] % 4 == 0
    norm = (1 + (rows["point"] // 4) / 50 + 0.2 * wrong) * (1 + rows["seed"] / 1000)
    rows = rows.assign(stop_reason="epoch_cap", norm=norm, loss=(rows["point"] % 3) / 3)
    train = rows.assign(points="train", norm=norm[::-1].to_numpy(), correct=True)
    return pd.concat([rows.assign(points="test", correct=~wrong), train], ignore_index=True)


def against(experiment):
    return as_claimed(experiment).assign(
        norm=lambda rows: np.where(rows["correct"], 3 + rows["loss"], 1) + rows["seed"] / 1000,
        loss=lambda rows: rows["correct"] + rows["loss"],
    )


def judged(again, facts):
    claim = again.of(mnist1d.wrong_points_are_steeper)
    return claim.judged(ROOM, {ROOM: json.loads(json.dumps(facts))})


def test_each_data_set_is_drawn_and_judged_for_itself():
    table = pd.concat([as_claimed("cnn_cifar10"), against("cnn_mnist")], ignore_index=True)
    facts, drawing = measured_and_drawn(figure, {ROOM: table}, CONTEXT)
    assert all(axes.lines for axes in drawing.axes)
    assert [axes.get_title(loc="left") for axes in drawing.axes][:2] == [
        "a   CIFAR-10, training points",
        "b   MNIST, training points",
    ]
    held, refuted = judged(figure.ON_CIFAR10, facts), judged(figure.ON_MNIST, facts)
    assert (held.verdict, refuted.verdict) == ("holds", "does not hold")
    assert set(held.parts) == {
        f"{name}, width {width}"
        for name in ("ratio of means", "ratio of maxima", "correlation")
        for width in (4, 12)
    }


def test_a_data_set_without_rows_is_not_tested():
    facts = figure.measure({ROOM: as_claimed("cnn_cifar10")}, CONTEXT)
    found = judged(figure.ON_MNIST, facts)
    assert found.verdict == "not tested"
    assert "mnist" in found.reason
