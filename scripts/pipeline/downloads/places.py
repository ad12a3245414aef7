"""Where published files may lie already: loose, in a folder of their own, or as torchvision has them."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nets.dataset import Published, PublishedFile
from pipeline.downloads.records import Record, checksum_of
from pipeline.jobs.progress import LOG

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

FOUND = "found there"
LOCK = ".download.lock"
_POLL = 0.1


@dataclass
class Places:
    """The folders to look in; files that cannot be used are warned of once each."""

    published: Published
    data_root: Path | None
    raw: Path
    unusable: dict[Path, str] = field(default_factory=dict)

    @property
    def folders(self) -> list[Path]:
        """In the order in which they are looked through."""
        found = []
        if self.data_root is not None:
            for base in (self.data_root, self.data_root / self.published.folder):
                found += [base, *(base / layout for layout in self.published.layouts)]
        return [*found, self.raw]

    def find(self, file: PublishedFile) -> dict[str, Record] | None:
        """A published file or else all its members, or None where neither is in any folder."""
        for folder in self.folders:
            record = self._usable(folder / file.name, file.checksum)
            if record is not None:
                return {file.name: record}
        if any(member.checksum is None for member in file.members):
            return None
        for folder in self.folders:
            records = {m.name: self._usable(folder / m.name, m.checksum or "") for m in file.members}
            usable = {name: record for name, record in records.items() if record is not None}
            if len(usable) == len(records):
                return usable
        return None

    def _usable(self, path: Path, expected: str) -> Record | None:
        if not path.is_file():
            return None
        try:
            found = checksum_of(path, expected)
        except OSError as error:
            self._warn(path, f"cannot be read: {error.strerror}")
            return None
        if found == expected:
            self.unusable.pop(path, None)
            return Record(str(path), expected, path.stat().st_size, FOUND)
        self._warn(
            path, f"has checksum {found}, but {expected} is expected: damaged, or of another data set"
        )
        return None

    def _warn(self, path: Path, reason: str) -> None:
        if path not in self.unusable:
            LOG.warning("%s: %s is not used; it %s", self.published.folder, path, reason)
        self.unusable[path] = reason


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a folder that files are downloaded into; whether it can be written to.

    Whoever else downloads into it is waited for, also where it can only be read.
    """
    lock = _open(folder)
    if lock is None:
        yield False
        return
    try:
        yield _lock(lock, folder) and os.access(folder, os.W_OK)
    finally:
        os.close(lock)


def _open(folder: Path) -> int | None:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    with suppress(OSError):
        return os.open(folder / LOCK, os.O_RDONLY)
    return None


def _lock(lock: int, folder: Path) -> bool:
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                LOG.warning("%s cannot be locked (%s), so it is not used", folder, error.strerror)
                return False
            if not told:
                LOG.warning("another process is downloading into %s; waiting for it", folder)
                told = True
            time.sleep(_POLL)
        else:
            return True
