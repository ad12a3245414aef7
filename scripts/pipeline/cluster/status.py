"""What has become of a job: ``running``, ``success`` or ``failed``, as the executor cluster-generic wants it.

A job that ends by itself notes its exit status (``profiles/jobscript.sh``), and that is what counts. For
all others the scheduler is asked, for all jobs at once and not more often than every few seconds. One
that is neither noted nor queued has been killed, after as long as a shared file system may take
to show the note. So no accounting is needed, no job is waited for in vain, and none that the scheduler has
forgotten counts as done.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from pipeline.cluster import records

FRESH = 5.0
"""Seconds for which an answer of the scheduler serves the questions for all jobs."""

PATIENCE = float(os.environ.get("CLUSTER_PATIENCE", "60"))
"""Seconds that the note of a job that has left the queue may take to be seen."""

DONE = "COMPLETED"
KILLED = frozenset(
    "BOOT_FAIL CANCELLED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT".split()
)
"""Words of SLURM for the end of a job; to all others, and to no word at all, a job that is listed runs."""


def status(job: str, queue: Sequence[str], now: float) -> str:
    """What has become of ``job``; ``queue`` is a command that lists jobs, their numbers first."""
    if (code := records.read("ended", job)) is not None:
        return "success" if code == "0" else "failed"
    listed = listed_jobs(queue, now)
    if listed is None:
        return "running"  # the scheduler does not answer, which says nothing of the job
    word = listed.get(job)
    if word == DONE:
        return "success"
    if word in KILLED:
        print(f"job {job} of the scheduler: {word}", file=sys.stderr)
        return "failed"
    if word is not None:
        return "running"
    return _missing(job, now)


def _missing(job: str, now: float) -> str:
    since = records.read("missing", job)
    if since is None:
        records.write("missing", job, repr(now))
        since = repr(now)
    if now - float(since) < PATIENCE:
        return "running"
    print(
        f"job {job} has left the scheduler's queue without a word: it was killed, or its node was lost",
        file=sys.stderr,
    )
    return "failed"


def listed_jobs(queue: Sequence[str], now: float) -> Mapping[str, str] | None:
    """The scheduler's word for each job that it lists; None where it does not answer."""
    place = records.path("queue", "listed")
    if not _is_fresh(place, now):
        asked = subprocess.run(queue, stdout=subprocess.PIPE, text=True, check=False)
        if asked.returncode != 0:
            return None
        records.write("queue", "listed", asked.stdout + "\n.")
    rows = [line.split() for line in (records.read("queue", "listed") or "").splitlines()]
    return {row[0]: row[1] if len(row) > 1 else "" for row in rows if row}


def _is_fresh(place: str, now: float) -> bool:
    try:
        return 0 <= now - os.stat(place).st_mtime < FRESH  # noqa: PTH116
    except OSError:
        return False
