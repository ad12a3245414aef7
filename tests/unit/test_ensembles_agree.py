"""Twins: the stacked and the plain ensemble, given the same nets, find the same."""

import pytest
import torch
from tests.unit.engine import (
    CROSS_ENTROPY,
    biased,
    fcn,
    finish,
    make_run,
    optimiser,
    penalty,
    points,
)
from torch import nn

from nets.training.loss import loss_named
from nets.training.plain import Plain
from nets.training.recipe import Recipe
from nets.training.stacked import Stacked

pytestmark = pytest.mark.usefixtures("single_threaded")

RECIPES = {
    "descent": Recipe(CROSS_ENTROPY),
    "clipped": Recipe(CROSS_ENTROPY, clip_norm=0.3, track_path=True),
    "squared error": Recipe(loss_named("mean_squared_error"), clip_norm=2.0),
    "temperature": Recipe(CROSS_ENTROPY, temperature=3.0),
    "momentum": Recipe(CROSS_ENTROPY, optimiser=optimiser("sgd", momentum=0.9, weight_decay=0.01)),
    "nesterov": Recipe(
        CROSS_ENTROPY, optimiser=optimiser("sgd", momentum=0.5, nesterov=True), track_path=True
    ),
    "adam": Recipe(CROSS_ENTROPY, optimiser=optimiser("adam"), clip_norm=0.5, track_path=True),
    "adamw": Recipe(CROSS_ENTROPY, optimiser=optimiser("adam", weight_decay=0.1)),
    "norms": Recipe(
        CROSS_ENTROPY, penalties=[penalty("regularisation", strength=0.1, threshold=1.2, steps=6)]
    ),
    "frobenius": Recipe(
        CROSS_ENTROPY, penalties=[penalty("regularisation", strength=0.1, threshold=0.0, steps=0)]
    ),
    "jacobian": Recipe(CROSS_ENTROPY, penalties=[penalty("jacobian_penalty", strength=0.1)]),
    "cap": Recipe(CROSS_ENTROPY, penalties=[penalty("spectral_cap", cap=2.0)], track_path=True),
    "all": Recipe(
        CROSS_ENTROPY,
        temperature=2.0,
        optimiser=optimiser("adam"),
        penalties=[
            penalty("regularisation", strength=0.01, threshold=0.0, steps=6),
            penalty("jacobian_penalty", strength=0.01),
            penalty("spectral_cap", cap=5.0),
        ],
        track_path=True,
    ),
}

NETS = {
    "one hidden layer": lambda: fcn((300,), "relu"),
    "three": lambda: fcn((16, 20, 14), "leaky_relu"),
    "biases": biased,
}


@pytest.mark.parametrize("nets", NETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_same_nets_and_records(recipe, nets):
    how = RECIPES[recipe]
    rate = 0.005 if how.optimiser.__name__ != "plain_descent" else 0.05
    stacked, plain = (
        finish(make_run(NETS[nets](), how, ensemble=kind, learning_rate=rate, shuffle=True))
        for kind in (Stacked, Plain)
    )
    assert stacked.store.nets.keys() == plain.store.nets.keys()
    for place, net in plain.store.nets.items():
        assert stacked.store.nets[place].keys() == net.keys()
        for name, value in net.items():
            assert torch.allclose(stacked.store.nets[place][name], value, rtol=1e-3, atol=2e-5)
    assert len(stacked.store.records) == len(plain.store.records) > 0
    for one, other in zip(stacked.store.records, plain.store.records, strict=True):
        numbers = {name: value for name, value in vars(other).items() if value is not None}
        found = {name: value for name, value in vars(one).items() if value is not None}
        assert found == pytest.approx(numbers, rel=1e-3, abs=1e-5)


def test_images_are_flattened_alike():
    data = points(60, shape=(1, 3, 4))
    nets = [nn.Sequential(nn.Flatten(), *net) for net in fcn()]
    found = [
        finish(make_run([nn.Sequential(*net) for net in nets], RECIPES["descent"], data, ensemble=kind))
        for kind in (Stacked, Plain)
    ]
    for place, net in found[1].store.nets.items():
        for name, value in net.items():
            assert torch.allclose(found[0].store.nets[place][name], value, atol=1e-5), name
