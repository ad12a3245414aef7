from functools import partial

import pandas as pd
import pytest
import torch

from lipbounds.bounds.lipsdp import lipsdp_descent
from lipbounds.threads import one_thread
from papers.virmaux_scaman_2018.seqlip_mlp import figure, study
from pipeline.measuring import chain_methods
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.virmaux_scaman_2018.chains import (
    NEAR,
    cases,
    check_lower_bounds_stay_below_upper_bounds,
    check_rows_say_what_they_are,
    made_up_arrays,
    rings,
)

ROOM = "seqlip_mlp"
SETTINGS = study.Settings(
    depths=(2, 4),
    width=5,
    trainings=1,
    points=60,
    spread=3,
    length_scale=1,
    epochs=2,
    batch_size=20,
    learning_rate=0.01,
    exact_depths=(2, 4),
    grid_half_side=5,
    grid_points=5,
    annealing_walks=4,
    annealing_steps=5,
    seed=0,
)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        quick = partial(lipsdp_descent, steps=40)
        patch.setitem(chain_methods.CHAIN_METHODS, "lipsdp_descent", quick)
        yield


@pytest.fixture(scope="module")
def table(_quick):
    return study.study(SETTINGS, made_up_arrays())


def test_table_survives_the_file_and_is_drawn(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    tables = {ROOM: pd.read_csv(tmp_path / "table.csv")}
    facts, drawing = measured_and_drawn(figure, tables, job_context(ROOM, SETTINGS))
    drawing.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    assert list(facts["paper"]) == ["4"]  # the paper has no net of two layers
    assert sorted(rings(drawing.axes[0])) == sorted(facts["paper"]["4"].values())
    means = facts["values"]["4"]
    assert facts["autolip_over_greedy_seqlip"]["4"] == means["autolip"] / means["seqlip_greedy"]


def test_rows_say_what_they_are(table):
    check_rows_say_what_they_are(table)


def test_the_study_repeats_itself_and_leaves_the_global_seed_alone(table, monkeypatch):
    state = torch.get_rng_state()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # nets side by side
    again = study.study(SETTINGS, made_up_arrays()).drop(columns="seconds")
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(again, table.drop(columns="seconds"))


def test_lower_bounds_stay_below_upper_bounds(table):
    check_lower_bounds_stay_below_upper_bounds(table)
    for values in cases(table, ["depth", "training"]):
        assert values["autolip"] <= values["frobenius"] * (1 + 1e-9)
        assert values["seqlip_alternating"] * NEAR <= values["seqlip_exact"]


def test_function_is_reproducible_and_smooth():
    one, two = (study.sampled_function(SETTINGS) for _ in range(2))
    assert torch.equal(one[1], two[1])
    near = torch.cdist(one[0], one[0]) < 0.1
    assert ((one[1] - one[1].T).abs()[near] < 1).all()
