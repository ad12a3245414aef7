"""Which published file lies where: ``files.json``, and its files read back, checksums first."""

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from nets import parts
from nets.dataset import ChecksumError, DataSet, FormatError, Published, PublishedFile, Read
from pipeline.jobs.command import CommandError
from pipeline.provenance.files import write_json
from pipeline.runs.paths import published_files

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


@dataclass(frozen=True)
class Record:
    """A file that is there, whole and right; ``origin`` is an address, or says that it was found."""

    path: str
    checksum: str
    size: int
    origin: str


@cache
def all_published() -> dict[str, Published]:
    """The published files of all data sets, by folder."""
    found: dict[str, Published] = {}
    for name in parts.names("data"):
        dataset: DataSet = parts.load("data", name).DATASET
        if dataset.published is not None:
            found[dataset.published.folder] = dataset.published
    return found


def checksum_of(path: Path, like: str) -> str:
    """Of a file's bytes, by the algorithm that ``like`` names."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def write_records(path: Path, published: Published, records: Mapping[str, Record]) -> None:
    """Say which file lies where."""
    files = {name: asdict(record) for name, record in records.items()}
    write_json(path, {"published": published.folder, "files": files})


def read_records(path: Path) -> dict[str, Record]:
    """What :func:`write_records` has written."""
    try:
        files = json.loads(path.read_bytes())["files"]
        return {name: Record(**record) for name, record in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{path} cannot be read ({error}); delete it to have it made again"
        ) from error


def forget_lost_files(folder: Path) -> None:
    """Remove each ``files.json`` that names a file which is no longer there, or no longer asked for."""
    for path in folder.glob(published_files("*")):
        asked = _checksums(path.parent.name)
        try:
            lost = any(
                not (folder / one.path).exists()
                or (asked is not None and asked.get(name, "") not in (None, one.checksum))
                for name, one in read_records(path).items()
            )
        except CommandError:
            lost = True
        if lost:
            with suppress(OSError):
                path.unlink()


def _checksums(folder: str) -> dict[str, str | None] | None:
    """Of all files of a published set and of their members; None for a set that no data are made of."""
    published = all_published().get(folder)
    if published is None:
        return None
    members = {member.name: member.checksum for file in published.files for member in file.members}
    return members | {file.name: file.checksum for file in published.files}


class Reader:
    """Members of published files, out of the files that a ``files.json`` names.

    Nothing is unpacked to the disk, and nothing is returned whose checksum is not right.
    """

    def __init__(self, path: Path, published: Published) -> None:
        self._json = path
        self._records = read_records(path)
        self._published = published
        self._opened: tuple[str, dict[str, bytes]] = ("", {})

    def __call__(self, member: str) -> bytes:
        """The bytes of a member. Raises ``CommandError`` or a :class:`nets.dataset.DataError`."""
        file = next(f for f in self._published.files if member in {m.name for m in f.members})
        known = next(m.checksum for m in file.members if m.name == member)
        if member in self._records and known is not None:
            return self._checked(member, known)
        if file.name not in self._records:
            raise CommandError(f"{self._json} names neither {file.name} nor {member}; delete it")
        if self._opened[0] != file.name:
            self._opened = (file.name, members_of(file, self._checked(file.name, file.checksum)))
        content = self._opened[1][member]
        if known is not None:
            _check(content, known, f"{member} in {self._records[file.name].path}")
        return content

    def _checked(self, name: str, expected: str) -> bytes:
        path = Path(self._records[name].path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CommandError(
                f"{path} cannot be read ({error.strerror}), where {name} was when {self._json} was "
                f"written; put it back, or delete {self._json} to have it looked for again"
            ) from error
        _check(content, expected, f"{path} (delete {self._json} to have the file looked for again)")
        return content


def reader(path: Path, published: Published) -> Read:
    """A function that reads members."""
    return Reader(path, published)


def _check(content: bytes, expected: str, what: str) -> None:
    algorithm = expected.partition(":")[0]
    found = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    if found != expected:
        raise ChecksumError(f"{what} has checksum {found}, but {expected} is expected")


def members_of(file: PublishedFile, content: bytes) -> dict[str, bytes]:
    """The members of a published file, in memory. Raises :class:`nets.dataset.FormatError`."""
    names = [member.name for member in file.members]
    try:
        if file.name.endswith(".tar.gz"):
            found = _out_of_tar(content, set(names))
        elif file.name.endswith(".gz"):
            found = {names[0]: gzip.decompress(content)}
        else:
            found = {names[0]: content}
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise FormatError(f"{file.name} cannot be unpacked: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise FormatError(f"{file.name} has no {', '.join(missing)}")
    return found


def _out_of_tar(content: bytes, names: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|gz") as archive:
        for entry in archive:
            name = PurePosixPath(entry.name).name
            stream = archive.extractfile(entry) if entry.isfile() and name in names else None
            if stream is not None and name not in found:
                found[name] = stream.read()
    return found
