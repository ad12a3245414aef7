"""Further points from the generator of a data set."""

import random

import numpy as np
import torch
from torch import Tensor


def fresh_mnist1d(count: int, seed: int) -> Tensor:
    """``count`` inputs (count, 40) of MNIST-1D, float32, in random order; 2 ms each.

    The default arguments but for the ``seed``; the data of the experiments has 42. All are shifted
    and scaled to mean 0 and standard deviation 1, as the generator does with any of its outputs.

    Raises ValueError for the seed of the data, and if ``count`` is no multiple of 10, the classes.
    """
    # the package pulls in requests and matplotlib, which nothing else here needs
    from mnist1d.data import get_dataset_args, make_dataset

    settings = get_dataset_args()
    if seed == settings.seed:
        raise ValueError(f"seed {seed} gives the data itself; choose another one")
    if count % 10:
        raise ValueError(f"{count} points are not equally many of 10 classes; use a multiple of 10")
    settings.seed, settings.num_samples = seed, count
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        data = make_dataset(settings)
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
    inputs = np.concatenate([data["x"], data["x_test"]]).astype(np.float32)
    return torch.from_numpy(inputs)
