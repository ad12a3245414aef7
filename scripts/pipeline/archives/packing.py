"""Write an archive: a zip whose bytes follow from what is in it, and from nothing else."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.archives import about as abouts
from pipeline.archives import crate
from pipeline.archives.about import About
from pipeline.archives.contents import DRAWN, WEIGHTS, Contents
from pipeline.provenance.files import TEMPORARY, DamagedFileError, OutputError, as_json, space_left
from pipeline.provenance.seals import as_content
from pipeline.snakemake.private import Record

SEALS = "seals.json"
RECORDS = "snakemake.json"
CONFIG = "config.yaml"
README = "README.md"
LOCK = "envs/lock.txt"
CITATION = "CITATION.cff"

PRIVATE = ("data_root", "mirror")
"""Keys of the configuration that say where one machine has its files."""

BLOCK = 1 << 20

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can have
_COMPRESSED = (".safetensors", ".pdf", ".png", ".gz")  # by themselves, or not to be compressed

_DESCRIPTIONS = {
    SEALS: "size, checksum, time and origin of each result, as the files .NAME.seal beside it have them",
    RECORDS: "what Snakemake remembers of each result",
    CONFIG: "the settings of the run",
    README: "what is in this archive, and what to do with it",
    LOCK: "the packages that the project asks for, with checksums",
    CITATION: "how to cite the project",
    abouts.NAME: "the code, the packages and the jobs of the run",
}


def texts(
    about: About, found: Contents, records: Mapping[str, Record], config: Mapping[str, Any], base: Path
) -> dict[str, bytes]:
    """The files of an archive that are no results; the project lies in ``base``."""
    kept = {key: None if key in PRIVATE else value for key, value in config.items()}
    return {
        abouts.NAME: as_json(about.model_dump(mode="json")).encode(),
        CONFIG: yaml.safe_dump(kept, sort_keys=False, allow_unicode=True).encode(),
        SEALS: as_json({file: as_content(seal) for file, seal in found.seals.items()}).encode(),
        RECORDS: as_json({file: one._asdict() for file, one in sorted(records.items())}).encode(),
        LOCK: (base / LOCK).read_bytes(),
        CITATION: (base / CITATION).read_bytes(),
        README: _readme(about, found).encode(),
    }


def pack(path: Path, about: About, found: Contents, written: Mapping[str, bytes]) -> int:
    """Write the archive of results and of the files ``written``; its size in bytes.

    Raises :class:`pipeline.provenance.files.OutputError` where it cannot be written, and
    :class:`pipeline.provenance.files.DamagedFileError` where a result changes meanwhile.
    """
    parts = {name: crate.Part(seal.size, seal.sha256) for name, seal in found.seals.items()}
    for name, content in written.items():
        digest = hashlib.sha256(content).hexdigest()
        parts[name] = crate.Part(len(content), digest, _DESCRIPTIONS[name])
    described = as_json(crate.metadata(about, parts, found.seals)).encode()
    try:
        temporary = _new_file(path)
        try:
            with zipfile.ZipFile(temporary, "w") as file:
                for name in sorted([*parts, crate.NAME]):
                    whole = described if name == crate.NAME else written.get(name)
                    _add(file, name, _read(name, parts[name]) if whole is None else [whole])
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}{space_left(path)}") from error
    return path.stat().st_size


def _new_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    os.close(handle)
    return Path(name)


def _add(file: zipfile.ZipFile, name: str, blocks: Iterable[bytes]) -> None:
    about = zipfile.ZipInfo(name, _TIME)
    about.compress_type = zipfile.ZIP_STORED if name.endswith(_COMPRESSED) else zipfile.ZIP_DEFLATED
    about.create_system, about.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is packed
    with file.open(about, "w", force_zip64=True) as member:
        for block in blocks:
            member.write(block)


def _read(name: str, part: crate.Part) -> Iterator[bytes]:
    """The bytes of a result; they must still be those of its seal."""
    digest = hashlib.sha256()
    with Path(name).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            yield block
    if digest.hexdigest() != part.sha256:
        raise DamagedFileError(f"{name} has changed while it was packed; call again")


def _readme(about: About, found: Contents) -> str:
    pictures = [file for file in found.drawn if file.endswith(".pdf")]
    tables = [file for file in found.drawn if file.endswith(".md")]
    weights = "with" if any(file.endswith(WEIGHTS) for file in found.seals) else "without"
    other = sorted({step.rule for step in about.steps} - set(DRAWN))
    return "\n".join(
        [
            f"# {about.code.title}: results at {about.scale} scale",
            "",
            f"Made by {about.code.words}, with Python {about.python} on {about.machine}; {weights} the "
            "weights of the nets, without data. `config.yaml` has the settings, `archive.json` the "
            f"packages, `seals.json` what each file was made from, and `{crate.NAME}` all files with "
            "their checksums.",
            "",
            "In a clone of the project,",
            "",
            "```",
            "make figures FROM=archive.zip      # draws the figures again from the tables in it",
            "make compare A=archive.zip B=.     # says which numbers of another run differ",
            "```",
            "",
            f"Figures: {', '.join(pictures) or 'none'}.",
            "",
            f"Texts: {', '.join(tables) or 'none'}.",
            "",
            f"Jobs behind them: {', '.join(other)}.",
            "",
        ]
    )
