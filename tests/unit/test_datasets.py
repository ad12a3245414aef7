import dataclasses
import random

import numpy as np
import pytest

from nets import parts
from nets.dataset import ChecksumError

DATASET = parts.load("data", "mnist1d").DATASET


@pytest.fixture(scope="module")
def mnist1d():
    return DATASET.prepare("mnist1d")


def test_mnist1d_is_the_frozen_data_set(mnist1d):
    # the registered checksum is that of the float32 arrays of the published mnist1d_data.pkl
    assert mnist1d.sha256() == DATASET.sha256
    assert mnist1d.x_train.shape == (4000, 40)
    assert mnist1d.x_test.shape == (1000, 40)
    assert mnist1d.x_train.dtype == np.float32
    assert set(mnist1d.y_train) == set(range(10)) == set(mnist1d.y_test)


def test_generator_leaves_global_random_states_alone(mnist1d):
    np.random.seed(1)
    random.seed(1)
    expected = np.random.rand(), random.random()
    np.random.seed(1)
    random.seed(1)
    DATASET.prepare("mnist1d")
    assert (np.random.rand(), random.random()) == expected


def test_other_numbers_are_refused(mnist1d):
    changed = dataclasses.replace(mnist1d, x_test=mnist1d.x_test + np.float32(1e-7))
    wrong = dataclasses.replace(DATASET, build=lambda read: changed)
    with pytest.raises(ChecksumError, match=r"mnist1d .*requirements\.txt"):
        wrong.prepare("mnist1d")


def test_unknown_data_set_is_refused():
    with pytest.raises(parts.UnknownPartError, match=r"known: .*mnist1d"):
        parts.load("data", "mnist2d")
