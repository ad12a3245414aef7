import pandas as pd
import pytest
import torch
import yaml

from lipbounds.bounds.seqlip import exact_pair_factor, greedy_pair_factor
from lipbounds.threads import one_thread
from papers.virmaux_scaman_2018.seqlip_cnn_mnist import figure, study
from pipeline.config.loading import load_config
from pipeline.measuring.conv_nets import conv_matrices, conv_net
from tests.conftest import ROOT
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.virmaux_scaman_2018.chains import (
    check_lower_bounds_stay_below_upper_bounds,
    check_rows_say_what_they_are,
    rings,
)

ROOM = "seqlip_cnn_mnist"
SETTINGS = study.Settings(
    training_points=30,
    depths=(4, 5),
    channels=(1, 2, 2),
    trainings=1,
    epochs=2,
    batch_size=20,
    learning_rate=0.01,
    drop_every_epochs=1,
    drop_factor=0.5,
    triplets=200,
    sweeps=10,
    annealing_walks=2,
    annealing_steps=2,
    annealing_reach=0.1,
    seed=0,
)

pytestmark = pytest.mark.usefixtures("single_threaded")


def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (60, 1, 28, 28), dtype=torch.uint8, generator=generator)
    y = torch.arange(60) % 10
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}


@pytest.fixture(scope="module")
def table():
    with one_thread():
        return study.study(SETTINGS, images())


def test_table_survives_the_file_and_is_drawn(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    tables = {ROOM: pd.read_csv(tmp_path / "table.csv")}
    facts, drawing = measured_and_drawn(figure, tables, job_context(ROOM, SETTINGS))
    assert facts["paper"]["5"]["autolip_over_greedy_seqlip"] == 790.1 / 335
    assert sorted(rings(drawing.axes[0])) == sorted([174, 86, 12.64, 25.5, 790.1, 335, 16.79, 22.2])
    assert "[-1, 1]" in drawing.axes[0].get_xlabel()
    assert any("on MNIST, test error" in text.get_text() for text in drawing.texts)


def test_rows_say_what_they_are(table):
    check_rows_say_what_they_are(table)


def test_lower_bounds_stay_below_upper_bounds(table):
    kinds = table.groupby("method")["kind"].first()
    assert set(kinds[kinds == "upper"].index) == {"autolip", "seqlip", "liplt", "eclipse_search"}
    check_lower_bounds_stay_below_upper_bounds(table)


def test_matrices_of_convolutions_are_those_of_the_net():
    model = conv_net(SETTINGS, (1, 28, 28), 5, 0).double()
    x = torch.randn(1, 1, 28, 28, dtype=torch.float64)
    linear = torch.nn.Sequential(*[one for one in model if not isinstance(one, torch.nn.ReLU)])
    image = x.flatten()
    for matrix in conv_matrices(model, (1, 28, 28)):
        image = matrix @ image
    assert torch.allclose(image, (linear(x) - linear(0 * x)).flatten())


@pytest.mark.parametrize(("depth", "layers"), [(4, 4), (5, 5), (10, 10)])
def test_the_nets_are_those_of_the_authors_code(depth, layers):
    settings = SETTINGS.model_copy(update={"channels": (32, 64, 128)})
    model = conv_net(settings, (1, 28, 28), depth, 0)
    convolutions = [one for one in model if isinstance(one, torch.nn.Conv2d)]
    assert len(convolutions) == layers
    assert [one.kernel_size[0] for one in convolutions[:2]] == [5, 3]
    assert convolutions[-1].weight.shape == (10, 128, 2, 2)
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_images_are_scaled_as_in_the_paper():
    bytes_ = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    scaled = study._scaled(study.Points(bytes_, torch.tensor([0])))
    assert scaled.x.flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("shapes", [(5, 12, 4), (4, 12, 5), (3, 9, 3)])
def test_improving_flips_end_between_their_start_and_the_exact_factor(shapes):
    rows, neurons, columns = shapes
    generator = torch.Generator().manual_seed(rows)
    raised = 0
    for _ in range(10):
        left, right = (
            torch.randn(size, dtype=torch.float64, generator=generator)
            for size in ((rows, neurons), (neurons, columns))
        )
        found = study.improving_flips(left, right, 10)
        start = torch.linalg.matrix_norm(left @ right, 2).item()
        exact = exact_pair_factor(left, right, (0.0, 1.0)).value
        best = greedy_pair_factor(left, right, (0.0, 1.0)).value
        assert start * (1 - 1e-12) <= found <= exact * (1 + 1e-12)
        assert found >= 0.8 * best
        raised += found > start * 1.001
    assert raised >= 5
    assert study.improving_flips(left, right, 1) <= found * (1 + 1e-12)


def test_the_paper_scale_is_the_papers():
    config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()) | {"scale": "paper"})
    assert config.departures(ROOM) == []
    assert config.study(ROOM).training_points is None
    assert config.about_studies[ROOM].data == ("mnist",)
