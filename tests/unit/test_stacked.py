"""The stacked forward and backward passes against autograd, torch.optim and torch's clipping."""

import math

import pytest
import torch
from torch import nn

from nets.models.fcn import LEAKY_SLOPE, linear_weights, seeded_fcn
from nets.training.epochs import EpochRunner, make_batches
from nets.training.loss import loss_named
from nets.training.stacked import StackedFCN

SLOPES = {"relu": 0.0, "leaky_relu": LEAKY_SLOPE, "identity": 1.0}

CASES = [
    ([64], "relu", "cross_entropy", math.inf),
    ([64], "relu", "cross_entropy", 0.3),
    ([48], "leaky_relu", "mean_squared_error", 0.3),
    ([16, 32, 24], "relu", "cross_entropy", 50.0),
    ([20, 20], "identity", "mean_squared_error", math.inf),
]


def data(points=400):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(points, 40, generator=generator)
    return x, torch.randint(0, 10, (points,), generator=generator)


def build(hidden, output, loss, clip, seeds=3, largest_batch=96):
    models = [seeded_fcn(s, 40, hidden, 10, activation_on_output=output) for s in range(seeds)]
    weights = [torch.stack(layer) for layer in zip(*map(linear_weights, models), strict=True)]
    stack = StackedFCN(
        weights,
        output_slope=SLOPES[output],
        loss=loss_named(loss),
        clip_norm=clip,
        largest_batch=largest_batch,
    )
    return models, stack


def reference_loss(name, logits, y):
    if name == "cross_entropy":
        return nn.functional.cross_entropy(logits, y)
    onehot = nn.functional.one_hot(y, 10).float()
    return nn.functional.mse_loss(logits, onehot, reduction="sum") / len(y)


def batches(x, y, size):
    return make_batches(x.T, nn.functional.one_hot(y, 10).float().T, size)


@torch.no_grad()
def run_epochs(stack, x, y, epochs, rate=0.1, size=96):
    runner = EpochRunner(stack, batches(x, y, size))
    for _ in range(epochs):
        runner.run([rate] * -(-len(y) // size))


@pytest.mark.parametrize(("hidden", "output", "loss", "clip"), CASES)
def test_same_trajectory_as_plain_pytorch(hidden, output, loss, clip):
    x, y = data()
    models, stack = build(hidden, output, loss, clip)
    run_epochs(stack, x, y, 6)
    for seed, model in enumerate(models):
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(6):
            for x_batch, y_batch in zip(x.split(96), y.split(96), strict=True):
                optimiser.zero_grad()
                reference_loss(loss, model(x_batch), y_batch).backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimiser.step()
        for expected, found in zip(linear_weights(model), stack.weights, strict=True):
            assert torch.allclose(found[seed], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("hidden", "output", "loss", "clip"), CASES)
def test_evaluation_matches_autograd(hidden, output, loss, clip):
    x, y = data()
    models, stack = build(hidden, output, loss, clip)
    with torch.no_grad():
        found = stack.evaluate(batches(x, y, 96), gradient=True)
    for seed, model in enumerate(models):
        logits = model(x)
        value = reference_loss(loss, logits, y)
        value.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert found.loss[seed] == pytest.approx(value.item(), rel=1e-5)
        assert found.error[seed] == pytest.approx((logits.argmax(1) != y).float().mean().item())
        assert found.gradient_norm[seed] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_evaluation_changes_no_weight_and_leaves_out_gradients_unless_asked():
    x, y = data()
    _, stack = build([32], "relu", "cross_entropy", 50.0)
    before = [w.clone() for w in stack.weights]
    with torch.no_grad():
        found = stack.evaluate(batches(x, y, 96), gradient=False)
    assert all(math.isnan(norm) for norm in found.gradient_norm)
    assert all(torch.equal(a, b) for a, b in zip(before, stack.weights, strict=True))


def test_selected_nets_go_on_as_if_nothing_had_happened():
    x, y = data()
    _, whole = build([32], "relu", "cross_entropy", 50.0)
    run_epochs(whole, x, y, 2)
    part = whole.select([2, 0])
    run_epochs(whole, x, y, 2)
    run_epochs(part, x, y, 2)
    for all_seeds, some in zip(whole.weights, part.weights, strict=True):
        assert torch.allclose(all_seeds[[2, 0]], some, rtol=1e-4, atol=1e-6)


def test_each_net_is_clipped_by_its_own_norm():
    x, y = data()
    _, stack = build([32], "identity", "mean_squared_error", 1.0)
    for weight in stack.weights:
        weight[1] *= 10
    before = [w.clone() for w in stack.weights]
    run_epochs(stack, x[:96], y[:96], 1, rate=1.0)
    steps = [(a - b).flatten(1).square().sum(1) for a, b in zip(before, stack.weights, strict=True)]
    lengths = sum(steps).sqrt()
    assert lengths == pytest.approx([1.0] * 3, rel=1e-3)


def test_finite_sees_nan_per_net():
    _, stack = build([8], "relu", "cross_entropy", 50.0)
    stack.weights[1][1, 0, 0] = math.nan
    assert stack.finite() == [True, False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_replayed_graph_equals_single_launches_on_the_gpu():
    x, y = data()
    _, stack = build([64], "relu", "cross_entropy", 50.0)
    on_gpu = StackedFCN(
        [w.cuda() for w in stack.weights],
        output_slope=0.0,
        loss=loss_named("cross_entropy"),
        clip_norm=50.0,
        largest_batch=96,
    )
    run_epochs(stack, x, y, 5)
    run_epochs(on_gpu, x.cuda(), y.cuda(), 5)
    for cpu, gpu in zip(stack.weights, on_gpu.weights, strict=True):
        assert torch.allclose(cpu, gpu.cpu(), rtol=1e-3, atol=1e-5)
