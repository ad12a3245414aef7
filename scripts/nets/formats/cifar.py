"""The Python version of CIFAR: pickled dictionaries with rows of 3072 bytes and lists of labels."""

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nets.dataset import Arrays, FormatError, Read

_SHAPE = (3, 32, 32)
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
}


class _ArraysOnly(pickle.Unpickler):
    """Makes NumPy arrays and Python's own numbers, texts and collections, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in it")
        return super().find_class(*_ARRAY_PARTS[module, name])


def unpickle(content: bytes, name: str) -> dict[bytes, Any]:
    """The dictionary in a file of CIFAR. Raises :class:`FormatError`.

    Only for content whose checksum is right: that nothing but arrays is made is a second barrier.
    """
    try:
        found = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise almost anything
        raise FormatError(f"{name} is not a pickled batch of CIFAR: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{name} holds a {type(found).__name__}, a batch of CIFAR is a dictionary")
    return found


def _batch(read: Read, name: str, labels: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = unpickle(read(name), name)
    missing = [key.decode() for key in (b"data", labels) if key not in batch]
    if missing:
        raise FormatError(f"{name} has no {' and no '.join(missing)}")
    x, y = batch[b"data"], np.asarray(batch[labels], dtype=np.int64)
    row = int(np.prod(_SHAPE))
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape != (len(y), row):
        found = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise FormatError(f"{name} has images {found}, but uint8 {(len(y), row)} is expected")
    return x.reshape(-1, *_SHAPE), y


def cifar(train: Sequence[str], test: str, labels: bytes) -> Callable[[Read], Arrays]:
    """Images (n, 3, 32, 32) and the labels of that key, out of batches of training and test points."""

    def build(read: Read) -> Arrays:
        batches = [_batch(read, name, labels) for name in train]
        x_test, y_test = _batch(read, test, labels)
        return Arrays(
            x_train=np.concatenate([x for x, _ in batches]),
            y_train=np.concatenate([y for _, y in batches]),
            x_test=x_test,
            y_test=y_test,
        )

    return build
