"""The stacked forward and backward passes against autograd, torch.optim and torch's clipping."""

import math

import pytest
import torch
from tests.unit.engine import CPU, biased, optimiser, penalty
from torch import nn

from lipbounds import products
from nets.models.fcn import LEAKY_SLOPE, seeded_fcn
from nets.training.loss import loss_named
from nets.training.points import Points
from nets.training.recipe import Recipe
from nets.training.stacked import Stacked, shape_of

pytestmark = pytest.mark.usefixtures("single_threaded")

CASES = [
    ([64], "relu", "cross_entropy", math.inf),
    ([64], "relu", "cross_entropy", 0.3),
    ([48], "leaky_relu", "mean_squared_error", 0.3),
    ([16, 32, 24], "relu", "cross_entropy", 50.0),
    ([20, 20], "identity", "mean_squared_error", math.inf),
    ([], "leaky_relu", "cross_entropy", math.inf),
]


@pytest.fixture(params=["oneDNN", "MKL"])
def library(request, monkeypatch):
    """Products by one library or the other, however small they are."""
    most = {"oneDNN": 0, "MKL": 1 << 60}[request.param]
    monkeypatch.setattr(products, "_LEAST_WORK", most)


def data(points=400):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(points, 40, generator=generator)
    return Points(x, torch.randint(0, 10, (points,), generator=generator))


def build(hidden, output, loss, clip, seeds=3, **more):
    models = [seeded_fcn(s, 40, hidden, 10, activation_on_output=output) for s in range(seeds)]
    return models, Stacked(models, Recipe(loss_named(loss), clip_norm=clip, **more), CPU)


def reference_loss(name, logits, y):
    if name == "cross_entropy":
        return nn.functional.cross_entropy(logits, y)
    onehot = nn.functional.one_hot(y, 10).float()
    return nn.functional.mse_loss(logits, onehot, reduction="sum") / len(y)


@torch.no_grad()
def run_epochs(stack, points, epochs, rate=0.1, size=96):
    prepared = stack.prepare(points, size)
    for _ in range(epochs):
        stack.train_epoch(prepared, [rate] * len(prepared.in_order), None, (0,))


def assert_same(stack, seed, model, **tolerance):
    state = model.state_dict()
    for name, found in stack.net(seed).items():
        assert torch.allclose(found, state[name], **tolerance), name


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("hidden", "output", "loss", "clip"), CASES)
def test_same_trajectory_as_plain_pytorch(hidden, output, loss, clip):
    points = data()
    models, stack = build(hidden, output, loss, clip)
    run_epochs(stack, points, 6)
    for seed, model in enumerate(models):
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(6):
            for x, y in zip(points.x.split(96), points.y.split(96), strict=True):
                optimiser.zero_grad()
                reference_loss(loss, model(x), y).backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimiser.step()
        assert_same(stack, seed, model, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("library")
def test_biases_are_trained_on_all_points_at_once_as_by_autograd():
    models = biased((40, 30, 20, 10))
    points = data(45)
    stack = Stacked(models, Recipe(loss_named("cross_entropy")), CPU)
    run_epochs(stack, points, 50, rate=0.3, size=45)
    for seed, model in enumerate(models):
        optimiser = torch.optim.SGD(model.parameters(), 0.3)
        for _ in range(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(points.x), points.y).backward()
            optimiser.step()
        assert_same(stack, seed, model, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("hidden", "output", "loss", "clip"), CASES)
def test_evaluation_matches_autograd(hidden, output, loss, clip):
    points = data()
    models, stack = build(hidden, output, loss, clip)
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(points, 96), gradient=True)
    for seed, model in enumerate(models):
        logits = model(points.x)
        value = reference_loss(loss, logits, points.y)
        value.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert found.mean_loss(seed) == pytest.approx(value.item(), rel=1e-5)
        wrong = (logits.argmax(1) != points.y).float().mean().item()
        assert found.error(seed) == pytest.approx(wrong)
        assert found.gradient_norm[seed] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_evaluation_changes_no_weight_and_leaves_out_gradients_unless_asked():
    _, stack = build([32], "relu", "cross_entropy", 50.0)
    before = [w.clone() for w in stack.weights]
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(data(), 96), gradient=False)
    assert all(math.isnan(norm) for norm in found.gradient_norm)
    assert found.penalty is None
    assert all(torch.equal(a, b) for a, b in zip(before, stack.weights, strict=True))


def test_points_with_values_have_no_errors():
    x = torch.randn(30, 12)
    values = Points(x, x[:, :5] * 2)
    stack = Stacked(biased(), Recipe(loss_named("mean_squared_error")), CPU)
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(values, 7), gradient=True)
    assert all(math.isnan(number) for number in found.wrong)
    expected = (biased()[0](x) - values.y).square().sum(1).mean().item()
    assert found.mean_loss(0) == pytest.approx(expected, rel=1e-5)


MORE = {
    "sgd": {},
    "momentum": {"optimiser": optimiser("sgd", momentum=0.9)},
    "adam": {"optimiser": optimiser("adam")},
    "capped": {"penalties": [penalty("spectral_cap", cap=2.0)]},
}


@pytest.mark.parametrize("name", MORE)
def test_selected_nets_go_on_as_if_nothing_had_happened(name):
    points = data()
    whole, part = (
        build([32], "relu", "cross_entropy", 50.0, track_path=True, **MORE[name])[1] for _ in range(2)
    )
    for stack in (whole, part):
        run_epochs(stack, points, 2, rate=0.01)
    part.select([2, 0])
    assert len(part) == 2
    for stack in (whole, part):
        run_epochs(stack, points, 2, rate=0.01)
    for all_seeds, some in zip(whole.weights, part.weights, strict=True):
        assert torch.allclose(all_seeds[[2, 0]], some, rtol=1e-4, atol=1e-6)
    chosen = [whole.path.length[2], whole.path.length[0]]
    assert part.path.length == pytest.approx(chosen, rel=1e-4)


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("clip", [math.inf, 0.5])
def test_path_is_the_sum_of_the_steps(name, clip):
    points = data(200)
    _, stack = build([24, 16], "identity", "cross_entropy", clip, track_path=True, **MORE[name])
    length, largest = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(4):
            for x, y in zip(points.x.split(96), points.y.split(96), strict=True):
                one = stack.prepare(Points(x, y), 96)
                before = [w.double() for w in stack.weights]
                gradient = torch.tensor(stack.evaluate(one, gradient=True).gradient_norm)
                stack.train_epoch(one, [0.05], None, (0,))
                steps = [(w - b).flatten(1) for w, b in zip(stack.weights, before, strict=True)]
                length += torch.cat(steps, 1).norm(dim=1)
                largest = torch.maximum(largest, gradient.double().clamp(max=clip))
    assert stack.path.length == pytest.approx(length.tolist(), rel=1e-4)
    assert stack.path.largest_gradient == pytest.approx(largest.tolist(), rel=1e-4)


@pytest.mark.parametrize("name", MORE)
def test_tracking_changes_no_weight(name):
    stacks = [
        build([24], "identity", "cross_entropy", 0.5, track_path=track, **MORE[name])[1]
        for track in (False, True)
    ]
    for stack in stacks:
        run_epochs(stack, data(), 1)
    assert all(torch.equal(*pair) for pair in zip(*(s.weights for s in stacks), strict=True))
    assert stacks[0].path is None


def test_each_net_is_clipped_by_its_own_norm():
    points = data(96)
    _, stack = build([32], "identity", "mean_squared_error", 1.0)
    for weight in stack.weights:
        weight[1] *= 10
    before = [w.clone() for w in stack.weights]
    run_epochs(stack, points, 1, rate=1.0)
    steps = [(a - b).flatten(1).square().sum(1) for a, b in zip(before, stack.weights, strict=True)]
    lengths = sum(steps).sqrt()
    assert lengths == pytest.approx([1.0] * 3, rel=1e-3)


def test_finite_sees_nan_per_net():
    _, stack = build([8], "relu", "cross_entropy", 50.0)
    stack.weights[1][1, 0, 0] = math.nan
    assert stack.finite() == [True, False, True]


@pytest.mark.parametrize(
    ("net", "stacks"),
    [
        (nn.Sequential(nn.Linear(3, 2)), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)), True),
        (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(LEAKY_SLOPE)), True),
        (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(2.0)), False),
        (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.1), nn.Linear(2, 2)), False),
        (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), False),
        (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), False),
        (nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), False),
        (nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1), nn.Linear(2, 2)), False),
        (nn.Sequential(nn.Linear(3, 2).double()), False),
        (nn.Linear(3, 2), False),
        (nn.Sequential(), False),
    ],
)
def test_what_can_be_stacked(net, stacks):
    assert (shape_of(net) is not None) is stacks
    if not stacks:
        with pytest.raises(ValueError, match="can be stacked"):
            Stacked([net], Recipe(loss_named("cross_entropy")), CPU)


def shared_activation():
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(40, 8), relu, nn.Linear(8, 10), relu)


def test_an_activation_that_occurs_twice_is_there_twice():
    points, net = data(90), shared_activation()
    assert shape_of(net).output_slope == 0
    stack = Stacked([net], Recipe(loss_named("cross_entropy")), CPU)
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(points, 50), gradient=False)
    expected = nn.functional.cross_entropy(net(points.x), points.y).item()
    assert found.mean_loss(0) == pytest.approx(expected, rel=1e-5)


def hooked(register, value):
    net = shared_activation()
    getattr(net[0], register)(value)
    return net


def changed(change):
    net = shared_activation()
    change(net)
    return net


def tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    return net


TWICE = nn.Linear(4, 4)
NOT_WHAT_IT_LOOKS = {
    "a layer that occurs twice": nn.Sequential(TWICE, nn.ReLU(), TWICE),
    "forward hook": hooked("register_forward_hook", lambda module, inputs, output: 2 * output),
    "forward pre-hook": hooked("register_forward_pre_hook", lambda module, inputs: None),
    "backward hook": hooked("register_full_backward_hook", lambda module, inputs, outputs: None),
    "parameter hook": changed(lambda net: net[0].weight.register_hook(lambda gradient: 2 * gradient)),
    "frozen": changed(lambda net: net[0].weight.requires_grad_(False)),
    "parametrised": changed(lambda net: nn.utils.parametrizations.weight_norm(net[0])),
    "tied": tied(),
    "flattened in part": nn.Sequential(nn.Flatten(2), nn.Linear(40, 10)),
}


@pytest.mark.parametrize("name", NOT_WHAT_IT_LOOKS)
def test_what_is_not_all_that_a_stack_would_do_is_not_stacked(name):
    assert shape_of(NOT_WHAT_IT_LOOKS[name]) is None


@pytest.mark.usefixtures("library")
def test_what_is_not_a_number_stays_so():
    """A ReLU that makes 0 of NaN would hide a net whose products have overflowed."""
    models = [seeded_fcn(0, 40, [64], 10, activation_on_output="identity")]
    points = data(90)
    points.x[7] = math.nan
    assert models[0](points.x)[7].isnan().all()
    stack = Stacked(models, Recipe(loss_named("cross_entropy")), CPU)
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(points, 90), gradient=True)
    assert math.isnan(found.loss[0])
    assert math.isnan(found.gradient_norm[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MORE)
def test_the_gpu_finds_the_same(name):
    models, stack = build([64], "relu", "cross_entropy", 50.0, **MORE[name])
    recipe = Recipe(loss_named("cross_entropy"), clip_norm=50.0, **MORE[name])
    on_gpu = Stacked(models, recipe, torch.device("cuda"))
    for each in (stack, on_gpu):
        run_epochs(each, data(), 5, rate=0.01)
    for cpu, gpu in zip(stack.weights, on_gpu.weights, strict=True):
        assert torch.allclose(cpu, gpu.cpu(), rtol=1e-3, atol=1e-5)
