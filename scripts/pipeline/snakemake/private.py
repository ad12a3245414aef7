"""What reaches into Snakemake where no public means does. Nothing else in the project does so.

**A result whose inputs are gone is made again.** Snakemake asks for an intermediate file only when
something has to be made from it, so one that was deleted stays missing while the figure behind it is
there. Here a missing file is struck from Snakemake's record of every result that was made from it.
Snakemake then finds that the result has to be made from other files than it was, and makes it again,
and so the missing file first. Prepared data and labels are left alone: what
they must contain is known, and they are made again when a job needs them.

**No rate limit on this machine.** For the sake of a limit that is of use on clusters only, every job
that ends starts one more timer that wakes the scheduler each second for good: after 150 jobs that
took a fifth of a core. Options can raise the limit and not remove the timers.

**Which jobs there are.** The API runs workflows and prints plans; it does not return them.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

from pipeline.provenance.files import write_text

METADATA = Path(".snakemake") / "metadata"
"""Where Snakemake keeps a JSON file for each result, with the inputs that it was made from."""


_REMADE = ("results/raw/", "results/data/", "results/labels/")


def strike_missing_inputs(folder: Path) -> None:
    """Strike files that are no longer in ``folder`` from the records of what was made from them."""
    there: dict[str, bool] = {}
    for path, _, names in os.walk(folder / METADATA):
        for record in (Path(path) / name for name in names):
            content = _read(record)
            inputs = content.get("input") or []
            for file in inputs:
                if file not in there:
                    there[file] = file.startswith(_REMADE) or (folder / file).exists()
            present = [file for file in inputs if there[file]]
            if len(present) < len(inputs):
                write_text(record, json.dumps(content | {"input": present}))


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):  # half written, or gone
        return {}
    return content if isinstance(content, dict) else {}


def lift_rate_limit(workflow: Any) -> None:
    """Let a call that runs its jobs on this machine start them without a limit per second."""
    if workflow.local_exec and workflow.scheduler is not None:
        workflow.scheduler.job_rate_limiter = None


class PlannedJob(NamedTuple):
    """A job behind some target: the file with its cost, its cores, its outputs, and what it needs."""

    benchmark: str
    threads: int
    outputs: tuple[str, ...]
    needs: tuple[str, ...]  # benchmark files of the jobs whose outputs it takes


def planned_jobs(folder: Path, targets: Iterable[str], **config: object) -> dict[str, PlannedJob]:
    """The jobs behind ``targets`` by their benchmark files, as a dry run in ``folder`` would have them.

    Jobs that are done count too; rules that only collect targets do not.
    """
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config=config),
            snakefile=folder / "Snakefile",
            workdir=folder,
        )
        workflow.dag(DAGSettings(targets=frozenset(targets))).execute_workflow(executor="dryrun")
        dag = workflow._workflow.dag
        return {
            str(job.benchmark): PlannedJob(
                str(job.benchmark),
                int(job.threads),
                tuple(map(str, job.output)),
                tuple(sorted(str(need.benchmark) for need in dag.dependencies[job] if need.benchmark)),
            )
            for job in dag.jobs
            if job.benchmark
        }
