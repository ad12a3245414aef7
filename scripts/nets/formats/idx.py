"""IDX, the format of MNIST: two zeros, type, number of axes, their lengths, then the numbers."""

import math

import numpy as np
from numpy.typing import NDArray

from nets.dataset import Arrays, FormatError, Read

_UNSIGNED_BYTE = 0x08


def parse(content: bytes, axes: int, name: str) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes. Raises :class:`FormatError` for any other file."""
    magic = bytes([0, 0, _UNSIGNED_BYTE, axes])
    if content[:4] != magic:
        raise FormatError(f"{name} begins with {content[:4].hex()}, an IDX file with {magic.hex()}")
    start = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">u4"))
    if len(content) != start + math.prod(shape):
        raise FormatError(
            f"{name} has {len(content):,} bytes, but its header stands for "
            f"{start + math.prod(shape):,}: it is truncated or has more behind its end"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


MEMBERS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def mnist_like(read: Read) -> Arrays:
    """Images (n, 1, 28, 28) and labels out of four files named as those of MNIST."""
    x_train, y_train, x_test, y_test = (
        parse(read(name), 3 if "images" in name else 1, name) for name in MEMBERS
    )
    return Arrays(
        x_train=x_train[:, None],
        y_train=y_train.astype(np.int64),
        x_test=x_test[:, None],
        y_test=y_test.astype(np.int64),
    )
