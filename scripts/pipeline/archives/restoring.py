"""Lay the results of an archive in the working directory, as if they had been made there.

Times, seals and Snakemake's records come with them. What can be drawn again is not unpacked.
"""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from pipeline.archives.reading import Archive
from pipeline.jobs.command import CommandError
from pipeline.provenance.files import put_blocks, sha256
from pipeline.provenance.seals import put_seal, read_seal
from pipeline.snakemake.private import Record, put_record

_SHOWN = 3


def restore(archive: Archive, targets: Collection[str]) -> int:
    """Unpack what ``targets`` are drawn from, and all other results; how many were not there yet.

    Raises :class:`CommandError`, before anything is written, where the archive is damaged or other files
    are in the way.
    """
    drawn = set(archive.drawn)
    kept = [file for file in archive.seals if file not in drawn]
    there = {file for file in kept if Path(file).exists() or Path(file).is_symlink()}
    in_the_way = [file for file in sorted(there) if not _is_same(archive, file)]
    in_the_way += [file for file in _to_draw(archive, targets) if not _may_be_drawn(archive, file)]
    if in_the_way:
        names = ", ".join(in_the_way[:_SHOWN])
        more = f" and {len(in_the_way) - _SHOWN} more" if len(in_the_way) > _SHOWN else ""
        raise CommandError(
            f"{names}{more} would be overwritten, and {archive.path} has others; unpack it in a clean "
            "clone of the project, or move results/ and figures/ away first"
        )
    archive.check()
    records = archive.records()
    for file in kept:
        if file not in there:
            if file in records:
                _remember(archive, file, records[file])
            seal = archive.seals[file]
            put_blocks(Path(file), archive.blocks(file), seal.size)
        _as_written(archive, file)
    return len(kept) - len(there)


def _remember(archive: Archive, file: str, record: Record) -> None:
    try:
        put_record(Path(), file, record)
    except ValueError as error:
        raise CommandError(f"{archive.path} is damaged: {error}; have it again") from None


def _as_written(archive: Archive, file: str) -> None:
    seal = archive.seals[file]
    os.utime(file, ns=(seal.written, seal.written))
    if read_seal(Path(file)) is None:
        put_seal(Path(file), seal)


def _is_same(archive: Archive, file: str) -> bool:
    return Path(file).is_file() and sha256(Path(file)) == archive.seals[file].sha256


def _to_draw(archive: Archive, targets: Collection[str]) -> Iterable[str]:
    """Files that are there and will be drawn again: facts, and what the targets are."""
    own = {Path(file).stem for file in targets}
    for file in archive.drawn:
        if Path(file).exists() and (not file.startswith("figures/") or Path(file).stem in own):
            yield file


def _may_be_drawn(archive: Archive, file: str) -> bool:
    """Whether what is there is the archive's, or was drawn from what the archive has."""
    if _is_same(archive, file):
        return True
    seal, drawn = read_seal(Path(file)), set(archive.drawn)
    if seal is None or seal.sha256 != sha256(Path(file)):
        return False
    sources = seal.made_from.items()
    return all(n in archive.seals and (n in drawn or archive.seals[n].sha256 == s) for n, s in sources)
