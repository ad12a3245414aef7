"""Safetensors files that are written tensor by tensor, each of them once, with the header last.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, JSON
that may be padded with spaces, which says where each tensor lies behind it. Where the header is long
enough from the start for all that may come, tensors can be appended for hours, and nothing that is
written is ever moved.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pipeline.provenance.files import METADATA_KEY, DamagedFileError, OutputError, space_left

if TYPE_CHECKING:
    import torch

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

_LENGTH = 8
_BLOCK = 1 << 24


class Entry(NamedTuple):
    """Where a tensor lies, in bytes behind the header."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def reserve_for(entries: Iterator[Entry] | list[Entry], metadata: Mapping[str, Any]) -> int:
    """Bytes of a header for these entries or shorter ones, and as many."""
    needed = _LENGTH + len(_header(list(entries), metadata))
    return -(-needed // _LENGTH) * _LENGTH


class TensorFile:
    """A file that is being written, with ``reserve`` bytes for its header.

    ``digest`` is the SHA-256 of all bytes behind the header so far. Where ``entries`` are given, the
    file goes on behind the last of them, and what lies further back is cut off.

    Raises
    ------
    DamagedFileError
        Where the file is shorter than its entries, or their bytes do not have the digest ``expected``.
    pipeline.provenance.files.OutputError
        Where the file cannot be opened or written; the message says why.
    """

    def __init__(
        self, path: Path, reserve: int, entries: list[Entry] | None = None, expected: str | None = None
    ) -> None:
        self.path, self.reserve = path, reserve
        self.entries = list(entries or [])
        self._digest = hashlib.sha256()
        with explained(path):
            self._file: IO[bytes] = path.open("r+b" if entries is not None else "w+b", buffering=0)
            if entries is not None:
                self._read_on(expected)
            else:
                self._file.truncate(reserve)
                self._file.seek(reserve)

    @property
    def length(self) -> int:
        """Bytes behind the header."""
        return self.entries[-1].end if self.entries else 0

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes behind the header."""
        return self._digest.hexdigest()

    def append(self, key: str, tensor: "torch.Tensor") -> Entry:
        """Write a tensor, wherever it is; one copy of it is made at most."""
        raw = raw_bytes(tensor)
        with explained(self.path):
            write_all(self._file, raw)
        self._digest.update(raw)
        dtype, start = _NAMES[str(tensor.dtype)], self.length
        entry = Entry(key, dtype, tuple(tensor.shape), start, start + len(raw))
        self.entries.append(entry)
        return entry

    def seal(self, metadata: Mapping[str, Any]) -> None:
        """Write the header; the file is then one that the safetensors library reads."""
        room = self.reserve - _LENGTH
        header = _header(self.entries, metadata)
        assert len(header) <= room, "the header is longer than what was reserved for it"
        with explained(self.path):
            self._file.seek(0)
            write_all(self._file, room.to_bytes(_LENGTH, "little") + header.ljust(room))
            self._file.seek(self.reserve + self.length)
        self.sync()

    def sync(self) -> None:
        """Have all that was written on the disk."""
        with explained(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read_on(self, expected: str | None) -> None:
        self._file.seek(self.reserve)
        left = self.length
        while left and (block := self._file.read(min(left, _BLOCK))):
            self._digest.update(block)
            left -= len(block)
        if left or (expected is not None and self.digest != expected):
            self._file.close()
            raise DamagedFileError(f"{self.path} is damaged (its checksum does not match)")
        self._file.truncate(self.reserve + self.length)
        self._file.seek(self.reserve + self.length)


_NAMES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


def name_of(dtype: "torch.dtype") -> str:
    """Of a type of numbers, in a header."""
    return _NAMES[str(dtype)]


def raw_bytes(tensor: "torch.Tensor") -> memoryview:
    """Of the numbers in a tensor, wherever it is, in order."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _header(entries: list[Entry], metadata: Mapping[str, Any]) -> bytes:
    about: dict[str, Any] = {"__metadata__": {METADATA_KEY: json.dumps(metadata, sort_keys=True)}}
    for key, dtype, shape, start, end in entries:
        about[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    return json.dumps(about, separators=(",", ":")).encode()


def write_all(file: IO[bytes], content: "bytes | memoryview") -> None:
    """Write to an unbuffered file, which may take less than it is given."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says into an :class:`OutputError` that names the file."""
    try:
        yield
    except OutputError:
        raise
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing") from error
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}{space_left(path)}") from error
