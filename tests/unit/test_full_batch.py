"""Full-batch descent against autograd."""

import math

import pytest
import torch
from torch import nn

from nets.training.full_batch import FullBatchDescent
from nets.training.loss import loss_named
from pipeline.measuring.small_nets import seeded_mlp

pytestmark = pytest.mark.usefixtures("single_threaded")


def by_autograd(model, x, y, loss, rate, steps):
    """Plain gradient descent, and the gradient norm of the last step."""
    for _ in range(steps):
        gradients = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


def three_gaussians():
    """15 points (45, 2) around each of three means, and which one."""
    generator = torch.Generator().manual_seed(0)
    angles = [math.radians(angle) for angle in (-90, 30, 150)]
    means = [torch.tensor([1.5 * math.cos(angle), 1.5 * math.sin(angle)]) for angle in angles]
    x = torch.cat([mean + torch.randn(15, 2, generator=generator) for mean in means])
    return x, torch.arange(3).repeat_interleave(15)


def test_descent_follows_autograd():
    x, y = three_gaussians()
    model, other = (seeded_mlp([2, 100, 100, 3], 42) for _ in range(2))
    descent = FullBatchDescent(model, x, y, loss=loss_named("cross_entropy"), rate=0.02)
    descent.descend(150)
    descent.descend(50)
    norm = by_autograd(other, x, y, nn.functional.cross_entropy, 0.02, 200)
    assert descent.gradient_norm == pytest.approx(norm, rel=1e-4)
    for own, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert (own - expected).abs().max() < 5e-7  # float32: weights up to 1


def squared_error(logits, y):
    return (logits - nn.functional.one_hot(y, 2)).square().sum(1).mean()


def without_biases():
    torch.manual_seed(3)
    layers = [nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 5), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(5, 2, bias=False)).double()


def one_layer():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 2)).double()


@pytest.mark.parametrize("build", [without_biases, one_layer])
def test_descent_on_other_nets_and_losses(build):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (20,), generator=generator)
    model, other = build(), build()
    descent = FullBatchDescent(model, x, y, loss=loss_named("mean_squared_error"), rate=0.05)
    descent.descend(0)
    assert descent.gradient_norm == 0
    descent.descend(50)
    norm = by_autograd(other, x, y, squared_error, 0.05, 50)
    assert descent.gradient_norm == pytest.approx(norm, rel=1e-10)
    for own, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [nn.Linear(2, 3), nn.ReLU()],
        [nn.Linear(2, 3), nn.Linear(3, 2)],
        [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)],
    ],
)
def test_descent_refuses_other_models(layers):
    x, y = torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match="a ReLU between"):
        FullBatchDescent(nn.Sequential(*layers), x, y, loss=loss_named("cross_entropy"), rate=0.1)
