"""One running Snakemake per folder, by a lock that the kernel releases even when it is killed.

Snakemake's own lock files survive a SIGKILL, and the next call then asks for ``--unlock``. Here a
running call also holds a kernel lock: whoever gets it knows that lock files still lying around are
stale and removes them, so nobody has to unlock by hand and two calls never run at once.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from snakemake.exceptions import WorkflowError

_held: list[IO[str]] = []  # keeps the descriptor, and so the lock, for the life of the process


def remove_stale_locks(folder: Path) -> None:
    """Remove Snakemake's lock files in ``folder`` if no call is running there."""
    locks = folder / ".snakemake" / "locks"
    if not locks.is_dir() or not any(locks.iterdir()):
        return
    file = _lock(folder)
    if file is not None:
        shutil.rmtree(locks, ignore_errors=True)
        file.close()


def is_occupied(folder: Path) -> bool:
    """Whether a call is running in ``folder``."""
    if not _path(folder).exists():
        return False
    file = _lock(folder)
    if file is not None:
        file.close()
    return file is None


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep snakemake out of ``folder`` meanwhile. Raises ``WorkflowError`` if one is running."""
    file = _lock(folder)
    if file is None:
        raise WorkflowError(occupied(folder))
    with file:
        yield


def hold_folder(workflow: Any) -> None:
    """Hold the working directory until the process ends (nothing for jobs run on a cluster node).

    Raises ``WorkflowError`` if another call is running in it.
    """
    if not workflow.is_main_process:
        return
    file = _lock(Path.cwd())
    if file is None:
        raise WorkflowError(occupied(Path.cwd()))
    _held.append(file)


def occupied(folder: Path) -> str:
    """What to do while another call is running in ``folder``."""
    return (
        f"another snakemake is running in {folder}. Wait until it has finished, or work in "
        "a second clone of the project."
    )


def _path(folder: Path) -> Path:
    return folder / ".snakemake" / "running.lock"


def _lock(folder: Path) -> IO[str] | None:
    """The open lock file, or None if another process holds it."""
    path = _path(folder)
    path.parent.mkdir(exist_ok=True)
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
