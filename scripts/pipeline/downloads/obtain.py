"""All published files of a data set: found where they lie, or downloaded, once for all who ask."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nets.dataset import Published, PublishedFile
from pipeline.downloads.places import Places, held
from pipeline.downloads.records import Record
from pipeline.downloads.transfer import Limits, TransferError, in_bytes, shown, transfer
from pipeline.jobs.command import CommandError
from pipeline.jobs.progress import LOG

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


@dataclass(frozen=True)
class Sources:
    """Where to look, and whom to ask first. ``data_root`` is only ever added to."""

    data_root: Path | None = None
    mirror: str | None = None

    def addresses(self, published: Published, file: PublishedFile) -> list[str]:
        """Of a file, in the order in which they are asked."""
        own = [] if self.mirror is None else [f"{self.mirror.rstrip('/')}/{published.folder}/"]
        return [f"{address}{file.name}" for address in (*own, *published.mirrors)]


def obtain(published: Published, sources: Sources, raw: Path, limits: Limits) -> dict[str, Record]:
    """Where each file lies, or each of its members; what is nowhere is downloaded.

    Raises :class:`pipeline.jobs.command.CommandError` with all that was tried.
    """
    places = Places(published, sources.data_root, raw)
    found = _look(places, published.files)
    if len(found) < len(published.files):
        with ExitStack() as stack:
            targets = [] if sources.data_root is None else [sources.data_root / published.folder]
            writable = [folder for folder in [*targets, raw] if stack.enter_context(held(folder))]
            # another process may have downloaded them in the meantime
            found = _look(places, published.files)
            for file in published.files:
                if file not in found:
                    found[file] = _download(file, places, sources, writable, limits, found)
    for record in (one for records in found.values() for one in records.values()):
        LOG.info("%s: %s (%s)", published.folder, record.path, record.origin)
    return {name: record for file in published.files for name, record in found[file].items()}


Found = dict[PublishedFile, dict[str, Record]]


def _look(places: Places, files: tuple[PublishedFile, ...]) -> Found:
    found = {file: places.find(file) for file in files}
    return {file: records for file, records in found.items() if records is not None}


def _download(
    file: PublishedFile,
    places: Places,
    sources: Sources,
    writable: list[Path],
    limits: Limits,
    found: Found,
) -> dict[str, Record]:
    tried = []
    for address in sources.addresses(places.published, file):
        # what lies under this name in data_root is damaged, and is left as it is
        folder = next((f for f in writable if f == places.raw or not (f / file.name).exists()), None)
        if folder is None:
            raise CommandError(f"{file.name} cannot be downloaded: {places.raw} cannot be written to")
        part, path = folder / f".{file.name}.part", folder / file.name
        LOG.info("%s: downloading %s to %s", places.published.folder, shown(address), path)
        try:
            transfer(address, file, part, limits)
        except TransferError as error:
            LOG.warning("%s: %s", shown(address), error)
            tried.append(f"  {shown(address)}\n    {error}")
            continue
        size = part.stat().st_size
        part.replace(path)
        return {file.name: Record(str(path), file.checksum, size, shown(address))}
    raise CommandError(_nowhere(file, places, tried, found))


def _nowhere(file: PublishedFile, places: Places, tried: list[str], found: Found) -> str:
    """What was tried, and how to go on by hand."""
    published = places.published
    missing = [one for one in published.files if one not in found]
    lines = [f"{file.name} of {published.folder} could not be downloaded:", *tried]
    if places.unusable:
        lines.append("Files that lie there, but are not the published ones:")
        lines += [f"  {path}\n    {reason}" for path, reason in places.unusable.items()]
    lines.append("Get them elsewhere, or try again later (what has come is kept). Needed are:")
    lines += [f"  {one.name}  {_size(one)}{one.checksum}" for one in missing]
    if places.data_root is None:
        where = "any folder FOLDER and name it: snakemake --config data_root=FOLDER"
    else:
        where = f"data_root, {places.data_root}"
    layouts = " or ".join(f"{layout}/" for layout in published.layouts)
    lines += [
        f"Put them into {places.raw.absolute()}/, or into {where}",
        f"(there loose, in {published.folder}/ or, as torchvision has them, in {layouts}).",
        "docs/data.md tells more.",
    ]
    return "\n".join(lines)


def _size(file: PublishedFile) -> str:
    return "" if file.size is None else f"{in_bytes(file.size)}  "
