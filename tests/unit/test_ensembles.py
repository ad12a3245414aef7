"""Bias and variance over seeds: the identity, unbiasedness, and the bound of the variance."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from lipbounds.jacobian import jacobian_norms
from nets.ensembles import bias_variance, mean_function, output_variance, variance_bound
from nets.models.fcn import seeded_fcn


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Constant(nn.Module):
    """The same output for every point."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value.expand(len(x), -1)


def nets(seeds=4):
    return [seeded_fcn(seed, 40, [16], 10) for seed in range(seeds)]


def test_mean_function_and_its_jacobian():
    models, x = nets(), normal(7, 40)
    mean = mean_function(models)
    with torch.no_grad():
        assert torch.allclose(mean(x), torch.stack([model(x) for model in models]).mean(0))
    jacobian = torch.func.vmap(
        torch.func.jacrev(lambda point: sum(model(point) for model in models) / 4)
    )(x)
    assert torch.allclose(
        jacobian_norms(mean, x), torch.linalg.matrix_norm(jacobian.detach().double(), 2), rtol=1e-5
    )


def test_mean_function_is_made_of_copies():
    models = nets(2)
    mean = mean_function(models).eval()
    assert all(model.training for model in models)
    assert not {id(p) for p in mean.parameters()} & {
        id(p) for model in models for p in model.parameters()
    }
    with pytest.raises(ValueError, match="no networks"):
        mean_function([])


@pytest.mark.parametrize("seeds", [2, 4])
def test_bias_and_variance_add_up_to_the_mean_loss_of_the_seeds(seeds):
    models, x = nets(seeds), normal(30, 40)
    targets = functional.one_hot(torch.arange(30) % 10, 10).float()
    result = bias_variance(models, x, targets)
    with torch.no_grad():
        outputs = torch.stack([model(x) for model in models]).double()
    loss = ((outputs - targets) ** 2).sum(2).mean(0)
    spread = ((outputs - outputs.mean(0)) ** 2).sum(2).sum(0) / (seeds - 1)
    assert torch.allclose(result.point_loss, loss)
    assert torch.allclose(result.point_variance, spread)
    assert torch.allclose(result.point_bias_squared + result.point_variance, loss, rtol=1e-12)
    assert result.bias_squared + result.variance == pytest.approx(result.expected_loss, rel=1e-12)
    assert torch.allclose(output_variance(models, x), spread)


def test_both_are_unbiased():
    # outputs N(1, I) in three dimensions and targets 0: bias squared 3, variance 3
    x, targets = torch.zeros(1, 2), torch.zeros(1, 3)
    draws = 1 + normal(300, 3, 3).double()
    results = [bias_variance([Constant(value) for value in seeds], x, targets) for seeds in draws]
    for name in ("bias_squared", "variance"):
        values = torch.tensor([getattr(result, name) for result in results])
        assert abs(values.mean() - 3) < 4 * values.std() / len(values) ** 0.5


def test_random_state_and_models_are_left_as_they_were():
    models = [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).train() for _ in range(2)]
    states, random_state = copy.deepcopy([model.state_dict() for model in models]), torch.get_rng_state()
    bias_variance(models, normal(5, 4), torch.zeros(5, 3))
    for model, state in zip(models, states, strict=True):
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
        assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)


def test_variance_bound_holds_for_linear_nets_and_has_the_stated_form():
    # the constants of linear nets are exact everywhere
    models, x = [nn.Linear(6, 3) for _ in range(5)], normal(50, 6)
    reference = x.mean(0)
    constants = torch.stack([torch.linalg.matrix_norm(model.weight.detach(), 2) for model in models])
    mean = sum(model.weight.detach() for model in models) / 5
    at_reference = output_variance(models, reference.unsqueeze(0)).item()
    of_mean = torch.linalg.matrix_norm(mean, 2).item()
    arguments = (of_mean, constants, x, reference, at_reference)
    bound = variance_bound(*arguments)
    assert output_variance(models, x).mean().item() <= bound
    radius = ((x - reference) ** 2).sum(1).mean().item()
    expected = 3 * (of_mean**2 + (constants**2).mean().item()) * radius + 3 * at_reference
    assert bound == pytest.approx(expected, rel=1e-5)
    paper = variance_bound(*arguments, squared_mean=True)
    difference = 3 * radius * constants.var(correction=0).item()
    assert bound - paper == pytest.approx(difference, rel=1e-3)
    assert bound <= variance_bound(of_mean, constants, x, torch.zeros(6), at_reference)


def test_bad_arguments_are_refused():
    models, x = nets(2), normal(3, 40)
    with pytest.raises(ValueError, match="two networks"):
        bias_variance(models[:1], x, torch.zeros(3, 10))
    with pytest.raises(ValueError, match="one-hot"):
        bias_variance(models, x, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="reference"):
        variance_bound(1.0, torch.ones(2), x, torch.zeros(3), 0.0)
    with pytest.raises(ValueError, match="S,"):
        variance_bound(1.0, torch.tensor(1.0), x, torch.zeros(40), 0.0)
    with pytest.raises(ValueError, match="at least 0"):
        variance_bound(-1.0, torch.ones(2), x, torch.zeros(40), 0.0)
