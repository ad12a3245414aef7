"""What a data set is: how it is made, and the checksum that says it is the right one."""

import hashlib
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
class DataSet:
    """How to build a data set, and what it must be."""

    build: Callable[[], Arrays]
    sha256: str
    classes: int
    source: str

    def prepare(self, name: str) -> Arrays:
        """Build it and check it. Raises :class:`ChecksumError` when the arrays are others."""
        arrays = self.build()
        found = arrays.sha256()
        if found != self.sha256:
            raise ChecksumError(
                f"data set {name} has checksum {found}, but {self.sha256} is expected. "
                f"Its source ({self.source}) gives other numbers with the installed packages; "
                "install the versions in envs/requirements.txt."
            )
        return arrays
