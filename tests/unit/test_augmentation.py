"""Random crops and mirror images, against all that a point can become."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from nets.training.augmentations.crop import Settings


def possible(point, padding, flip):
    """All crops of a padded point, and their mirror images."""
    axes = point.dim() - (1 if point.dim() > 1 else 0)
    padded = nn.functional.pad(point, [padding] * 2 * axes)
    for corner in itertools.product(range(2 * padding + 1), repeat=axes):
        crop = padded
        for axis, start in enumerate(corner):
            place = point.dim() - axes + axis
            crop = crop.narrow(place, start, point.shape[place])
        yield crop
        if flip:
            yield crop.flip(-1)


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 4, 5)])
@pytest.mark.parametrize(("padding", "flip"), [(2, False), (1, True), (0, True)])
def test_every_copy_is_a_crop_and_all_crops_come_up(shape, padding, flip):
    point = torch.randn(shape)
    x = point.expand(600, *shape)
    found = Settings(padding=padding, flip=flip).augment(x, np.random.default_rng(0))
    assert found.shape == x.shape
    assert torch.equal(x[0], point), "the points themselves stay"
    crops = list(possible(point, padding, flip))
    seen = [next(i for i, crop in enumerate(crops) if torch.equal(crop, copy)) for copy in found]
    assert len(set(seen)) == len(crops)


def test_it_is_repeatable():
    x, settings = torch.randn(20, 3, 6, 6), Settings(padding=1, flip=True)
    found = [settings.augment(x, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_one_that_changes_nothing_is_refused():
    with pytest.raises(ValueError, match="changes nothing"):
        Settings(padding=0, flip=False)
