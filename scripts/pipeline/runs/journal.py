"""What a training has found so far, and from where it resumes; each byte of it is written once.

Beside the outputs of a job lie three hidden files, whose names carry a digest of all that the job
depends on: a changed configuration, input or program never resumes from another one's state, and
Snakemake, which deletes declared outputs before it starts a job again, leaves them alone.

    .resume-KEY.nets     the nets that are kept, one behind the other: checkpoints.safetensors to be
    .resume-KEY.lines    the records, and where in the other file each tensor lies, a line each
    .resume-KEY.state    the nets that still train, and how long the other two files are

A save replaces the last one and appends nothing. What the other two hold beyond the lengths that it
states was written by a process that was killed before its next save; it is cut off.

What lies under these names and is not of this job (a state that states another key, a folder) is moved
aside, never resumed from and never deleted.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from nets.training.run import Record
from pipeline.jobs.progress import LOG
from pipeline.provenance.files import TEMPORARY, DamagedFileError, finished, read_tensors
from pipeline.provenance.seals import set_aside
from pipeline.provenance.tensor_file import (
    Entry,
    TensorFile,
    explained,
    name_of,
    raw_bytes,
    reserve_for,
    write_all,
)
from pipeline.runs import paths

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

_NO_DIGEST = "0" * 64


class Journal:
    """The store of one training job, in ``folder`` and beside its outputs.

    Parameters
    ----------
    folder
        Where the outputs will lie.
    key
        Digest of all that the job depends on.
    net
        A net as it will be kept, by name; only names, types and shapes count.
    nets
        How many will be kept at most.
    last_epoch
        After which no net is kept.
    seeds
        How many seeds there are.
    metadata
        What the finished file says besides its tensors.

    All methods raise :class:`pipeline.provenance.files.OutputError` where a file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        net: Mapping[str, Tensor],
        *,
        nets: int,
        last_epoch: int,
        seeds: int,
        metadata: Mapping[str, Any],
    ) -> None:
        self._folder, self._key, self._metadata = folder, key, metadata
        self.path = folder / f".resume-{key}.state"
        self._nets_path = folder / f".resume-{key}.nets"
        self._lines_path = folder / f".resume-{key}.lines"
        self._reserve = reserve_for(list(_worst_entries(net, nets, last_epoch, seeds)), metadata)
        self._records: list[Record] = []
        self._nets: TensorFile | None = None
        self._lines: _Lines | None = None

    def begin(self) -> None:
        """Start with nothing."""
        self.close()
        self._records = []
        self._set_folders_aside()
        self._nets_path.unlink(missing_ok=True)  # it may have a second name, with contents to keep
        self._nets = TensorFile(self._nets_path, self._reserve)
        self._lines = _Lines(self._lines_path)

    def keep(self, seed: int, epoch: int, net: Mapping[str, Tensor]) -> None:
        """Append a net."""
        assert self._nets is not None
        assert self._lines is not None
        for name, tensor in net.items():
            entry = self._nets.append(paths.checkpoint_key(seed, epoch, name), tensor)
            self._lines.append({"tensor": entry})

    def record(self, record: Record) -> None:
        """Append a record."""
        assert self._lines is not None
        self._records.append(record)
        self._lines.append({"record": asdict(record)})

    @property
    def records(self) -> list[Record]:
        """All so far."""
        return list(self._records)

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Make sure that the job can go on from here; ``values`` are JSON-ready."""
        assert self._nets is not None
        assert self._lines is not None
        self._nets.sync()
        self._lines.sync()
        about = {
            "key": self._key,
            "values": values,
            "nets": [self._nets.length, self._nets.digest],
            "lines": [self._lines.length, self._lines.digest],
        }
        _write_checked(self.path, tensors, about)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was saved, or None where nothing can be used, and then the log says why.

        Afterwards records and nets are appended where they were.
        """
        self._set_folders_aside()
        if not self.path.exists():
            return None
        try:
            tensors, about = _read_checked(self.path)
            if about["key"] != self._key:
                _set_aside(self.path, "is the state of another job")
                return None
            self._lines = _Lines(self._lines_path, *about["lines"])
            entries = self._reread()
            _own(self._nets_path)
            self._nets = TensorFile(self._nets_path, self._reserve, entries, about["nets"][1])
            if self._nets.length != about["nets"][0]:
                raise DamagedFileError(f"{self._lines_path} does not fit to {self._nets_path}")
        except (DamagedFileError, KeyError, TypeError, ValueError) as error:
            LOG.warning("%s; it is removed and the job starts over", error)
            self.path.unlink()
            return None
        return tensors, about["values"]

    def finish(self, checkpoints: Path) -> None:
        """Put the nets in place as a safetensors file, without a copy where the disk can do that.

        The journal has them still, until :meth:`clear`: a job that is killed before its end finds
        its outputs deleted, but not these.
        """
        assert self._nets is not None
        self._nets.seal(self._metadata)
        _link(self._nets_path, checkpoints)
        finished(checkpoints)

    def clear(self) -> None:
        """Remove this journal and those of earlier configurations of the same job."""
        self.close()
        remove_journals(self._folder)

    def close(self) -> None:
        """Let go of the files, and leave them."""
        for opened in (self._nets, self._lines):
            if opened is not None:
                opened.close()

    def _set_folders_aside(self) -> None:
        for path in (self.path, self._nets_path, self._lines_path):
            if path.is_dir():
                _set_aside(path, "is a folder where a file of this job belongs")

    def _reread(self) -> list[Entry]:
        """The entries of the kept nets; the records are taken in."""
        assert self._lines is not None
        entries: list[Entry] = []
        self._records = []
        for line in self._lines.read():
            if "record" in line:
                self._records.append(Record(**line["record"]))
            else:
                key, dtype, shape, start, end = line["tensor"]
                entries.append(Entry(key, dtype, tuple(shape), start, end))
        return entries


def remove_journals(folder: Path) -> None:
    """All of them, in the folder of a job."""
    for path in folder.glob(".resume-*"):
        if path.is_dir():
            _set_aside(path, "is a folder where a file of this job belongs")
        else:
            path.unlink(missing_ok=True)


def _set_aside(path: Path, reason: str) -> None:
    """Move what is not ours out of the way, under the first free name."""
    LOG.warning(
        "%s %s; it is now %s (delete it if you do not need it), and the job starts over",
        path,
        reason,
        set_aside(path).name,
    )


class _Lines:
    """A file of JSON lines. Where a length is given, it goes on there; what is behind is cut off."""

    def __init__(self, path: Path, length: int | None = None, expected: str | None = None) -> None:
        self._path, self._digest, self.length = path, hashlib.sha256(), 0
        with explained(path):
            self._file: IO[bytes] = path.open("w+b" if length is None else "r+b", buffering=0)
        if length is not None:
            content = self._content(length)
            if len(content) != length or self.digest != expected:
                self._file.close()
                raise DamagedFileError(f"{path} is damaged (its checksum does not match)")
            with explained(path):
                self._file.truncate(length)

    @property
    def digest(self) -> str:
        """SHA-256 of all lines."""
        return self._digest.hexdigest()

    def append(self, value: Any) -> None:
        """Write a line."""
        line = (json.dumps(value) + "\n").encode()
        with explained(self._path):
            write_all(self._file, line)
        self._digest.update(line)
        self.length += len(line)

    def read(self) -> Iterator[Any]:
        """All lines."""
        self._file.seek(0)
        content = self._file.read(self.length)
        yield from map(json.loads, content.splitlines())

    def sync(self) -> None:
        """Have all that was written on the disk."""
        with explained(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _content(self, length: int) -> bytes:
        content = self._file.read(length)
        self._digest.update(content)
        self.length = len(content)
        return content


def _worst_entries(net: Mapping[str, Tensor], nets: int, last_epoch: int, seeds: int) -> Iterator[Entry]:
    """Entries at least as long as those that will be there."""
    end = nets * sum(tensor.nbytes for tensor in net.values())
    digits = len(str(nets))
    for index in range(nets):
        for name, tensor in net.items():
            # the index keeps the keys apart without making them shorter than they can be; all indices
            # are equally long, since "w" + "11" and "w1" + "1" would be one key
            key = f"{paths.checkpoint_key(seeds, last_epoch, name)}{index:0{digits}}"
            yield Entry(key, name_of(tensor.dtype), tuple(tensor.shape), end, end)


def _write_checked(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Replace a file of tensors that knows its own checksum, one tensor in memory at a time."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    shapes = {key: (name_of(tensor.dtype), tuple(tensor.shape)) for key, tensor in tensors.items()}
    longest = [Entry(key, *shape, total, total) for key, shape in shapes.items()]
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        reserve = reserve_for(longest, {"about": about, "sha256": _NO_DIGEST})
        with closing(TensorFile(temporary, reserve)) as file:
            for key in sorted(tensors):
                file.append(key, tensors[key])
            file.seal({"about": about, "sha256": _checksum(shapes, file.digest, about)})
        with explained(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_checked(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path)
    about: dict[str, Any] = metadata["about"]
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(raw_bytes(tensors[key]))
    shapes = {key: (name_of(tensor.dtype), tuple(tensor.shape)) for key, tensor in tensors.items()}
    if metadata["sha256"] != _checksum(shapes, digest.hexdigest(), about):
        raise DamagedFileError(f"{path} is damaged (its checksum does not match)")
    return tensors, about


def _checksum(shapes: Mapping[str, Any], data: str, about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([shapes, data, about], sort_keys=True).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no such names."""
    with _replacing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            _copy(source, temporary)


def _own(path: Path) -> None:
    """Make sure that the file has no second name: a finished output must not be cut with it."""
    if path.exists() and path.stat().st_nlink > 1:
        with _replacing(path) as temporary:
            _copy(path, temporary)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A name beside ``target``; what is put there takes its place at the end."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY}")
    try:
        with explained(target):
            temporary.unlink(missing_ok=True)  # of a killed process with the same number
            yield temporary
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
