"""The search for large Jacobian norms: exact on small nets, never above a certified bound."""

import itertools
import math
from functools import cache

import pytest
import torch
from torch import nn

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.bounds.search import search_lower_bound
from lipbounds.jacobian import jacobian_norms
from nets.models.fcn import seeded_fcn

F64 = {"dtype": torch.float64}


def normal(*shape, seed=0, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


@cache
def trained(width=64, epochs=150):
    """A ReLU net that has fitted 300 points in 10 dimensions."""
    x, y = normal(300, 10), torch.randint(0, 4, (300,), generator=torch.Generator().manual_seed(0))
    net = seeded_fcn(0, 10, [width, width], 4, activation_on_output="identity")
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(epochs):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    net.zero_grad()
    return net.eval(), x


def exact_constant(net):
    """Largest norm over the regions of a net 2-n-k, found by their vertices' neighbourhoods."""
    first, _, second = net
    weight, bias = first.weight.detach(), first.bias.detach()
    best = 0.0
    for i, j in itertools.combinations(range(len(weight)), 2):
        vertex = torch.linalg.solve(weight[[i, j]], -bias[[i, j]])
        active = (weight @ vertex + bias) > 0
        for signs in itertools.product((False, True), repeat=2):
            active[[i, j]] = torch.tensor(signs)
            jacobian = second.weight.detach() @ (weight * active.unsqueeze(1))
            best = max(best, torch.linalg.matrix_norm(jacobian, 2).item())
    return best


@pytest.mark.parametrize("seed", range(3))
def test_reaches_the_constant_of_small_piecewise_linear_nets(seed):
    net = seeded(lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)).double(), seed)
    exact = exact_constant(net)
    found = search_lower_bound(net, normal(40, 2, **F64), radius=20.0, starts=32, steps=60)
    assert 0.99 * exact <= found.value <= exact * (1 + 1e-9)


def test_smooth_activations_are_climbed_by_their_gradient():
    """|d/dx w2 tanh(w1 x)| is largest at 0, which the points are far from."""
    net = seeded(lambda: nn.Sequential(nn.Linear(3, 1, bias=False), nn.Tanh(), nn.Linear(1, 2)).double())
    net[0].weight.data *= 8
    exact = net[0].weight.norm().item() * net[2].weight.norm().item()
    x = 1 + normal(5, 3, **F64).abs()
    found = search_lower_bound(net, x, radius=10.0, starts=4, steps=40)
    assert found.start_value < 0.9 * exact
    assert found.value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("ord", [1, 2, math.inf])
def test_improves_on_the_data_by_several_per_cent_and_stays_below_the_certified_bound(ord):
    net, x = trained()
    found = search_lower_bound(net, x, radius=1.0, ord=ord, starts=16, steps=40)
    assert found.start_value == lower_bound(net, x, ord=ord).max
    assert found.value > 1.04 * found.start_value
    assert found.value <= upper_bound(net, (10,), ord=ord).value
    assert found.value == jacobian_norms(net, found.point.unsqueeze(0), ord=ord).item()
    assert (found.point - x).norm(dim=1).min() <= 1.0 + 1e-6
    assert found.evaluations > len(x)


def test_random_moves_alone_improve_where_no_module_can_be_rounded():
    class Functional(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            first, _, second, _, third, _ = self.net
            return third(torch.relu(second(torch.relu(first(x)))))

    net, x = trained()
    found = search_lower_bound(Functional(net), x, radius=1.0, starts=16, steps=40)
    assert found.value > 1.02 * found.start_value


def test_stays_inside_the_domain():
    net, _ = trained(16, 30)
    x = torch.rand(50, 10, generator=torch.Generator().manual_seed(0))
    low = torch.zeros(10)
    inside = search_lower_bound(net, x, radius=5.0, domain=(low, 1.0), starts=8, steps=20)
    assert ((inside.point >= 0) & (inside.point <= 1)).all()
    free = search_lower_bound(net, x, radius=5.0, starts=8, steps=20)
    assert ((free.point < 0) | (free.point > 1)).any()


def test_equal_calls_give_equal_results_and_seeds_differ():
    net, x = trained()
    calls = [search_lower_bound(net, x, radius=1.0, starts=4, steps=10, seed=s) for s in (0, 0, 1)]
    assert calls[0].value == calls[1].value
    assert torch.equal(calls[0].point, calls[1].point)
    assert not torch.equal(calls[0].point, calls[2].point)


def test_leaves_model_points_and_random_state_as_they_were():
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
        )
    )
    net.train()
    x = normal(6, 1, 6, 6)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    before, random = x.clone(), torch.get_rng_state()
    found = search_lower_bound(net, x, radius=1.0, starts=3, steps=3)
    assert found.point.shape == (1, 6, 6)
    assert found.value >= found.start_value
    assert not found.point.requires_grad
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert torch.equal(random, torch.get_rng_state())


def test_no_steps_and_linear_nets_give_the_value_of_the_data():
    net, x = trained(16, 30)
    still = search_lower_bound(net, x, radius=1.0, steps=0)
    assert still.value == still.start_value == lower_bound(net, x).max
    assert torch.equal(still.point, x[lower_bound(net, x).argmax])
    linear = nn.Linear(10, 3)
    assert search_lower_bound(linear, x, radius=1.0, steps=3).value == pytest.approx(
        torch.linalg.matrix_norm(linear.weight, 2).item(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"radius": 0.0}, "radius must be positive and finite"),
        ({"radius": math.inf}, "give its diagonal"),
        ({"starts": 0}, "starts must be at least 1"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"ord": 3}, "ord must be 1, 2 or inf"),
        ({"x": torch.ones(4)}, "x must be"),
        ({"x": torch.ones(2, 10, dtype=torch.int64)}, "floating"),
        ({"x": torch.full((2, 10), math.nan)}, "NaN"),
        ({"domain": (1.0, 0.0)}, "low <= high"),
        ({"domain": (0.0, 1.0)}, "points lie outside of the domain"),
        ({"domain": (torch.zeros(3), 1.0)}, "does not broadcast"),
    ],
)
def test_bad_arguments_are_explained(changes, words):
    arguments = {"x": normal(4, 10), "radius": 1.0} | changes
    with pytest.raises(ValueError, match=words):
        search_lower_bound(nn.Linear(10, 2), **arguments)
    net = nn.Linear(10, 2)
    net.weight.data[:] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        search_lower_bound(net, normal(4, 10), radius=1.0)
