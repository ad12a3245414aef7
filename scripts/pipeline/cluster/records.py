"""What is known of a scheduler's jobs, in files beside Snakemake's own: their numbers, how they ended.

Without pathlib: every few seconds a process asks for each job, and pathlib would triple its time.
"""

import os
from contextlib import suppress

FOLDER = os.path.join(".snakemake", "cluster")


def path(kind: str, name: str) -> str:
    """The file for ``name`` of a kind; ``profiles/jobscript.sh`` writes some of ``ended``."""
    return os.path.join(FOLDER, kind, name)


def read(kind: str, name: str) -> str | None:
    """What was noted, or None; a file that is still empty counts as none."""
    try:
        with open(path(kind, name), encoding="utf-8") as file:
            return file.read().strip() or None
    except OSError:
        return None


def write(kind: str, name: str, content: str) -> None:
    """Note ``content``; a reader finds all of it or none."""
    place = path(kind, name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(f"{place}.{os.getpid()}", "w", encoding="utf-8") as file:
        file.write(content)
    os.replace(file.name, place)


def forget(kind: str, name: str) -> None:
    """Remove what was noted, if anything was."""
    with suppress(FileNotFoundError):
        os.remove(path(kind, name))


def age(kind: str, name: str, now: float) -> float:
    """Seconds since it was noted; infinite if it was not."""
    try:
        return now - os.stat(path(kind, name)).st_mtime
    except OSError:
        return float("inf")
