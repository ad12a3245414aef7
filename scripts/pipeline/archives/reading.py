"""Read an archive, and believe nothing of it that its checksums do not bear out."""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.archives import about as abouts
from pipeline.archives import crate
from pipeline.archives.about import About, read_about
from pipeline.archives.contents import DRAWN
from pipeline.archives.packing import BLOCK, CITATION, CONFIG, LOCK, README, RECORDS, SEALS
from pipeline.jobs.command import CommandError
from pipeline.provenance.seals import Seal, from_content
from pipeline.snakemake.private import Record

_TEXTS = {abouts.NAME, CITATION, CONFIG, LOCK, README, RECORDS, SEALS}
_RESULT = re.compile(r"(results|figures)(/[A-Za-z0-9_~+=-][A-Za-z0-9_.~+=-]*)+")
"""Names that results can have: below these folders, and never hidden or above."""

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
"""What zipfile raises for bytes that make no sense."""


@dataclass(frozen=True)
class Archive:
    """An open archive, whose list of files was found to be whole."""

    path: Path
    about: About
    parts: Mapping[str, crate.Part]
    seals: Mapping[str, Seal]
    _zip: zipfile.ZipFile

    @property
    def drawn(self) -> list[str]:
        """Results that are made again from the others."""
        return [file for step in self.about.steps if step.rule in DRAWN for file in step.outputs]

    @property
    def config(self) -> bytes:
        """The settings of the run, as YAML."""
        return self.read(CONFIG)

    def records(self) -> dict[str, Record]:
        """What Snakemake remembered of results."""
        with _explained(self.path):
            found = json.loads(self.read(RECORDS))
            return {file: Record(**one) for file, one in found.items() if file in self.seals}

    def blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file. Raises :class:`CommandError` at their end where they are not right."""
        part, digest, size = self.parts[name], hashlib.sha256(), 0
        with _explained(self.path), self._zip.open(name) as file:
            while block := file.read(BLOCK):
                size += len(block)
                digest.update(block)
                yield block
        if size != part.size or digest.hexdigest() != part.sha256:
            raise CommandError(
                f"{self.path} is damaged: {name} does not have its checksum; have it again"
            )

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises :class:`CommandError`."""
        return b"".join(self.blocks(name))

    def check(self) -> None:
        """Read every file. Raises :class:`CommandError` for the first that is damaged."""
        for name in self.parts:
            for _ in self.blocks(name):
                pass


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file. Raises :class:`CommandError` with a sentence for what is none."""
    if not path.is_file():
        raise CommandError(f"{path} is not a file; name an archive that make archive has written")
    if not zipfile.is_zipfile(path):
        raise CommandError(f"{path} is no archive: it is not a zip file, or it was cut; have it again")
    with _explained(path):
        file = zipfile.ZipFile(path)
    with file:
        with _explained(path):
            archive = _checked(path, file)
        yield archive


def _checked(path: Path, file: zipfile.ZipFile) -> Archive:
    names = file.namelist()
    if abouts.NAME not in names or crate.NAME not in names:
        raise CommandError(
            f"{path} is a zip file, and no archive of this project: it has no {abouts.NAME}"
        )
    for name in names:
        if name not in _TEXTS | {crate.NAME} and not _RESULT.fullmatch(name):
            raise CommandError(
                f"{path} has a file {name!r}, which no archive of this project has; nothing was unpacked"
            )
    parts = _listed(path, file, names)
    archive = Archive(path, read_about(_json(path, file, abouts.NAME), str(path)), parts, {}, file)
    archive.read(abouts.NAME)
    seals = {name: _seal(path, name, one) for name, one in json.loads(archive.read(SEALS)).items()}
    results = set(parts) - _TEXTS
    made = {name for step in archive.about.steps for name in step.outputs}
    if not results == set(seals) == made:
        odd = min((results | set(seals) | made) - (results & set(seals) & made))
        raise CommandError(f"{path} is not whole: its lists do not agree on {odd}; have it again")
    for name, seal in seals.items():
        if (seal.size, seal.sha256) != parts[name][:2]:
            raise CommandError(f"{path} is damaged: {name} has the seal of other bytes; have it again")
    return Archive(path, archive.about, parts, seals, file)


def _listed(path: Path, file: zipfile.ZipFile, names: list[str]) -> dict[str, crate.Part]:
    """The files that the metadata name, which are all that there are."""
    try:
        parts = crate.files_of(_json(path, file, crate.NAME))
    except (ValueError, LookupError, TypeError):
        raise CommandError(
            f"{path} is damaged: its {crate.NAME} makes no sense; have it again"
        ) from None
    there = set(names) - {crate.NAME}
    if missing := sorted({*parts, *_TEXTS} - there):
        raise CommandError(f"{path} is not whole: it lacks {missing[0]}; have it again")
    if foreign := sorted(there - set(parts)):
        raise CommandError(
            f"{path} has {foreign[0]}, which its {crate.NAME} does not name; do not trust it"
        )
    if len(names) != len(set(names)):
        raise CommandError(f"{path} has a file twice, and only one can count; do not trust it")
    return parts


def _json(path: Path, file: zipfile.ZipFile, name: str) -> dict[str, Any]:
    content = json.loads(file.read(name))
    if not isinstance(content, dict):
        raise CommandError(f"{path} is damaged: its {name} makes no sense; have it again")
    return content


def _seal(path: Path, name: str, content: Any) -> Seal:
    seal = from_content(content)
    if seal is None or seal.file != name:
        raise CommandError(f"{path} is damaged: the seal of {name} makes no sense; have it again")
    return seal


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except CommandError:
        raise
    except (*_BROKEN, ValueError, TypeError, LookupError, AttributeError) as error:
        raise CommandError(f"{path} is damaged ({error}); have it again") from error
