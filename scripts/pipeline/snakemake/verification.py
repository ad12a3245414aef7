"""What is wrong with the results in a folder: damaged, foreign, missing, unsealed or stale files."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.downloads.records import checksum_of, read_records
from pipeline.jobs.command import CommandError, made_by
from pipeline.provenance.seals import ASIDE, SUFFIX, Seal, fault_of, place, read_seal, sealed_path
from pipeline.runs.paths import published_files
from pipeline.snakemake.private import PlannedJob, planned_jobs
from pipeline.snakemake.reporting import drawn_at

FOLDERS = ("results", "figures")
"""Where results lie, from the working directory."""

TARGETS = ("figures", "figures_images", "tables", "claims", "claims_images")
"""What there is to make."""

KINDS = {
    "damaged": "their bytes are not those that were written",
    "foreign": "they were written under another name",
    "missing": "something was made from them, or they were made with something, that is there",
    "unsealed": "nothing says whether they are whole",
    "stale": "they were made from other files or with other settings than those that are there now",
}
"""Every kind of fault, and what it says of files."""


class Found(NamedTuple):
    """A fault of a file, of one of the :data:`KINDS`."""

    kind: str
    file: str
    message: str


class Verified(NamedTuple):
    """How many files there are, and what is wrong with them."""

    files: int
    bytes: int
    faults: list[Found]


def verify(folders: Iterable[str] = FOLDERS) -> Verified:
    """Read every result below ``folders`` of the working directory, and compare it with its seal.

    Published files, which have no seals, are compared with the checksums that they were published with.
    """
    seals: dict[str, Seal] = {}
    faults: list[Found] = []
    count = size = 0
    for path in results(folders):
        count, size = count + 1, size + (path.stat().st_size if path.is_file() else 0)
        seal, fault = fault_of(path)
        if fault is not None:
            faults.append(Found(fault.kind, place(path), fault.message))
        elif seal is not None:
            seals[place(path)] = seal
    faults += _published()
    faults += of_origins(seals, {fault.file for fault in faults})
    return Verified(count, size, sorted(faults, key=lambda fault: (list(KINDS).index(fault[0]), fault)))


def results(folders: Iterable[str]) -> Iterator[Path]:
    """Files that have a seal or should have one, each once."""
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*")):
        if path.name.endswith(SUFFIX) and path.name.startswith("."):
            if not sealed_path(path).exists():
                yield sealed_path(path)
        elif path.is_file() and not path.name.startswith((".", f"{ASIDE}.")) and not _is_published(path):
            yield path


def _is_published(path: Path) -> bool:
    return path.parts[:2] == ("results", "raw") and path.name != "files.json"


def _published() -> Iterator[Found]:
    for path in sorted(Path().glob(published_files("*"))):
        try:
            records = read_records(path)
        except CommandError:
            continue  # found damaged by its seal
        for name, record in records.items():
            if not Path(record.path).is_file():
                yield Found("missing", record.path, f"is missing, which {path} names as {name}")
            elif checksum_of(Path(record.path), record.checksum) != record.checksum:
                yield Found("damaged", record.path, f"is not {name} as it was published")


def of_origins(seals: dict[str, Seal], faulty: set[str]) -> Iterator[Found]:
    """Files that were made from what is no longer there, or from what has changed since."""
    gone: dict[str, str] = {}
    for file, seal in seals.items():
        for name, checksum in seal.made_from.items():
            if name.endswith("files.json"):
                continue  # says where published files lie, and data are the same from everywhere
            if name in seals and seals[name].sha256 != checksum:
                yield Found("stale", file, f"was made from another {name} than the one that is there")
            elif name not in seals and name not in faulty and not Path(name).exists():
                gone.setdefault(name, file)
    for name, file in gone.items():
        yield Found("missing", name, f"is missing, from which {file} was made")


def outdated(folder: Path, base: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Results in ``folder`` that a call of the project in ``base`` would make again, and why.

    ``config`` has what the call states in place of ``config.yaml``.

    Those that come after another one of them are left out. Raises ``WorkflowError``.
    """
    return outdated_of(planned_jobs(folder, TARGETS, base, **config).values(), folder)


def outdated_of(jobs: Iterable[PlannedJob], folder: Path) -> dict[str, str]:
    """:func:`outdated` of the results of some jobs."""
    found = {}
    for job in jobs:
        there = [name for name in job.outputs if (folder / name).exists()]
        words = shlex.split(job.command)[2:]
        drawing = job.rule == "draw" and job.outdated
        other = _other_scale(job.wildcards["figure"], words, folder) if drawing else ""
        for name in there:
            seal = read_seal(folder / name)
            if other:
                found[name] = f"was drawn at scale {other}; SCALE={other} compares it with that"
            elif job.outdated:
                found[name] = f"was made before a change of {job.outdated}"
            elif seal is not None and seal.made_by and seal.made_by != made_by(words):
                found[name] = "was made by another command than the one that makes it now"
    return found


def _other_scale(figure: str, drawing: list[str], folder: Path) -> str:
    """The scale at which a figure was drawn, where that is not the one of the command that draws it."""
    asked = json.loads(drawing[drawing.index("--context") + 1])["scale"]
    drawn = drawn_at(folder, figure)
    return drawn if drawn != asked else ""
