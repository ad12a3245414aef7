"""What is known of the jobs of schedulers, in files beside Snakemake's own: their numbers and how they ended."""

import os

FOLDER = os.path.join(".snakemake", "cluster")  # noqa: PTH118  pathlib takes as long to import as the rest


def path(kind: str, name: str) -> str:
    """The file for ``name`` among those of a kind; ``profiles/jobscript.sh`` writes those of ``ended``."""
    return os.path.join(FOLDER, kind, name)  # noqa: PTH118


def read(kind: str, name: str) -> str | None:
    """What was noted, or None; a file that is still empty counts as none."""
    try:
        with open(path(kind, name), encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip() or None
    except OSError:
        return None


def write(kind: str, name: str, content: str) -> None:
    """Note ``content``; a reader finds all of it or none."""
    place = path(kind, name)
    os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
    with open(f"{place}.{os.getpid()}", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(content)
    os.replace(file.name, place)  # noqa: PTH105
