"""Images of bytes: what nets are given of them, and that training and bounds are those of numbers."""

import pytest
import torch
from tests.unit.engine import CLASSES, CPU, CROSS_ENTROPY, convolutional, fcn
from torch import nn
from torchvision.transforms.functional import to_tensor

from nets.training.assemble import assemble
from nets.training.initialisation import alive_share
from nets.training.plain import Plain
from nets.training.points import Points, as_inputs, subset, training_subset
from nets.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("single_threaded")

SHAPE = (3, 8, 8)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (60, *SHAPE), generator=generator, dtype=torch.uint8)
    return Points(x, torch.arange(60) % CLASSES)


def test_inputs_are_those_of_torchvision(images):
    expected = torch.stack([to_tensor(image.permute(1, 2, 0).numpy()) for image in images.x])
    assert torch.equal(as_inputs(images.x), expected)
    assert as_inputs(expected) is expected


@pytest.mark.parametrize("kind", ["convolutional", "fully connected"])
@pytest.mark.parametrize("order", [None, torch.arange(60).flip(0)])
def test_training_on_bytes_is_training_on_numbers(images, kind, order):
    found = []
    for data in (images, Points(as_inputs(images.x), images.y)):
        nets = {
            "convolutional": convolutional(SHAPE),
            "fully connected": [nn.Sequential(nn.Flatten(), *net) for net in fcn(inputs=192)],
        }
        ensemble = assemble(nets[kind], Recipe(CROSS_ENTROPY), CPU, CLASSES)
        prepared = ensemble.prepare(data, 25)
        with torch.no_grad():
            for epoch in range(3):
                ensemble.train_epoch(prepared, [0.1] * 3, order, (7, epoch))
            seen = ensemble.evaluate(prepared, gradient=True)
        found.append((ensemble.net(0), seen))
    (bytes_net, bytes_seen), (net, seen) = found
    assert all(torch.equal(bytes_net[name], net[name]) for name in net)
    assert bytes_seen == seen


def test_bytes_are_not_copied(images):
    """Jobs share what is mapped into memory, and make numbers of a batch at a time."""
    ensemble = Plain(convolutional(SHAPE), Recipe(CROSS_ENTROPY), CPU, CLASSES)
    prepared = ensemble.prepare(images, 25)
    assert prepared.x.data_ptr() == images.x.data_ptr()
    assert {x.dtype for x, _ in prepared.batches()} == {torch.float32}


def test_dead_outputs_are_found_on_bytes(images):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    numbers = as_inputs(images.x)
    assert alive_share(net, images.x, images.y) == alive_share(net, numbers, images.y)


def test_fewer_points_are_the_first_of_more():
    few, more = subset(1000, 10), subset(1000, 500)
    assert few.tolist() == more[:10].tolist()
    points = Points(torch.arange(1000), torch.arange(1000))
    assert training_subset(points, 10).x.tolist() == few.tolist()
