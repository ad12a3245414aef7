"""What has no Jacobian is refused, what has one is not, and norms hold at the edges of the numbers."""

import math

import pytest
import torch
from torch import nn

from lipbounds.bounds import lower_bound
from lipbounds.bounds.extended import lower_bound_over
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.bounds.search import search_lower_bound
from lipbounds.jacobian import JacobianNorms, jacobian_norms
from lipbounds.kinks import norms_beside_kinks

pytestmark = pytest.mark.usefixtures("single_threaded")

F64 = {"dtype": torch.float64}

CALLS = {
    "norms": lambda model, x: jacobian_norms(model, x).max().item(),
    "lower": lambda model, x: lower_bound(model, x).max,
    "stream": lambda model, x: lower_bound_over(model, [x]).max,
    "search": lambda model, x: search_lower_bound(model, x, radius=1.0, starts=2, steps=4).value,
}
ALL_CALLS = {**CALLS, "pairs": lambda model, x: pairwise_lower_bound(model, x).value}


def points(*shape, seed=0, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dense", [True, False])
def test_points_that_are_not_finite_are_named(call, bad, dense):
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU() if dense else nn.Tanh()))
    x = points(7, 4)
    x[[3, 5], 2] = bad
    with pytest.raises(ValueError, match=r"2 of 7 points have NaN or infinite.*point 3; leave"):
        CALLS[call](model, x)


def test_large_finite_points_are_not_taken_for_infinite_ones():
    x = torch.full((8, 4), torch.finfo(torch.float32).max)
    assert jacobian_norms(nn.Sequential(nn.Linear(4, 3)), x).isfinite().all()


MIXING = {
    "BatchNorm of the batch": lambda: nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)
    ),
    "BatchNorm2d of the batch": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()
    ),
    "minus the mean": lambda: Function(lambda x: x - x.mean(0)),
    "minus a little of the mean": lambda: Function(lambda x: x - 1e-3 * x.mean(0)),
    "softmax over points": lambda: Function(lambda x: x.softmax(0)),
    "next point": lambda: Function(lambda x: x + x.roll(1, 0)),
    "attention among points": lambda: Function(lambda x: (x @ x.T).softmax(1) @ x),
}


@pytest.mark.parametrize("call", ALL_CALLS)
@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("number", [1, 6])
def test_samples_that_mix_are_refused(name, call, number):
    if call == "pairs" and number == 1:
        return
    with pytest.raises(ValueError, match=r"(changes with the other points|not one alone).*samples mix"):
        ALL_CALLS[call](seeded(MIXING[name]), points(number, 4))


def test_batch_norm_with_running_statistics_passes():
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    model(points(20, 4))
    model.eval()
    weight = model[2].weight * (model[1].weight / (model[1].running_var + model[1].eps).sqrt())
    expected = torch.linalg.matrix_norm((weight @ model[0].weight).detach().double(), 2).item()
    assert lower_bound(model.train(), points(5, 4)).max == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("call", ALL_CALLS)
def test_random_models_are_refused_and_the_random_state_stays(call):
    model = Function(lambda x: nn.functional.dropout(x))
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"two calls .* different outputs.*training=self.training"):
        ALL_CALLS[call](model, points(6, 4))
    assert torch.equal(torch.get_rng_state(), state)


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 0.9 * gradient


LIES = {
    "reversed": lambda: Function(Reversal.apply),
    "straight through": lambda: nn.Sequential(nn.Linear(4, 5), Function(Straight.apply)),
    "scaled": lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), Function(Scaled.apply)),
    "detached": lambda: Function(lambda x: x * x.detach()),
    "without a graph": lambda: nn.Sequential(nn.Linear(4, 5), Function(torch.no_grad()(torch.tanh))),
    "insists on float32": lambda: Function(lambda x: Scaled.apply(0.5 * x.float()) @ torch.eye(4)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", LIES)
def test_gradients_that_contradict_outputs_are_refused(name, call):
    with pytest.raises(ValueError, match="gradients contradict outputs at all"):
        CALLS[call](seeded(LIES[name]), points(6, 4))


class Relu(torch.autograd.Function):
    """Right, without a second derivative, and for float32 only."""

    @staticmethod
    def forward(ctx, x):
        assert x.dtype == torch.float32
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


TRUTHFUL = {
    "no second derivative": lambda: nn.Sequential(nn.Linear(4, 5), Function(Relu.apply)),
    "kinks at zero": lambda: nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Tanh()),
    "jumps": lambda: Function(lambda x: torch.where(x[:, :1] > 0, x, 2 * x + 1)),
    "steps": lambda: Function(lambda x: x.sign()),
    "steps and slopes": lambda: Function(lambda x: x + 0.1 * x.round()),
    "quick waves": lambda: Function(lambda x: (1e4 * x).sin()),
    "far from zero": lambda: Function(lambda x: 1e4 + 1e-2 * x.tanh()),
    "huge": lambda: Function(lambda x: 1e25 * x),
    "tiny": lambda: Function(lambda x: 1e-25 * x),
    "flat": lambda: Function(lambda x: 0 * x),
    "NaN in places": lambda: Function(lambda x: torch.where(x < -0.5, torch.nan, x.sin())),
    "deep": lambda: nn.Sequential(
        *[part for _ in range(30) for part in (nn.Linear(4, 4, bias=False), nn.LeakyReLU(0.5))],
        nn.Softmax(1),
    ),
}


@pytest.mark.parametrize("name", TRUTHFUL)
@pytest.mark.parametrize("where", ["anywhere", "one", "zero", "the same", "small", "large"])
def test_models_with_a_jacobian_pass(name, where):
    x = {
        "anywhere": points(6, 4),
        "one": points(1, 4),
        "zero": torch.zeros(2, 4),
        "the same": torch.ones(3, 4),
        "small": 1e-6 * points(5, 4),
        "large": 1e4 * points(5, 4),
    }[where]
    assert len(jacobian_norms(seeded(TRUTHFUL[name]), x)) == len(x)


class Flat(nn.Module):
    """Outputs near one that change by so little that they show it between noise and curvature alone."""

    def __init__(self, size, frequency, seed):
        super().__init__()
        self.weight = nn.Parameter(points(3, 6, seed=seed))
        self.size, self.frequency = size, frequency

    def forward(self, x):
        return 1 + self.size * torch.sin(self.frequency * (x @ self.weight.T))


@pytest.mark.parametrize(
    ("size", "frequency", "seed"),
    [(2e-12, 150, 1), (2e-12, 150, 10), (5e-11, 150, 12), (1e-11, 300, 13)],
)
def test_a_quotient_that_agrees_with_noise_by_chance_says_nothing(size, frequency, seed):
    x = points(2, 6, seed=seed + 10**6)
    assert lower_bound(Flat(size, frequency, seed), x).max > 0


def test_an_operator_without_second_derivative_has_the_norms_of_its_twin():
    first, second = seeded(lambda: (nn.Linear(4, 150), nn.Linear(150, 120)))
    model, x = nn.Sequential(first, Function(Relu.apply), second), points(5, 4)
    expected = jacobian_norms(nn.Sequential(first, nn.ReLU(), second), x)
    assert torch.allclose(jacobian_norms(model, x), expected, rtol=1e-6)
    wide = seeded(lambda: nn.Sequential(nn.Linear(4, 110), first.__class__(110, 150)))
    inner = nn.Sequential(wide[1], Function(Relu.apply))
    expected = jacobian_norms(nn.Sequential(wide[1], nn.ReLU()), points(5, 110))
    assert torch.allclose(jacobian_norms(inner, points(5, 110)), expected, rtol=1e-6)


def constant(x):
    """0 everywhere; autograd's slope at 0 is 1."""
    return x - x.relu() + (-x).relu()


@pytest.mark.parametrize("where", [0.0, 1.5])
@pytest.mark.parametrize("call", ["lower", "stream", "search"])
def test_slopes_that_only_a_kink_has_are_not_reported(call, where):
    model, x = Function(lambda x: constant(x - where) + 0.25 * x), torch.full((3, 2), where)
    assert jacobian_norms(model, x).max() == pytest.approx(1.25)
    assert CALLS[call](model, x) == pytest.approx(0.25)


def test_the_other_points_stay_when_one_is_on_a_kink():
    model = Function(lambda x: constant(x) + x.square())
    x = torch.tensor([[0.1], [0.0], [0.4]], **F64)
    norms = norms_beside_kinks(JacobianNorms(model, x), x)
    assert torch.allclose(norms, torch.tensor([0.2, 0.0, 0.8], **F64), atol=1e-9)
    found = lower_bound(model, x)
    assert (found.max, found.argmax) == (pytest.approx(0.8), 2)
    assert found.mean == pytest.approx(1 / 3)


def test_smooth_maxima_and_regular_points_keep_their_norms():
    for function in (torch.tanh, torch.relu, torch.sin):
        x = torch.tensor([[0.0, 0.0], [0.3, -0.2]], **F64)
        norms = jacobian_norms(Function(function), x)
        assert lower_bound(Function(function), x).max == norms.max().item()


@pytest.mark.parametrize("domain", [(0.0, 1.0), None])
def test_the_search_stays_in_ball_and_domain_when_it_leaves_a_kink(domain):
    model, x = Function(lambda x: constant(x) + 0.25 * x), torch.zeros(2, 3)
    found = search_lower_bound(model, x, radius=1e-4, domain=domain, starts=2, steps=2)
    assert found.value == pytest.approx(0.25)
    assert found.point.norm() <= 1e-4 * (1 + 1e-6)
    if domain:
        assert found.point.min() >= 0


@pytest.mark.parametrize("exponent", [-250, -200, -160, 0, 150, 200, 250])
@pytest.mark.parametrize("shape", [(1, 6), (3, 6), (6, 3), (150, 140)])
@pytest.mark.parametrize("dense", [True, False])
def test_extreme_float64_entries(exponent, shape, dense):
    linear = nn.Linear(shape[1], shape[0], bias=False).double()
    unit = points(*shape, **F64)
    linear.weight.data = unit * 10.0**exponent
    model = nn.Sequential(linear) if dense else Function(lambda x: linear(x))
    expected = torch.linalg.matrix_norm(unit, 2).item() * 10.0**exponent
    assert jacobian_norms(model, points(2, shape[1], **F64)).tolist() == pytest.approx(
        [expected] * 2, rel=1e-10, abs=0
    )


def test_points_of_different_scales_side_by_side():
    x = torch.tensor([[1e-200, 0.0], [1.0, 0.0], [1e200, 1e200]], **F64)
    model = Function(lambda x: 0.5 * x.square())
    assert jacobian_norms(model, x).tolist() == pytest.approx([1e-200, 1.0, 1e200], rel=1e-12, abs=0)


def test_float32_entries_at_the_ends_of_their_range():
    for scale in (1e-40, 1e-30, 1e30, 1e38):
        model = Function(lambda x, scale=scale: scale * x)
        scaled = torch.tensor(scale).item()
        assert jacobian_norms(model, points(2, 3)).tolist() == pytest.approx(
            [scaled] * 2, rel=1e-6, abs=0
        )
