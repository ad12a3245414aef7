"""What has become of a job: ``running``, ``success`` or ``failed``, as cluster-generic has it.

A job that ends by itself notes its exit status (``profiles/jobscript.sh``), and that is what counts. For
all others the scheduler is asked, for all jobs at once and not more often than every few seconds. One
that is neither noted nor queued has been killed, once a shared file system has had the time to show
the note. So no accounting is needed, no job is waited for in vain, and none that the scheduler has
forgotten counts as done.
"""

import sys
from collections.abc import Mapping, Sequence

from pipeline.cluster import records

FRESH = 5.0
"""Seconds for which an answer of the scheduler serves the questions for all jobs."""

PATIENCE = 60.0
"""Seconds that the note of a job that has left the queue may take to be seen."""

DONE = frozenset(("COMPLETED", "DONE"))
KILLED = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "DEADLINE",
        "EXIT",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    )
)
"""Words of SLURM and LSF for the end of a job; with any other, or none, a listed one runs or waits."""

HOPELESS = (
    "AssocMaxWall",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSMaxWall",
)
"""How reasons of SLURM for waiting begin that do not go away."""


def told(job: str, queue: Sequence[str], now: float) -> str:
    """:func:`status`, for a call of Snakemake; that it has been told of the end of a job is noted."""
    found = status(job, queue, now)
    if found != "running":
        records.write("told", job, found)
    return found


def status(job: str, queue: Sequence[str], now: float) -> str:
    """What has become of ``job``; ``queue`` is a command that lists jobs.

    Each line has the number of a job and, as far as the scheduler has them, its state and why it waits.
    """
    if (code := records.read("ended", job)) is not None:
        return "success" if code == "0" else "failed"
    listed = _listed(queue, now)
    if listed is None:
        return "running"  # the scheduler does not answer, which says nothing of the job
    if job not in listed:
        return _missing(job, now)
    records.forget("missing", job)  # it was not listed yet
    state, reason = listed[job]
    if state in KILLED:
        _say(f"job {job} of the scheduler has ended with the word {state}")
        return "failed"
    if reason.startswith(HOPELESS) and records.read("hopeless", job) is None:
        records.write("hopeless", job, reason)
        _say(f"job {job} of the scheduler waits in vain ({reason}): stop, and ask for what it can give")
    return "success" if state in DONE else "running"


def _missing(job: str, now: float) -> str:
    since = records.read("missing", job)
    if since is None:
        records.write("missing", job, since := repr(now))
    if now - float(since) < PATIENCE:
        return "running"
    _say(f"job {job} has left the scheduler's queue without a word: it was killed, or its node was lost")
    return "failed"


def _listed(queue: Sequence[str], now: float) -> Mapping[str, tuple[str, str]] | None:
    """State of each job that the scheduler lists, and why it waits; None where it does not answer."""
    if records.age("queue", "listed", now) >= FRESH:
        import subprocess  # an answer that is fresh is read without it, in a third of the time

        asked = subprocess.run(queue, stdout=subprocess.PIPE, text=True, check=False)
        if asked.returncode != 0:
            return None
        records.write("queue", "listed", asked.stdout)
    rows = [line.split() for line in (records.read("queue", "listed") or "").splitlines()]
    return {row[0]: ((row + [""])[1], (row + ["", ""])[2]) for row in rows if row}


def _say(message: str) -> None:
    print(message, file=sys.stderr)
