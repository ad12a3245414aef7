"""Any net, trained by autograd: against loops written by hand, and what it leaves alone."""

import math

import pytest
import torch
from tests.unit.engine import (
    CLASSES,
    CPU,
    CROSS_ENTROPY,
    biased,
    convolutional,
    fcn,
    optimiser,
    penalty,
    points,
    settings_of,
)
from torch import nn

from lipbounds.operator_norm.gram import gram_norm, toeplitz_gram_norm
from nets.training.assemble import assemble, why_not_stacked
from nets.training.plain import Plain
from nets.training.points import Points
from nets.training.recipe import Penalty, Recipe

pytestmark = pytest.mark.usefixtures("single_threaded")

IMAGES = (3, 8, 8)


def by_hand(net, data, epochs, make, clip=math.inf):
    own = make(net.parameters())
    for _ in range(epochs):
        for x, y in zip(data.x.split(25), data.y.split(25), strict=True):
            own.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            nn.utils.clip_grad_norm_(net.parameters(), clip)
            own.step()
    return net


def trained(nets, recipe, data, epochs, rate, order=None):
    ensemble = Plain(nets, recipe, CPU, CLASSES)
    prepared = ensemble.prepare(data, 25)
    with torch.no_grad():
        for epoch in range(epochs):
            ensemble.train_epoch(prepared, [rate] * -(-len(data) // 25), order, (7, epoch))
    return ensemble


HOW = {
    "descent": (Recipe(CROSS_ENTROPY), lambda p: torch.optim.SGD(p, 0.05), math.inf),
    "clipped": (Recipe(CROSS_ENTROPY, clip_norm=0.2), lambda p: torch.optim.SGD(p, 0.05), 0.2),
    "momentum": (
        Recipe(CROSS_ENTROPY, optimiser=optimiser("sgd", momentum=0.9, weight_decay=0.01)),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
        math.inf,
    ),
    "adam": (
        Recipe(CROSS_ENTROPY, optimiser=optimiser("adam"), clip_norm=1.0),
        lambda p: torch.optim.Adam(p, 0.05),
        1.0,
    ),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("shape", [(12,), (2, 12), IMAGES])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_convolutional_nets_train_as_by_hand(how, shape, batch_norm):
    recipe, make, clip = HOW[how]
    data = points(60, shape=shape)  # the last batch is smaller
    ensemble = trained(convolutional(shape, batch_norm=batch_norm), recipe, data, 3, 0.05)
    for seed, net in enumerate(convolutional(shape, batch_norm=batch_norm)):
        expected = by_hand(net, data, 3, make, clip).state_dict()
        for name, found in ensemble.net(seed).items():
            assert torch.allclose(found, expected[name], rtol=1e-3, atol=2e-4), name


def test_evaluation_is_in_eval_mode_and_leaves_everything_alone():
    data = points(60, shape=IMAGES)
    ensemble = trained(convolutional(IMAGES, batch_norm=True), Recipe(CROSS_ENTROPY), data, 1, 0.05)
    before = {name: value.clone() for name, value in ensemble.net(0).items()}
    random = torch.get_rng_state()
    prepared = ensemble.prepare(data, 25)
    with torch.no_grad():
        found = [ensemble.evaluate(prepared, gradient=True) for _ in range(2)]
    assert found[0] == found[1]
    assert all(torch.equal(value, before[name]) for name, value in ensemble.net(0).items())
    assert torch.equal(torch.get_rng_state(), random)
    net = ensemble.nets[0].eval()
    logits = net(data.x)
    loss = nn.functional.cross_entropy(logits, data.y)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in net.parameters()])
    assert found[0].mean_loss(0) == pytest.approx(loss.item(), rel=1e-5)
    assert found[0].error(0) == (logits.argmax(1) != data.y).double().mean().item()
    assert found[0].gradient_norm[0] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_the_random_state_is_as_before_also_with_dropout():
    random = torch.get_rng_state()
    nets = [nn.Sequential(nn.Linear(12, 20), nn.Dropout(0.5), nn.Linear(20, CLASSES)) for _ in range(2)]
    for net in nets[1:]:
        net.load_state_dict(nets[0].state_dict())
    torch.set_rng_state(random)
    data = points(50)
    ensemble = trained(nets, Recipe(CROSS_ENTROPY), data, 1, 0.05)
    assert torch.equal(torch.get_rng_state(), random)
    weights = [ensemble.net(seed)["0.weight"] for seed in range(2)]
    assert not torch.equal(*weights), "each net has dropout of its own"


def test_values_have_no_errors_and_a_wrong_shape_is_named():
    x = torch.randn(30, 12)
    ensemble = Plain(biased(), Recipe(CROSS_ENTROPY), CPU, CLASSES)
    with torch.no_grad():
        found = ensemble.evaluate(ensemble.prepare(Points(x, x[:, :CLASSES]), 7), gradient=False)
        assert all(math.isnan(number) for number in found.wrong)
        ensemble = Plain(biased(), Recipe(CROSS_ENTROPY), CPU, 7)
        prepared = ensemble.prepare(Points(x, torch.zeros(30, dtype=torch.long)), 7)
        with pytest.raises(ValueError, match=r"must give \(n, 7\).*and not \(7, 5\)"):
            ensemble.train_epoch(prepared, [0.1] * 5, None, (0,))


def test_norms_of_convolutions_and_of_linear_layers_add_up():
    own = settings_of("penalty", "regularisation", strength=0.3, threshold=0.8, steps=4).plain()
    net = convolutional(IMAGES)[0]
    norms = [
        gram_norm(m.weight, steps=4)
        if isinstance(m, nn.Linear)
        else toeplitz_gram_norm(m.weight, steps=4)
        for m in net.modules()
        if isinstance(m, nn.Linear | nn.Conv2d)
    ]
    assert len(norms) == 5
    expected = 0.3 * sum(float(norm.detach()) for norm in norms if norm > 0.8)
    assert own.value(net, torch.zeros(1, *IMAGES)).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="neither linear layers nor convolutions"):
        own.value(nn.ReLU(), torch.zeros(1, 3))


def test_the_jacobian_penalty_is_the_largest_norm_and_has_its_gradient():
    own = settings_of("penalty", "jacobian_penalty", strength=0.5).plain()
    net = convolutional(IMAGES, batch_norm=True)[0].double()
    x = points(6, shape=IMAGES).x.double()

    def brute():
        norms = []
        for point in x:
            jacobian = torch.autograd.functional.jacobian(lambda p: net.eval()(p[None])[0], point)
            norms.append(torch.linalg.matrix_norm(jacobian.flatten(1), 2))
        return 0.5 * max(norms).item()

    net.train()
    value = own.value(net, x)
    assert net.training
    assert value.item() == pytest.approx(brute(), rel=1e-9)
    weight = net[0].weight
    (gradient,) = torch.autograd.grad(value, weight)
    with torch.no_grad():
        weight += 1e-6 * gradient
        above = brute()
        weight -= 2e-6 * gradient
        slope = (above - brute()) / 2e-6
    assert slope == pytest.approx(gradient.square().sum().item(), rel=1e-4)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_norms_of_convolutions_whose_padding_copies_are_refused(mode):
    net = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1, padding_mode=mode))
    with pytest.raises(ValueError, match=f"padding_mode {mode}"):
        settings_of("penalty", "spectral_cap", cap=1.0).plain().apply(net)
    own = settings_of("penalty", "regularisation", strength=1, threshold=0, steps=2).plain()
    with pytest.raises(ValueError, match=f"padding_mode {mode}"):
        own.value(net, torch.zeros(1, 1, 8))


@pytest.mark.parametrize("shape", [(12,), IMAGES])
def test_the_cap_holds_for_convolutional_nets(shape):
    data = points(50, shape=shape)
    recipe = Recipe(CROSS_ENTROPY, penalties=[penalty("spectral_cap", cap=1.5)])
    ensemble = trained(convolutional(shape), recipe, data, 4, 0.5)
    for net in ensemble.nets:
        product = 1.0
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                product *= torch.linalg.matrix_norm(layer.weight.detach().double(), 2).item()
            elif isinstance(layer, nn.Conv1d | nn.Conv2d):
                product *= dense_norm(layer, 8)
        assert product <= 1.5 * (1 + 1e-5)
    with pytest.raises(ValueError, match="not BatchNorm"):
        Plain(convolutional(shape, batch_norm=True), recipe, CPU, CLASSES)


def dense_norm(layer, size):
    """Of a convolution on inputs of this size, from its matrix."""
    axes = layer.weight.dim() - 2
    shape = (layer.in_channels, *[size] * axes)
    count = torch.Size(shape).numel()
    with torch.no_grad():
        columns = layer.double()(torch.eye(count, dtype=torch.float64).view(count, *shape)).flatten(1)
    layer.float()
    return torch.linalg.matrix_norm(columns, 2).item()


def test_a_penalty_in_evaluations_is_that_of_all_points():
    data = points(60)
    both = [
        penalty("jacobian_penalty", strength=0.3),
        penalty("regularisation", strength=0.2, threshold=0.0, steps=3),
    ]
    ensemble = Plain(biased(), Recipe(CROSS_ENTROPY, penalties=both), CPU, CLASSES)
    with torch.no_grad():
        found = ensemble.evaluate(ensemble.prepare(data, 25), gradient=True)
        assert ensemble.evaluate(ensemble.prepare(data, 25), gradient=False).penalty is None
    for seed, net in enumerate(biased()):
        extra = sum(each.plain().value(net, data.x) for each in both)
        (nn.functional.cross_entropy(net(data.x), data.y) + extra).backward()
        gradient = torch.cat([p.grad.flatten() for p in net.parameters()])
        assert found.penalty[seed] == pytest.approx(extra.item(), rel=1e-5)
        assert found.gradient_norm[seed] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_which_ensemble_trains_is_a_fact_of_the_nets_and_the_recipe():
    lonely = Penalty("lonely", plain=settings_of("penalty", "spectral_cap", cap=2.0).plain)
    crop = settings_of("augmentation", "crop", padding=1, flip=False).augment
    cases = [
        (fcn(), Recipe(CROSS_ENTROPY), "stacked", None),
        (biased(), Recipe(CROSS_ENTROPY, optimiser=optimiser("adam")), "stacked", None),
        (convolutional((12,)), Recipe(CROSS_ENTROPY), "plain", "the net is another"),
        (fcn(), Recipe(CROSS_ENTROPY, augmentation=crop), "plain", "points are augmented"),
        (fcn(), Recipe(CROSS_ENTROPY, rowwise=False), "plain", "all numbers of a tensor"),
        (fcn(), Recipe(CROSS_ENTROPY, penalties=[lonely]), "plain", "lonely has no form for stacks"),
    ]
    for nets, recipe, kind, reason in cases:
        assert assemble(nets, recipe, CPU, CLASSES).facts["ensemble"] == kind
        assert (reason or "") in (why_not_stacked(nets[0], recipe) or "")
    only_stacked = Penalty("narrow", stacked=penalty("spectral_cap", cap=2.0).stacked)
    with pytest.raises(ValueError, match=r"narrow is for fully connected.*the net is another"):
        assemble(convolutional((12,)), Recipe(CROSS_ENTROPY, penalties=[only_stacked]), CPU, CLASSES)
