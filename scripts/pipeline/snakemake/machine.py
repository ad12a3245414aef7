"""Whether this machine has the GPU and the memory that jobs need, asked before any job starts."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from snakemake.exceptions import WorkflowError

from pipeline.snakemake.setup import WorkflowSetup
from pipeline.snakemake.workflow import Sources

NONE = 3
"""Exit status of a process that finds no GPU."""

_ASK = f"import sys, torch; sys.exit(0 if torch.cuda.is_available() else {NONE})"


def check_machine(workflow: Any, setup: WorkflowSetup) -> None:
    """Raise ``WorkflowError`` where jobs are to run on this machine that it cannot do.

    Where jobs run elsewhere they say so themselves.
    """
    if workflow.is_main_process and workflow.local_exec:
        check_device(workflow, setup)
        check_memory(workflow, setup, total_memory_mb())


def check_memory(workflow: Any, setup: WorkflowSetup, total_mb: int) -> None:
    """Raise ``WorkflowError`` where a job needs more memory than there is altogether."""
    needed = {
        job: mb
        for job in workflow.dag.needrun_jobs()
        if isinstance(mb := job.resources.get("mem_mb"), int) and mb > total_mb
    }
    if not needed:
        return
    job = max(needed, key=lambda one: needed[one])
    advice = setup.memory_advice(job.rule.name, job.wildcards_dict, needed[job])
    others = f" So do {len(needed) - 1} others." if len(needed) > 1 else ""
    raise WorkflowError(
        f"{job.rule.name} {' '.join(job.wildcards_dict.values())} needs about {needed[job]:,} MB of "
        f"memory, and this machine has {total_mb:,} MB.{others} {advice}"
    )


def total_memory_mb(group: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Of this machine, or of the container in which we are."""
    try:
        limit = float(group.read_bytes())
    except (OSError, ValueError):  # none, or "max"
        limit = math.inf
    return int(min(psutil.virtual_memory().total, limit) / 1e6)


def check_device(workflow: Any, setup: WorkflowSetup) -> None:
    """Raise ``WorkflowError`` where ``device: cuda`` is asked for, and this machine has no GPU.

    Where jobs run in an environment of their own they say so themselves.
    """
    if workflow.deployment_settings.deployment_method or importlib.util.find_spec("torch") is None:
        return
    asked = list(_asked_for(workflow, setup))
    if asked and _has_none():
        raise WorkflowError(
            f"{', and '.join(asked)} asked for, but torch finds no CUDA device on this machine; set "
            "device to auto or cpu, or run on a machine with a GPU"
        )


def _asked_for(workflow: Any, setup: WorkflowSetup) -> list[str]:
    """What insists on a GPU: all trainings, or studies among the jobs to be run."""
    jobs = list(workflow.dag.needrun_jobs())
    where = Sources(workflow)
    found = []
    if setup.config.top.device == "cuda":
        found.append(f"{where(('device',))}: device: cuda is")
    names = sorted(job.wildcards.study for job in jobs if job.rule.name == "study")
    scale = setup.config.scale
    return found + [
        f"{name}.{scale}.device: cuda is"
        for name in names
        if getattr(setup.config.study(name), "device", None) == "cuda"
    ]


def _has_none() -> bool:
    return subprocess.run([sys.executable, "-c", _ASK], check=False).returncode == NONE
