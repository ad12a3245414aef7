"""Whether there is the GPU that settings insist on, asked before any job starts."""

import importlib.util
import subprocess
import sys
from typing import Any

from snakemake.exceptions import WorkflowError

from pipeline.snakemake.setup import WorkflowSetup
from pipeline.snakemake.workflow import Sources

NONE = 3
"""Exit status of a process that finds no GPU."""

_ASK = f"import sys, torch; sys.exit(0 if torch.cuda.is_available() else {NONE})"


def check_device(workflow: Any, setup: WorkflowSetup) -> None:
    """Raise ``WorkflowError`` where ``device: cuda`` is asked for, and this machine has no GPU.

    Where jobs run elsewhere, or in an environment of their own, they say so themselves.
    """
    if not workflow.is_main_process or not workflow.local_exec:
        return
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
