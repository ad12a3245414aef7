"""MNIST-1D (Greydanus & Kobak, ICML 2024): 4000 + 1000 points in 40 dimensions, 10 classes."""

import random

import numpy as np

from nets.dataset import Arrays, DataSet, Read


def _build(_: Read) -> Arrays:
    # the package pulls in requests and matplotlib, which nothing else here needs
    from mnist1d.data import get_dataset_args, make_dataset

    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        data = make_dataset(get_dataset_args())
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
    return Arrays(
        x_train=data["x"].astype(np.float32),
        y_train=data["y"].astype(np.int64),
        x_test=data["x_test"].astype(np.float32),
        y_test=data["y_test"].astype(np.int64),
    )


TRAINING_POINTS = 4_000
TEST_POINTS = 1_000
POINT_SHAPE = (40,)

DATASET = DataSet(
    build=_build,
    sha256="e2cc88b67e78d214989df1f234d83fc96d7b4fcd78558a06a8696a8bd28c0ffb",
    classes=10,
    source="generator of the mnist1d package with its default arguments, seed 42",
)
