"""Penalties and constraints on stacks: their bounds, gradients and corner cases."""

import math

import pytest
import torch
from tests.unit.engine import CPU, CROSS_ENTROPY, fcn, optimiser, penalty, points
from torch import nn

from lipbounds.gram_iteration import gram_norm_and_gradient
from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm.gram import gram_norm
from nets.models.fcn import LEAKY_SLOPE, linear_weights, seeded_fcn
from nets.training.penalties.jacobian_penalty import Scratch, find_peak
from nets.training.penalties.spectral_cap import cap_norms, norm_bounds
from nets.training.recipe import Layers, Recipe
from nets.training.stacked import Stacked

pytestmark = pytest.mark.usefixtures("single_threaded")

DEPTHS = [(24,), (24, 16), (14, 20, 16)]


@torch.no_grad()
def train(stack, data, epochs, rate=0.1):
    prepared = stack.prepare(data, 50)
    for _ in range(epochs):
        stack.train_epoch(prepared, [rate] * 3, None, (0,))


def norm_products(stack):
    norms = [torch.linalg.matrix_norm(w.double(), 2) for w in stack.weights]
    return torch.stack(norms).prod(0)


@pytest.mark.parametrize("shape", [(4, 30, 8), (4, 8, 30), (4, 64, 64), (4, 1, 7)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_norm_bounds_are_close_and_not_below(shape, scale):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    matrices[0] = torch.eye(*shape[1:]) * scale  # the worst case: all singular values equal
    exact = torch.linalg.matrix_norm(matrices.double(), 2)
    ratio = norm_bounds(matrices) / exact
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() <= 1.0005


def test_norm_bounds_of_zero_and_of_nan():
    matrices = torch.zeros(2, 3, 4)
    matrices[1, 0, 0] = math.nan
    bounds = norm_bounds(matrices)
    assert 0 <= bounds[0] < 1e-15
    assert bounds[1].isnan()
    cap_norms([matrices], 1.0)
    assert not matrices[0].any()
    assert matrices[1, 0, 0].isnan()


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("adam", [False, True])
def test_cap_holds_from_the_start_and_is_reached(hidden, adam):
    options = {"optimiser": optimiser("adam")} if adam else {}
    recipe = Recipe(CROSS_ENTROPY, penalties=[penalty("spectral_cap", cap=1.0)], **options)
    stack = Stacked(fcn(hidden), recipe, CPU)
    assert norm_products(stack).max() <= 1 + 1e-5
    train(stack, points(), 80, 0.02 if adam else 0.3)
    assert norm_products(stack).max() <= 1 + 1e-5
    assert norm_products(stack).min() >= 0.997


def test_cap_that_is_never_met_changes_nothing():
    recipes = [
        Recipe(CROSS_ENTROPY, penalties=each) for each in ([], [penalty("spectral_cap", cap=1e6)])
    ]
    stacks = [Stacked(fcn(), recipe, CPU) for recipe in recipes]
    for stack in stacks:
        train(stack, points(), 3)
    assert all(torch.equal(*pair) for pair in zip(*(s.weights for s in stacks), strict=True))


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 5), (4, 4)])
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_gradient_without_autograd_is_that_of_autograd(shape, steps):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, gradient = gram_norm_and_gradient(weight, steps=steps)
    leaf = weight.clone().requires_grad_()
    expected = gram_norm(leaf, steps=steps)
    expected.sum().backward()
    assert torch.equal(value, expected.detach())
    assert torch.allclose(gradient, leaf.grad, rtol=1e-12)
    assert not gradient.requires_grad


def test_threshold_decides_layer_by_layer_and_seed_by_seed():
    weights = [torch.eye(3).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1)]
    weights[0][1] *= 4
    weights[1][0] *= 2
    own = penalty("regularisation", strength=0.5, threshold=2.5, steps=20).stacked()
    term = own.term(Layers(weights, [], 1.0))
    assert term.values.tolist() == pytest.approx([0, 2], rel=1e-4)
    gradients = [torch.zeros_like(w) for w in weights]
    term.add_gradient(gradients, 10.0)
    assert [[bool(g.any()) for g in layer] for layer in gradients] == [[False, True], [False, False]]


def test_a_stronger_penalty_leaves_smaller_norms():
    sums = []
    for strength in (0.0, 0.03, 0.3):
        own = [penalty("regularisation", strength=strength, threshold=0.0, steps=6)] if strength else []
        stack = Stacked(fcn(), Recipe(CROSS_ENTROPY, penalties=own), CPU)
        train(stack, points(), 60, 0.2)
        sums.append(sum(torch.linalg.matrix_norm(w, 2).sum().item() for w in stack.weights))
    assert sums[0] > 1.1 * sums[1] > 1.2 * sums[2]


def reference_peak(model, x):
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: model(p[None])[0]))(x)
    return torch.linalg.matrix_norm(jacobian, 2).max()


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("output", ["relu", "leaky_relu", "identity"])
@pytest.mark.parametrize("clip", [math.inf, 0.3])
def test_jacobian_penalty_has_the_trajectory_of_autograd(hidden, output, clip):
    data, models = points(), fcn(hidden, output)
    recipe = Recipe(
        CROSS_ENTROPY,
        clip_norm=clip,
        temperature=2.0,
        penalties=[penalty("jacobian_penalty", strength=0.3)],
    )
    stack = Stacked(models, recipe, CPU)
    train(stack, data, 2)
    for seed, model in enumerate(models):
        own = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            for x, y in zip(data.x.split(50), data.y.split(50), strict=True):
                own.zero_grad()
                loss = nn.functional.cross_entropy(2 * model(x), y)
                (loss + 0.3 * reference_peak(model, x)).backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                own.step()
        for expected, found in zip(linear_weights(model), stack.weights, strict=True):
            assert torch.allclose(found[seed], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("hidden", DEPTHS)
def test_gradient_of_the_peak_against_finite_differences(hidden):
    x = points().x.double()
    model = seeded_fcn(0, 12, hidden, 5, activation_on_output="leaky_relu").double()
    weights = [w.detach().unsqueeze(0) for w in linear_weights(model)]
    generator = torch.Generator().manual_seed(1)

    def peak():
        outputs, below = [], x.T.unsqueeze(0)
        for weight in weights:
            slope = LEAKY_SLOPE if weight is weights[-1] else 0.0
            outputs.append(nn.functional.leaky_relu(weight @ below, slope))
            below = outputs[-1]
        return find_peak(weights, outputs, LEAKY_SLOPE, Scratch())

    with torch.no_grad():
        at = peak()
        assert at.norm.item() == pytest.approx(jacobian_norms(model, x).max().item(), rel=1e-12)
        for layer, weight in enumerate(weights):
            direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight += 1e-6 * direction
            above = peak().norm.item()
            weight -= 2e-6 * direction
            slope = (above - peak().norm.item()) / 2e-6
            weight += 1e-6 * direction
            gradient = at.above[layer].unsqueeze(2) * at.below[layer].unsqueeze(1)
            assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("both", [False, True])
def test_evaluation_adds_the_penalties_up_over_all_points(both):
    data, models = points(), fcn()
    own = [penalty("jacobian_penalty", strength=0.3)]
    own += [penalty("regularisation", strength=0.2, threshold=0.0, steps=0)] if both else []
    stack = Stacked(models, Recipe(CROSS_ENTROPY, penalties=own), CPU)
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(data, 50), gradient=True)
    for seed, model in enumerate(models):
        extra = 0.3 * reference_peak(model, data.x)
        if both:
            extra = extra + 0.2 * sum(w.norm() for w in model.parameters())
        loss = nn.functional.cross_entropy(model(data.x), data.y)
        (loss + extra).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert found.mean_loss(seed) == pytest.approx(loss.item(), rel=1e-5)
        assert found.penalty[seed] == pytest.approx(extra.item(), rel=1e-5)
        assert found.gradient_norm[seed] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_peak_of_dead_and_of_diverged_nets_is_zero():
    own = [penalty("jacobian_penalty", strength=0.3)]
    stack = Stacked(fcn((24,), "relu"), Recipe(CROSS_ENTROPY, penalties=own), CPU)
    stack.weights[1][0] = -stack.weights[1][0].abs()
    stack.weights[0][1] = math.nan
    with torch.no_grad():
        found = stack.evaluate(stack.prepare(points(), 50), gradient=True)
    assert found.penalty[:2] == [0, 0]
    assert found.penalty[2] > 0
    assert math.isfinite(found.gradient_norm[0])
    assert math.isnan(found.loss[1])
