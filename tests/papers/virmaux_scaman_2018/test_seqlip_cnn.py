import pandas as pd
import pytest
import torch
import yaml

from lipbounds.threads import one_thread
from papers.virmaux_scaman_2018.seqlip_cnn import figure, study
from pipeline.config.loading import load_config
from pipeline.measuring.conv_nets import conv_matrices, conv_net
from tests.conftest import ROOT
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.virmaux_scaman_2018.chains import (
    check_lower_bounds_stay_below_upper_bounds,
    check_rows_say_what_they_are,
    made_up_arrays,
    rings,
)

ROOM = "seqlip_cnn"
SETTINGS = study.Settings(
    depths=(4, 5),
    channels=(1, 2, 2),
    trainings=1,
    epochs=2,
    batch_size=20,
    learning_rate=0.01,
    drop_every_epochs=1,
    drop_factor=0.5,
    triplets=200,
    annealing_walks=2,
    annealing_steps=2,
    annealing_reach=0.1,
    seed=0,
)

pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.fixture(scope="module")
def table():
    with one_thread():
        return study.study(SETTINGS, made_up_arrays(22))


def test_table_survives_the_file_and_is_drawn(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    tables = {ROOM: pd.read_csv(tmp_path / "table.csv")}
    facts, drawing = measured_and_drawn(figure, tables, job_context(ROOM, SETTINGS))
    drawing.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    assert facts["paper"]["4"]["autolip_over_greedy_seqlip"] == 174 / 86
    assert sorted(rings(drawing.axes[0])) == sorted([174, 86, 12.64, 25.5, 790.1, 335, 16.79, 22.2])
    worst = 100 * facts["largest_test_error"]
    assert worst == 100 * table["test_error"].max()
    assert any(f"test error up to {worst:.0f} %" in text.get_text() for text in drawing.texts)


def test_rows_say_what_they_are(table):
    check_rows_say_what_they_are(table)


def test_the_study_repeats_itself_and_leaves_the_global_seed_alone(table, monkeypatch):
    state = torch.get_rng_state()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # nets side by side
    again = study.study(SETTINGS, made_up_arrays(22)).drop(columns="seconds")
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(again, table.drop(columns="seconds"))


def test_lower_bounds_stay_below_upper_bounds(table):
    check_lower_bounds_stay_below_upper_bounds(table)


def test_matrices_of_convolutions_are_those_of_the_net():
    model = conv_net(SETTINGS, (1, 40), 5, 0).double()
    x = torch.randn(1, 1, 40, dtype=torch.float64)
    linear = [layer for layer in model if not isinstance(layer, torch.nn.ReLU)]
    expected = torch.nn.Sequential(*linear)(x) - torch.nn.Sequential(*linear)(0 * x)
    image = x.flatten()
    for matrix in conv_matrices(model, (1, 40)):
        image = matrix @ image
    assert torch.allclose(image, expected.flatten())


@pytest.mark.parametrize("scale", ["paper", "laptop", "smoke"])
def test_that_it_is_not_on_mnist_is_a_departure_at_every_scale(scale):
    config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()) | {"scale": scale})
    assert {"setting": "data", "paper": "mnist", "here": "mnist1d"} in config.departures(ROOM)
    assert config.about_studies[ROOM].data == ("mnist1d",)
