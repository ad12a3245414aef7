"""One job at a time in a folder, and what ends it before its time."""

import fcntl
import hashlib
import json
import math
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

from pipeline.jobs.progress import LOG, job_name
from pipeline.provenance.files import (
    TEMPORARY,
    OutputError,
)

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


def state_key(*parts: str) -> str:
    """Sixteen hex digits for everything that a job depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process.

    A killed Snakemake leaves its jobs running. Such an orphan is asked to save and stop, so that
    this process resumes where it was; one that has not done so after two minutes is killed, and
    one on another machine is waited for. Half-written files that a killed process left in the folder
    are removed.

    Raises :class:`pipeline.provenance.files.OutputError` where the folder cannot be made or locked.
    """
    with _only_holder(folder / ".lock", f".*{TEMPORARY}"):
        yield


@contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """Hold the place of ``output`` for this process, as :func:`only_process` does a folder.

    So a job that an interrupted call left behind cannot write over what a later one has made.
    """
    with _only_holder(output.parent / f".{output.name}.lock", f".{output.stem}.*{TEMPORARY}"):
        yield


@contextmanager
def _only_holder(lock: Path, left_overs: str) -> Iterator[None]:
    folder = lock.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+")
    except OSError as error:
        raise OutputError(f"cannot use the folder {folder}: {error.strerror}") from error
    with file:
        _lock(file, lock)
        for left_over in folder.glob(left_overs):
            left_over.unlink(missing_ok=True)
        _write_owner(file, {"host": socket.gethostname(), **_identity(os.getpid())})
        try:
            yield
        finally:
            _write_owner(file, None)


PATIENCE = 120.0
"""Seconds for an orphan to save and stop. Killing it costs no more than its work since the last save."""


def _lock(file: IO[str], lock: Path) -> None:
    asked: dict[str, Any] | None = None
    deadline = math.inf
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(lock)
            if owner is not None and owner != asked:
                asked, deadline = owner, time.monotonic() + PATIENCE
                _ask_to_stop(owner)
            elif asked is not None and time.monotonic() > deadline:
                deadline = math.inf
                _kill(asked)
            time.sleep(0.05)
        except OSError as error:
            raise OutputError(
                f"cannot lock {lock} ({error.strerror}); put the project on a file system with locks"
            ) from error
        else:
            return


def _write_owner(file: IO[str], owner: Mapping[str, Any] | None) -> None:
    """Say who holds the lock. On a full disk nobody is named, and a successor waits without asking."""
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        if owner is not None:
            os.write(file.fileno(), json.dumps(owner).encode())


def _read_owner(lock: Path) -> dict[str, Any] | None:
    try:
        return json.loads(lock.read_bytes())
    except (OSError, ValueError):
        return None


def _identity(pid: int) -> dict[str, Any]:
    """A process id with the start time that tells it from a later process of the same number.

    Linux counts it from the boot, so that it stays the same when the clock is set.
    """
    started = psutil.Process(pid).create_time()
    return {"pid": pid, "started": round(started - psutil.boot_time(), 2) if psutil.LINUX else started}


def _ask_to_stop(owner: Mapping[str, Any]) -> None:
    LOG.warning(
        "process %d on %s, left over from an interrupted call, still works on this job; "
        "going on when it has saved and stopped",
        owner["pid"],
        owner["host"],
    )
    with suppress(psutil.Error):
        if (process := _process_of(owner)) is not None:
            process.terminate()
            process.resume()  # one that is stopped, by Ctrl-Z for example, hears nothing until then


def _kill(owner: Mapping[str, Any]) -> None:
    """End a process that has not stopped when it was asked to."""
    try:
        if (process := _process_of(owner)) is not None:
            LOG.warning("process %d has not stopped within %.0f s and is killed", owner["pid"], PATIENCE)
            process.kill()
    except psutil.AccessDenied:
        LOG.warning("process %d belongs to another user, who has to end it", owner["pid"])
    except psutil.NoSuchProcess:
        pass


def _process_of(owner: Mapping[str, Any]) -> psutil.Process | None:
    """The process that holds a lock, if it is one of this machine that still runs."""
    if owner["host"] != socket.gethostname() or not owner.items() >= _identity(owner["pid"]).items():
        return None
    return psutil.Process(owner["pid"])


class Callers:
    """The processes that started this one: a shell and Snakemake."""

    def __init__(self) -> None:
        self._processes = psutil.Process().parents()[:2]

    def alive(self) -> bool:
        """Whether all of them still run. If not, nobody will take note that this job has finished."""
        return all(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in self._processes)


class Interruption:
    """Turns SIGTERM and SIGINT into a flag, so that a job can save before it stops."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def exit_if_requested(self, message: str) -> None:
        """End the process with the shell's code for the signal, if one has come."""
        if self.signal is not None:
            name = job_name() or signal.Signals(self.signal).name
            LOG.warning("%s: %s; call again to go on", name, message)
            raise SystemExit(128 + self.signal)
