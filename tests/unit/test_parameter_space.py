"""Norms of derivatives by parameters, against matrices from automatic differentiation."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from lipbounds.parameter_space import mixed_derivative_norms, parameter_jacobian_norms
from nets.models.fcn import seeded_fcn


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(model):
    """Outputs (K,) of a float64 copy as a function of parameters and a point."""
    model = copy.deepcopy(model).double().eval()
    return (
        lambda parameters, point: functional_call(model, parameters, (point.unsqueeze(0),)).flatten()
    ), {name: value.detach() for name, value in model.named_parameters()}


def parameter_norm(model, point):
    function, parameters = exact(model)
    slopes = jacrev(function)(parameters, point.double())
    rows = [value.flatten().view(len(value), -1) for value in slopes.values()]
    return torch.linalg.matrix_norm(torch.cat(rows, 1), 2)


def mixed_norm(model, point):
    function, parameters = exact(model)
    tensors = jacrev(jacrev(function), 1)(parameters, point.double()).values()
    matrix = torch.cat([value.reshape(-1, point.numel()) for value in tensors])  # (K p, d)
    return torch.linalg.matrix_norm(matrix, 2)


class Tied(nn.Module):
    """Uses one weight twice and another one never through a module."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.scale * self.inner(torch.tanh(self.inner(x)))


def shared():
    layer = nn.Linear(6, 6, bias=False)
    return nn.Sequential(layer, nn.ReLU(), layer)


NETS = {
    "one hidden layer": lambda: seeded_fcn(0, 6, [9], 4),
    "leaky output": lambda: seeded_fcn(1, 6, [9], 4, activation_on_output="leaky_relu"),
    "deep": lambda: seeded_fcn(2, 6, [9, 5, 7], 4, activation_on_output="identity"),
    "biases": lambda: nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(0.3), nn.Linear(5, 3)),
    "linear": lambda: nn.Sequential(nn.Linear(6, 3, bias=False)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3)),
    "shared": shared,
    "smooth": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    "tied": Tied,
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Linear(5, 2)),
}


def built(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETS[name]()


@pytest.mark.parametrize("name", NETS)
def test_parameter_norms_against_the_whole_jacobian(name):
    model, x = built(name), normal(5, 6)
    truth = torch.stack([parameter_norm(model, point) for point in x])
    for batch_size in (None, 2):
        assert torch.allclose(parameter_jacobian_norms(model, x, batch_size), truth, rtol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_mixed_norms_against_the_whole_matrix(name):
    model, x = built(name), normal(3, 6)
    truth = torch.stack([mixed_norm(model, point) for point in x])
    assert torch.allclose(mixed_derivative_norms(model, x), truth, rtol=1e-10)


def test_images():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(8, 3))
    x = normal(2, 1, 4, 4)
    truth = torch.stack([parameter_norm(model, point) for point in x])
    assert torch.allclose(parameter_jacobian_norms(model, x), truth, rtol=1e-10)
    truth = torch.stack([mixed_norm(model, point) for point in x])
    assert torch.allclose(mixed_derivative_norms(model, x), truth, rtol=1e-10)


def test_linear_net_in_closed_form():
    model, x = nn.Sequential(nn.Linear(6, 3, bias=False)), normal(4, 6)
    assert torch.allclose(parameter_jacobian_norms(model, x), x.double().norm(dim=1))
    # d^2 f_k / dW_kb dx_i = 1 for b = i: three copies of the identity
    assert torch.allclose(
        mixed_derivative_norms(model, x), torch.full((4,), 3**0.5, dtype=torch.float64)
    )


def test_wide_net_in_chunks():
    model, x = seeded_fcn(0, 40, [4096], 10), normal(130, 40)
    norms = parameter_jacobian_norms(model, x)
    assert torch.allclose(norms[:2], torch.stack([parameter_norm(model, point) for point in x[:2]]))
    assert torch.allclose(norms[-1:], parameter_jacobian_norms(model, x[-1:]))
    mixed = mixed_derivative_norms(model, x[:40])
    assert torch.allclose(mixed[-1:], mixed_derivative_norms(model, x[39:40]))


@pytest.mark.parametrize("norms", [parameter_jacobian_norms, mixed_derivative_norms])
@pytest.mark.parametrize("name", ["biases", "batch norm"])
def test_model_and_random_state_are_left_as_they_were(norms, name):
    model, x = built(name).train(), normal(4, 6)
    next(model.parameters()).requires_grad_(False)
    state, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert norms(model, x).dtype == torch.float64
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert [value.requires_grad for value in model.parameters()].count(False) == 1
    assert all(value.grad is None for value in model.parameters())
    with pytest.raises(ValueError, match="n >= 1"):
        norms(model, x[:0])
