"""Registry of data sets: how each is made, and the checksum that says it is the right one."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class ChecksumError(RuntimeError):
    """The data made or read is not the data that the results are defined on."""


@dataclass(frozen=True)
class Arrays:
    """A data set: inputs float32 (n, features), labels int64 (n,)."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    def named(self) -> dict[str, NDArray]:
        """The four arrays by name, in the order in which they are checksummed."""
        return {name: getattr(self, name) for name in ("x_train", "y_train", "x_test", "y_test")}

    def sha256(self) -> str:
        """Checksum over names, types, shapes and bytes of the four arrays."""
        digest = hashlib.sha256()
        for name, array in self.named().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """How to build a data set, and what it must be."""

    build: Callable[[], Arrays]
    sha256: str
    classes: int
    source: str


def prepare(name: str) -> Arrays:
    """Build the data set ``name`` and check it.

    Raises
    ------
    KeyError
        For an unknown name.
    ChecksumError
        When the arrays differ from the registered ones.
    """
    dataset = DATASETS[name]
    arrays = dataset.build()
    found = arrays.sha256()
    if found != dataset.sha256:
        raise ChecksumError(
            f"data set {name} has checksum {found}, but {dataset.sha256} is expected. "
            f"Its source ({dataset.source}) gives other numbers with the installed packages; "
            "install the versions in envs/requirements.txt."
        )
    return arrays


def _mnist1d() -> Arrays:
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


DATASETS = {
    "mnist1d": Dataset(
        build=_mnist1d,
        sha256="e2cc88b67e78d214989df1f234d83fc96d7b4fcd78558a06a8696a8bd28c0ffb",
        classes=10,
        source="generator of the mnist1d package with its default arguments, seed 42",
    ),
}
