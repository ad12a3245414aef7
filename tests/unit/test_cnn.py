"""The convolutional family: its size, its shape, and that it can be bounded."""

import pytest
import torch

from lipbounds import lower_bound, upper_bound
from nets.models.cnn import Settings
from nets.training.initialisation import seeded


@pytest.mark.parametrize(
    ("width", "shape", "parameters"),
    [
        (5, (3, 32, 32), 9_985),
        (12, (3, 32, 32), 55_716),
        (60, (3, 32, 32), 1_367_220),
        (12, (1, 28, 28), 55_500),
    ],
)
def test_parameters_are_those_of_the_paper(width, shape, parameters):
    """Khromov & Singh, ICLR 2024, table S5."""
    net = seeded(Settings(), 0, width, shape, 10)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.rand(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(40,), (2, 40), (3, 8, 8), (1, 9, 12)])
@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"biases": True}])
def test_it_takes_signals_and_images_and_is_bounded(shape, options):
    net = seeded(Settings(**options), 0, 3, shape, 5).eval()
    x = torch.randn(6, *shape)
    assert net(x).shape == (6, 5)
    upper, lower = upper_bound(net, shape), lower_bound(net, x)
    assert 0 < lower.max <= upper.value < float("inf")


def test_pooling_before_relu_is_the_same_as_after():
    net = seeded(Settings(), 0, 3, (3, 8, 8), 5)
    layers = list(net)
    kinds = [type(layer).__name__ for layer in layers]
    for place, kind in enumerate(kinds):
        if kind.startswith("MaxPool"):
            assert kinds[place + 1] == "ReLU"
            layers[place], layers[place + 1] = layers[place + 1], layers[place]
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(torch.nn.Sequential(*layers)(x), net(x))


@pytest.mark.parametrize("shape", [(3,), (1, 2, 8), (1, 2, 3, 4)])
def test_other_points_are_refused(shape):
    with pytest.raises(ValueError, match="family cnn"):
        seeded(Settings(), 0, 3, shape, 5)
