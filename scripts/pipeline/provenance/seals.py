"""The seal beside each result: what the file is, its checksum, and what it was made from.

``bounds.csv`` has ``.bounds.csv.seal``, a JSON file. Every result is sealed when it is written and
checked before it is read, so that a file that was cut, altered or put in the place of another one is
named, moved aside and made again, and is never believed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.provenance import files

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

SUFFIX = ".seal"

ASIDE = "set-aside"
"""How the names begin of what was moved out of the way."""


@dataclass(frozen=True)
class Seal:
    """What a file was when it was written.

    ``file`` is its path from the working directory, ``made_by`` a digest of the command line, and
    ``made_from`` has the checksums of all files that went in.
    """

    file: str
    size: int  # bytes
    sha256: str
    written: int  # time of last change, ns
    made_by: str
    made_from: Mapping[str, str]


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be believed: it is ``missing``, ``unsealed``, ``damaged`` or ``foreign``."""

    kind: str
    message: str


class UnsealedError(files.DamagedFileError):
    """A file may be whole, but nothing says so."""


def seal_path(path: Path) -> Path:
    """Where the seal of a file lies."""
    return path.with_name(f".{path.name}{SUFFIX}")


def sealed_path(seal: Path) -> Path:
    """The file that a seal is of."""
    return seal.with_name(seal.name.removeprefix(".").removesuffix(SUFFIX))


def place(path: Path) -> str:
    """What a seal calls a file: its path from the working directory."""
    return Path(os.path.relpath(path)).as_posix()


def write_seal(path: Path, made_by: str = "", made_from: Mapping[str, str] | None = None) -> None:
    """Vouch for a file as it is now. Raises :class:`pipeline.provenance.files.OutputError`."""
    about = path.stat()
    seal = Seal(
        place(path),
        about.st_size,
        files.sha256(path),
        about.st_mtime_ns,
        made_by,
        dict(made_from or {}),
    )
    put_seal(path, seal)


def put_seal(path: Path, seal: Seal) -> None:
    """Lay a seal beside a file. Raises :class:`pipeline.provenance.files.OutputError`."""
    files.put(seal_path(path), files.as_json(as_content(seal)).encode())


def as_content(seal: Seal) -> dict[str, Any]:
    """What the JSON file of a seal holds."""
    content = asdict(seal)
    return content | {"seal": _digest(content)}


def _digest(content: Mapping[str, Any]) -> str:
    """A seal's own checksum, by which a damaged one is known."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_seal(path: Path) -> Seal | None:
    """The seal of a file, or None where there is none that can be read."""
    try:
        return from_content(json.loads(seal_path(path).read_bytes()))
    except (OSError, ValueError):
        return None


def from_content(content: Any) -> Seal | None:
    """The seal that :func:`as_content` has made ``content`` of, or None for anything else."""
    try:
        about = {key: value for key, value in content.items() if key != "seal"}
        return Seal(**about) if content["seal"] == _digest(about) else None
    except (TypeError, AttributeError, KeyError):
        return None


def fault_of(path: Path) -> tuple[Seal | None, Fault | None]:
    """The seal of a file and what is wrong with the file, if anything is."""
    if not path.is_file():
        return None, Fault("missing", "is missing")
    if not seal_path(path).exists():
        return None, Fault("unsealed", f"has no seal ({seal_path(path).name} beside it)")
    seal = read_seal(path)
    if seal is None:
        return None, Fault("damaged", f"has a damaged seal ({seal_path(path).name})")
    if seal.file != place(path):
        return seal, Fault("foreign", f"is another file: it was written as {seal.file}")
    if path.stat().st_size != seal.size:
        found = f"it has {path.stat().st_size:,} bytes and was written with {seal.size:,}"
        return seal, Fault("damaged", f"is damaged: {found}")
    if files.sha256(path) != seal.sha256:
        return seal, Fault("damaged", "is damaged: its bytes are not those that were written")
    return seal, None


def checked(path: Path) -> str:
    """The checksum of a file that is as it was written.

    One that is not is moved aside, so that the next call makes it again.

    Raises
    ------
    UnsealedError
        Where nothing says what the file was; it is left as it is.
    pipeline.provenance.files.DamagedFileError
        Where the file is missing, damaged or another one.
    """
    seal, fault = fault_of(path)
    if fault is None and seal is not None:
        return seal.sha256
    assert fault is not None
    if fault.kind == "missing":
        raise files.DamagedFileError(f"{path} is missing; {_remedy(path)}")
    if fault.kind == "unsealed":
        raise UnsealedError(
            f"{path} {fault.message}, so that nobody can tell whether it is whole. Delete it and call "
            f"again to have it made; or, if you are sure of it, vouch for it: "
            f"python scripts/verify.py --vouch {path}"
        )
    aside = set_aside(path)
    raise files.DamagedFileError(f"{path} {fault.message}. It is now {aside.name}; {_remedy(path)}")


def _remedy(path: Path) -> str:
    """Data and labels that are missing when a call begins have all nets trained again."""
    if place(path).startswith(("results/data/", "results/labels/")):
        return f"'snakemake --cores 1 {place(path)}' makes it again, and then call again"
    return "call again to have it made"


def set_aside(path: Path) -> Path:
    """Move a file or folder out of the way, under the first free name, which is returned."""
    names = (path.with_name(f"{ASIDE}.{path.name.lstrip('.')}.{number}") for number in count(1))
    free = next(name for name in names if not name.exists())
    try:
        path.rename(free)
    except OSError as error:
        raise files.OutputError(f"cannot move {path} aside: {error.strerror}") from error
    return free


@contextmanager
def sealing(made_by: str, inputs: Iterable[Path], sources: Iterable[Path] = ()) -> Iterator[None]:
    """Check ``inputs``, then seal every output that is written, as made from them.

    ``sources`` are files of the project that are read too, and have no seals.

    An output that comes out with the same bytes as before keeps its time, so that data which were lost
    can be made again and nothing behind them has to be. And it is never older than its inputs, even
    where the clock went back in between: Snakemake would ask for it again. Raises what :func:`checked`
    does.
    """
    made_from = {place(path): checked(path) for path in inputs}
    newest = max((path.stat().st_mtime_ns for path in (*map(Path, made_from), *sources)), default=0)

    def seal(path: Path) -> None:
        before = read_seal(path)
        if before is not None and (before.file, before.sha256) == (place(path), files.sha256(path)):
            os.utime(path, ns=(before.written, before.written))
        if path.stat().st_mtime_ns < newest:
            os.utime(path, ns=(newest, newest))
        write_seal(path, made_by, made_from)

    with files.afterwards(seal):
        yield
