"""Whole files or none: every output is written beside its place, synced and renamed."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.numpy

if TYPE_CHECKING:
    import numpy
    import torch

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

METADATA_KEY = "json"  # one key only: safetensors does not keep the order of several


TEMPORARY = ".tmp"
"""Ending of the hidden files that are being written."""


class OutputError(OSError):
    """An output could not be written."""


class DamagedFileError(RuntimeError):
    """A file is truncated, altered or not of the expected kind."""


_finished: list[Callable[[Path], None]] = []


@contextmanager
def afterwards(call: Callable[[Path], None]) -> Iterator[None]:
    """Have ``call`` see each output as soon as it is in its place."""
    _finished.append(call)
    try:
        yield
    finally:
        _finished.remove(call)


def finished(path: Path) -> None:
    """Say that an output is in its place; only who puts it there by other means has to."""
    for call in _finished:
        call(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, or leave it untouched.

    Raises :class:`OutputError` saying what is in the way: no space, no permission.
    """
    put(path, content)
    finished(path)


def put(path: Path, content: bytes) -> None:
    """:func:`write_bytes` of what is no output by itself."""
    put_blocks(path, [content], len(content))


def put_blocks(path: Path, blocks: Iterable[bytes], size: int) -> None:
    """:func:`put` of ``size`` bytes, block by block; an error in between leaves ``path`` untouched."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY, delete=False
        ) as file:
            temporary = Path(file.name)
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({size:,} bytes): {error.strerror}{space_left(path)}. "
            "What was there before is unchanged."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """:func:`write_bytes` in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline; keys keep their order."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """The text that :func:`write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_arrays(
    path: Path, arrays: "Mapping[str, numpy.ndarray]", metadata: Mapping[str, Any] | None = None
) -> None:
    """NumPy arrays as safetensors, with JSON metadata; equal contents give equal bytes."""
    write_bytes(path, safetensors.numpy.save(dict(arrays), _pack(metadata)))


def read_arrays(path: Path) -> "tuple[dict[str, numpy.ndarray], dict[str, Any]]":
    """NumPy arrays and metadata of a safetensors file. Raises :class:`DamagedFileError`."""
    return _read(path, "numpy")


def read_tensors(path: Path) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """Tensors (on the CPU) and metadata of a safetensors file. Raises :class:`DamagedFileError`."""
    return _read(path, "pt")


def tensors_one_by_one(
    path: Path,
) -> "tuple[list[str], Callable[[str], torch.Tensor], dict[str, Any]]":
    """The names in a safetensors file, a function that reads one tensor, and the metadata.

    Raises :class:`DamagedFileError`, as does the function.
    """
    with _damage_named(path):
        file = safetensors.safe_open(path, framework="pt")
        metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))

    def read(key: str) -> "torch.Tensor":
        with _damage_named(path):
            tensor: torch.Tensor = file.get_tensor(key)
            return tensor

    return list(file.keys()), read, metadata


def _read(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with _damage_named(path), safetensors.safe_open(path, framework=framework) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (safetensors.SafetensorError, ValueError) as error:
        raise DamagedFileError(f"{path} is damaged ({error}); delete it to have it rebuilt") from error


def sha256(path: Path) -> str:
    """Checksum of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(metadata: Mapping[str, Any] | None) -> dict[str, str] | None:
    return None if metadata is None else {METADATA_KEY: json.dumps(metadata, sort_keys=True)}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def space_left(path: Path) -> str:
    """How much there is on the disk of a file, for a message."""
    folder = next((p for p in path.absolute().parents if p.exists()), None)
    if folder is None:
        return ""
    return f", {shutil.disk_usage(folder).free:,} bytes free in {folder}"
