"""Handing a job over to a scheduler, unless a call that was killed has done so already."""

import hashlib
import json
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster import records
from pipeline.cluster.status import status

_NUMBER = re.compile(r"\d+(\.[A-Za-z][\w.-]*)?")
"""The number of a job in what sbatch, qsub or bsub print; that of PBS has the name of its server."""

_EMPTY = re.compile(r"-[\w-]+=(0|)")

_MARK = "# properties = "


class SubmissionError(RuntimeError):
    """The scheduler has not taken a job."""


def submit(command: Sequence[str], queue: Sequence[str], script: Path) -> str:
    """The number of the job that runs ``script``, by ``command``.

    In the command, JOB_NAME, JOB_LOG and JOB_SECONDS stand for what the job is called, where its output
    goes and how long it may take.
    Options without a value (``--partition=``) or with none to speak of (``--gpus=0``) are left out.
    Raises :class:`SubmissionError` where the scheduler refuses.
    """
    about = properties(script)
    same = identity(about)
    if same is not None:
        before = records.read("submitted", same)
        if before is not None and _is_of_use(before, queue):
            return before
    name = job_name(about)
    log = Path("logs") / "cluster" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    Path(records.path("ended", "")).mkdir(parents=True, exist_ok=True)
    known = {
        "JOB_NAME": name.replace("/", "."),
        "JOB_LOG": str(log),
        "JOB_SECONDS": str(60 * about["resources"].get("runtime", 0)),
    }
    filled = [_filled(word, known) for word in command if not _EMPTY.fullmatch(word)]
    done = subprocess.run([*filled, str(script)], stdout=subprocess.PIPE, text=True, check=False)
    found = _NUMBER.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise SubmissionError(
            f"the scheduler has not taken {name} (exit status {done.returncode}, "
            f"{done.stdout.strip()!r}); mend the command in the profile: {shlex.join(filled)}"
        )
    # of an older job of that number; at once, for the new one takes a second to start Snakemake
    for kind in ("ended", "told", "missing", "hopeless"):
        records.forget(kind, found[0])
    if same is not None:
        records.write("submitted", same, found[0])
    return found[0]


def _is_of_use(job: str, queue: Sequence[str]) -> bool:
    """Whether a job waits or runs, or has done its work without a call of Snakemake to be told so."""
    found = status(job, queue, time.time())
    return found == "running" or (found == "success" and records.read("told", job) is None)


def _filled(word: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        word = word.replace(name, value)
    return word


def properties(script: Path) -> dict[str, Any]:
    """What Snakemake says of a job in its script."""
    with script.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(_MARK):
                about: dict[str, Any] = json.loads(line.removeprefix(_MARK))
                return about
    raise SubmissionError(
        f"{script} has no line that begins with {_MARK!r}: is it a script of Snakemake's?"
    )


def identity(about: dict[str, Any]) -> str | None:
    """The same for two jobs that do the same; None for a group, whose settings are not told."""
    if about["type"] != "single":
        return None
    what = [about[key] for key in ("rule", "wildcards", "input", "output", "params")]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def job_name(about: dict[str, Any]) -> str:
    """The rule and what tells the job from others of it, as a path; its log has that name as well."""
    if about["type"] == "single" and about["log"]:
        return str(Path(*Path(about["log"][0]).with_suffix("").parts[1:]))
    outputs = hashlib.sha256(json.dumps(about["output"]).encode()).hexdigest()[:8]
    return f"{about.get('rule') or about.get('groupid', 'group')}/{outputs}"
