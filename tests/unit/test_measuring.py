"""Small nets, bounds by name, pretrained weights and timing, as studies share them."""

import numpy as np
import pytest
import torch
import torchvision

from pipeline.jobs.command import CommandError
from pipeline.measuring import chain_methods, small_nets
from pipeline.measuring.fresh_points import fresh_mnist1d
from pipeline.measuring.pretrained import read_weights, torchvision_model
from pipeline.measuring.timing import timed
from pipeline.provenance.files import sha256

pytestmark = pytest.mark.usefixtures("single_threaded")


def test_nets_have_the_default_initialisation():
    model = small_nets.seeded_mlp((4, 200, 3), seed=1)
    assert torch.equal(small_nets.seeded_mlp((4, 200, 3), seed=1)[0].weight, model[0].weight)
    assert 0.49 < model[0].weight.abs().max() <= 0.5
    assert 0.4 < model[0].bias.abs().max() <= 0.5
    assert model[2].weight.abs().max() <= 200**-0.5


def test_exact_maximum_and_names():
    ones = torch.ones(2, 2, dtype=torch.float64)
    chain = chain_methods.relu_chain([ones, -ones, ones])
    assert chain_methods.exact_maximum(chain).value == pytest.approx(8)
    assert chain_methods.short_name((4, 8, 3)) == "4-8-3"
    assert chain_methods.short_name((10, 40, 40, 40, 40, 5)) == "10-(40x4)-5"
    assert chain_methods.short_name((3, 4, 4, 4, 2)) == "3-4-4-4-2"


def test_annealing_finds_a_steep_place():
    model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)).double()
    with torch.no_grad():
        for layer, weight, bias in ((0, [[1.0], [9.0]], [0.0, -9.0]), (2, [[1.0, 1.0]], [0.0])):
            model[layer].weight.copy_(torch.tensor(weight))
            model[layer].bias.copy_(torch.tensor(bias))
    start = torch.full((3, 1), 0.5, dtype=torch.float64)
    found = small_nets.annealed_jacobian(model, start, walks=3, steps=50, reach=0.5, seed=0)
    assert found.value == pytest.approx(10)


def test_weights_are_checked_before_they_are_opened(tmp_path):
    with pytest.raises(CommandError, match="there is no file"):
        read_weights(tmp_path / "missing.pth")
    (tmp_path / "other.pth").write_bytes(b"")
    with pytest.raises(CommandError, match="named as torchvision publishes it"):
        read_weights(tmp_path / "other.pth")
    wrong = tmp_path / "net-00000000.pth"
    torch.save({"weight": torch.ones(2)}, wrong)
    with pytest.raises(CommandError, match="does not start with 00000000"):
        read_weights(wrong)
    right = wrong.rename(tmp_path / f"net-{sha256(wrong)[:8]}.pth")
    assert read_weights(right)["weight"].tolist() == [1, 1]
    with pytest.raises(CommandError, match="does not hold the weights of alexnet"):
        torchvision_model("alexnet", str(right), 0)


def test_initialisation_is_that_of_the_seed_and_leaves_the_random_state():
    before = torch.get_rng_state()
    first, second = (torchvision_model("resnet18", None, 3).model for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.conv1.weight, second.conv1.weight)
    torch.manual_seed(3)
    assert torch.equal(first.conv1.weight, torchvision.models.resnet18(weights=None).conv1.weight)
    torch.set_rng_state(before)


def test_timing_repeats_within_its_budget():
    calls = []
    result, timing = timed(lambda: calls.append(1) or len(calls), 3)
    assert (result, len(calls), timing.repeats) == (1, 4, 3)
    assert timing.best_s <= timing.median_s
    _, slow = timed(lambda: calls.append(1), 5, budget_s=0)
    assert slow.repeats == 1
    assert len(calls) == 5


def test_fresh_points_are_like_the_data_and_not_the_data():
    state = np.random.get_state()[1].copy()
    points = fresh_mnist1d(50, 0)
    assert points.shape == (50, 40)
    assert points.std().item() == pytest.approx(1, abs=0.01)
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(points, fresh_mnist1d(50, 0))
    with pytest.raises(ValueError, match="the data itself"):
        fresh_mnist1d(50, 42)
    with pytest.raises(ValueError, match="multiple of 10"):
        fresh_mnist1d(55, 0)
