"""What a data set is: the published files it is made of, how, and the checksums of the right one."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Read = Callable[[str], bytes]
"""From the name of a member of the published files to its bytes, whose checksum is right."""


class DataError(RuntimeError):
    """Data cannot be used, for a reason that the message explains."""


class ChecksumError(DataError):
    """The data made or read is not the data that the results are defined on."""


class FormatError(DataError):
    """A file is not of the format that its name says."""


@dataclass(frozen=True)
class Arrays:
    """A data set: inputs (n, *shape), float32, or uint8 for images (n, c, h, w); labels int64 (n,)."""

    x_train: NDArray[np.float32] | NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32] | NDArray[np.uint8]
    y_test: NDArray[np.int64]

    def named(self) -> dict[str, NDArray]:
        """The four arrays by name, in the order in which they are checksummed."""
        return {name: getattr(self, name) for name in ("x_train", "y_train", "x_test", "y_test")}

    def sha256(self) -> str:
        """Checksum over names, types, shapes and bytes of the four arrays."""
        digest = hashlib.sha256()
        for name, array in self.named().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Member:
    """What is read out of a published file.

    ``checksum`` is ``md5:...`` or ``sha256:...``; where it is unknown, the member is only taken out of
    the published file, whose checksum is known.
    """

    name: str
    checksum: str | None = None


@dataclass(frozen=True)
class PublishedFile:
    """A file to be downloaded: an archive (.tar.gz), or one compressed member (.gz)."""

    name: str
    checksum: str
    size: int | None
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Published:
    """The published files of a data set, which may be those of several.

    ``mirrors`` are addresses that end in the name of a file, ``layouts`` the folders in which
    torchvision keeps the files or their members.
    """

    folder: str
    mirrors: tuple[str, ...]
    layouts: tuple[str, ...]
    files: tuple[PublishedFile, ...]

    @property
    def identity(self) -> str:
        """What the files contain, by checksum."""
        sums = [f"{file.name} {file.checksum}" for file in self.files]
        return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _no_files(member: str) -> bytes:
    raise LookupError(f"{member} is asked for, but no published files are given")


@dataclass(frozen=True)
class DataSet:
    """How to build a data set, and what it must be.

    ``sha256`` is None where the arrays were never seen by the authors of this file: then they are
    what ``build`` makes of ``published``, whose checksums are known.
    """

    build: Callable[[Read], Arrays]
    sha256: str | None
    classes: int
    source: str
    published: Published | None = None

    def prepare(self, name: str, read: Read = _no_files) -> Arrays:
        """Build it and check it. Raises :class:`ChecksumError` when the arrays are others."""
        arrays = self.build(read)
        found = arrays.sha256()
        if self.sha256 is not None and found != self.sha256:
            raise ChecksumError(
                f"data set {name} has checksum {found}, but {self.sha256} is expected. "
                f"Its source ({self.source}) gives other numbers with the installed packages; "
                "install the versions in envs/requirements.txt."
            )
        return arrays
