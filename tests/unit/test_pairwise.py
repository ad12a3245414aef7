"""Slopes of secants against brute force in float64."""

import copy
import itertools

import pytest
import torch
from torch import nn

from lipbounds.bounds import upper_bound
from lipbounds.bounds.pairwise import float64_outputs, pairwise_lower_bound
from nets.models.fcn import seeded_fcn


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def brute_force(model, x):
    """(value, first, second), pair by pair."""
    x = x.double()
    with torch.no_grad():
        outputs = copy.deepcopy(model).double()(x).flatten(1)
    best = (-1.0, 0, 0)
    for i, j in itertools.combinations(range(len(x)), 2):
        distance = torch.linalg.vector_norm(x[i] - x[j]).item()
        if distance > 0:
            slope = torch.linalg.vector_norm(outputs[i] - outputs[j]).item() / distance
            best = max(best, (slope, i, j), key=lambda entry: entry[0])
    return best


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_against_brute_force(block, offset):
    model, x = seeded_fcn(0, 10, [20], 5, activation_on_output="identity"), normal(40, 10) + offset
    value, first, second = brute_force(model, x)
    found = pairwise_lower_bound(model, x, block=block)
    assert (found.first, found.second) == (first, second)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.pairs == 40 * 39 // 2


def test_pairs_close_to_each_other_are_exact():
    # distances of 1e-6, of which inner products of size 1e6 know nothing, in steepest directions
    model = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 3)).double()
    x = normal(30, 6).double() * 1000
    jacobians = torch.func.vmap(torch.func.jacrev(model))(x).detach()
    x = torch.cat([x, x + 1e-6 * torch.linalg.svd(jacobians).Vh[:, 0]])
    value, first, second = brute_force(model, x)
    assert second - first == 30
    found = pairwise_lower_bound(model, x, block=16)
    assert (found.first, found.second) == (first, second)
    assert found.value == pytest.approx(value, rel=1e-6)
    assert found.value == pytest.approx(torch.linalg.matrix_norm(jacobians, 2).max().item(), rel=1e-6)


def test_identical_points_are_left_out():
    model, x = seeded_fcn(0, 10, [20], 5), normal(12, 10)
    single = pairwise_lower_bound(model, x)
    double = pairwise_lower_bound(model, torch.cat([x, x, x]), block=5)
    assert double.value == pytest.approx(single.value, rel=1e-12)
    assert double.pairs == 36 * 35 // 2 - 12 * 3
    assert single.pairs == 66


def test_never_above_an_upper_bound_and_exact_for_a_line():
    model, x = seeded_fcn(3, 40, [64], 10), normal(300, 40)
    assert pairwise_lower_bound(model, x).value <= upper_bound(model, (40,)).value
    assert pairwise_lower_bound(nn.Linear(1, 1), normal(5, 1)).pairs == 10
    line = nn.Linear(1, 1)
    assert pairwise_lower_bound(line, normal(5, 1)).value == pytest.approx(line.weight.abs().item())


def test_constant_nets_have_slope_zero():
    model = nn.Linear(4, 2)
    nn.init.zeros_(model.weight)
    found = pairwise_lower_bound(model, normal(20, 4), block=6)
    assert (found.value, found.pairs) == (0.0, 190)


def test_images_and_model_state():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten()).train()
    x, state = normal(6, 1, 5, 5), copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    outputs = float64_outputs(model, x, batch_size=4)
    assert outputs.shape == (6, 18)
    assert outputs.dtype == torch.float64
    assert pairwise_lower_bound(model, x).value == pytest.approx(brute_force(model.eval(), x)[0])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    ("x", "block", "message"),
    [
        (torch.ones(4, 3), 10, "all points are the same"),
        (torch.ones(1, 3), 10, "n >= 2"),
        (normal(4, 3), 0, "block"),
        (torch.full((4, 3), torch.nan), 10, "not finite"),
    ],
)
def test_bad_arguments_are_refused(x, block, message):
    with pytest.raises(ValueError, match=message):
        pairwise_lower_bound(nn.Linear(3, 2), x, block=block)
