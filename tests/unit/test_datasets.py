import dataclasses
import random

import numpy as np
import pytest

from lipbounds import datasets


@pytest.fixture(scope="module")
def mnist1d():
    return datasets.prepare("mnist1d")


def test_mnist1d_is_the_frozen_data_set(mnist1d):
    # the registered checksum is that of the float32 arrays of the published mnist1d_data.pkl
    assert mnist1d.sha256() == datasets.DATASETS["mnist1d"].sha256
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
    datasets.prepare("mnist1d")
    assert (np.random.rand(), random.random()) == expected


def test_other_numbers_are_refused(mnist1d, monkeypatch):
    changed = dataclasses.replace(mnist1d, x_test=mnist1d.x_test + np.float32(1e-7))
    wrong = dataclasses.replace(datasets.DATASETS["mnist1d"], build=lambda: changed)
    monkeypatch.setitem(datasets.DATASETS, "mnist1d", wrong)
    with pytest.raises(datasets.ChecksumError, match=r"requirements\.txt"):
        datasets.prepare("mnist1d")


def test_unknown_data_set_is_refused():
    with pytest.raises(KeyError):
        datasets.prepare("mnist2d")
