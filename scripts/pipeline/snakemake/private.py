"""What reaches into Snakemake where no public means does. Nothing else in the project does so.

**A result whose inputs are gone is made again.** Snakemake asks for an intermediate file only when
something has to be made from it, so one that was deleted stays missing while the figure behind it is
there. Here a missing file is struck from Snakemake's record of every result that was made from it.
Snakemake then finds that the result has to be made from other files than it was, and makes it again,
and so the missing file first. In the same way the parameters are struck from the records of results
that one job has made with a file that is missing now. A file that is back brings back what was struck.
Prepared data and labels are left alone: what they must contain is known, and they are made again when a
job needs them.

**No rate limit on this machine.** For the sake of a limit that is of use on clusters only, every job
that ends starts one more timer that wakes the scheduler each second for good: after 150 jobs that
took a fifth of a core. Options can raise the limit and not remove the timers.

**Many jobs in little time.** For each job Snakemake looks up some twenty times which arguments our input
functions take. The answers are kept. It puts together what it says of each job, even where a dry run
is to say nothing of jobs; it is left out there.

**Which jobs there are**, and why they would run. The API runs workflows and prints plans; it does not
return them.

**Records go with their results** into an archive and out of it, so that what is asked for there is made
again for the same reasons as here.
"""

import base64
import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import snakemake.common
import snakemake.rules
from snakemake.api import SnakemakeApi
from snakemake.common import FUNC_OVERWRITE_PARAMS_ATTR
from snakemake.jobs import Job
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

from pipeline.provenance.files import put, write_text

METADATA = Path(".snakemake") / "metadata"
"""Where Snakemake keeps a JSON file for each result, with the inputs that it was made from."""


_REMADE = ("results/raw/", "results/data/", "results/labels/")

_KNOWN = "before_files_were_missed"
"""Under which a record keeps what was struck from it, for the day when the files are back."""


def strike_missing_files(folder: Path) -> None:
    """Strike files that are no longer in ``folder`` from the records of what was made from them.

    Where an output of a job is missing, what its other outputs were made with is struck.
    """
    there: dict[str, bool] = {}

    def is_there(file: str) -> bool:
        if file not in there:
            there[file] = file.startswith(_REMADE) or (folder / file).exists()
        return there[file]

    records = dict(_records(folder / METADATA))
    halves = {_job(content) for file, (_, content) in records.items() if not is_there(file)}
    for file, (record, content) in records.items():
        if not content or not is_there(file):
            continue
        known = content.get(_KNOWN) or {key: content.get(key) for key in ("input", "params")}
        inputs = [file for file in known["input"] or [] if is_there(file)]
        struck = {"input": inputs, "params": [] if _job(content) in halves else known["params"]}
        if struck != {key: content.get(key) for key in struck}:
            kept = {key: value for key, value in content.items() if key != _KNOWN}
            write_text(record, json.dumps(kept | struck | ({} if struck == known else {_KNOWN: known})))


def _records(metadata: Path) -> Iterator[tuple[str, tuple[Path, dict[str, Any]]]]:
    """Every result with its record; a long name in base 64 is cut, and all but its end have an @."""
    for path, _, names in os.walk(metadata):
        for record in (Path(path) / name for name in names):
            with suppress(ValueError):
                yield _result_of(record.relative_to(metadata)), (record, _read(record))


def _result_of(record: Path) -> str:
    coded = "".join(part.lstrip("@") for part in record.parts)
    return base64.urlsafe_b64decode(coded).decode()


class Record(NamedTuple):
    """What Snakemake remembers of a result, and in which file below :data:`METADATA`."""

    path: str
    content: dict[str, Any]


def records_of(folder: Path, results: Iterable[str]) -> dict[str, Record]:
    """What is remembered in ``folder`` of some results, where anything is."""
    wanted, metadata = set(results), folder / METADATA
    return {
        result: Record(path.relative_to(metadata).as_posix(), content)
        for result, (path, content) in _records(metadata)
        if result in wanted and content
    }


def put_record(folder: Path, result: str, record: Record) -> None:
    """Have a result remembered in ``folder``. Raises ``ValueError`` for the record of another one."""
    if Path(record.path).is_absolute() or ".." in Path(record.path).parts:
        raise ValueError(f"{record.path} is no place for a record")
    if _result_of(Path(record.path)) != result:
        raise ValueError(f"{record.path} is the record of another file")
    # without it Snakemake takes its folder for one of years ago
    (folder / METADATA).with_name("incomplete").mkdir(parents=True, exist_ok=True)
    put(folder / METADATA / record.path, json.dumps(record.content).encode())


def _job(content: dict[str, Any]) -> tuple[str, str]:
    """Equal for two results of one job."""
    return str(content.get("rule")), str(content.get("log"))


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_bytes())
    except (OSError, ValueError):  # half written, or gone
        return {}
    return content if isinstance(content, dict) else {}


def lift_rate_limit(workflow: Any) -> None:
    """Let a call that runs its jobs on this machine start them without a limit per second."""
    if workflow.local_exec and workflow.scheduler is not None:
        workflow.scheduler.job_rate_limiter = None


_own_log_info = Job.log_info

_COLLECT_EVERY = 1_000_000
"""Objects between two searches for cycles that nobody refers to, of which a call makes few."""


def plan_fast() -> None:
    """Let a call plan ten thousand jobs in half the time."""
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    snakemake.common.get_function_params = _arguments_of
    snakemake.rules.get_function_params = _arguments_of
    Job.log_info = _log_info


def _arguments_of(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """The parameters of a function; a method of one of many objects has those of their class."""
    stated: Mapping[str, Parameter] | None = getattr(function, FUNC_OVERWRITE_PARAMS_ATTR, None)
    if stated is not None:
        return stated
    own = getattr(function, "__func__", None)
    return _signature(function) if own is None else _signature_of_method(own)


@cache
def _signature(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    return signature(function).parameters


@cache
def _signature_of_method(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    return dict(list(signature(function).parameters.items())[1:])


def _log_info(job: Job, indent: bool = False, printshellcmd: bool = True) -> None:
    workflow = job.dag.workflow
    if not (workflow.dryrun and Quietness.RULES in (workflow.output_settings.quiet or ())):
        _own_log_info(job, indent, printshellcmd)


class PlannedJob(NamedTuple):
    """A job behind some target: the file with its cost, its cores, its outputs, and what it needs.

    ``outdated`` says what has changed since its outputs were made, other than by jobs before it.
    """

    benchmark: str
    threads: int
    outputs: tuple[str, ...]
    needs: tuple[str, ...]  # benchmark files of the jobs whose outputs it takes
    command: str = ""
    outdated: str = ""
    rule: str = ""
    wildcards: Mapping[str, str] = MappingProxyType({})


def planned_jobs(
    folder: Path, targets: Iterable[str], base: Path | None = None, **config: object
) -> dict[str, PlannedJob]:
    """The jobs behind ``targets`` by their benchmark files, as a dry run in ``folder`` would have them.

    The project lies in ``base``, if not in ``folder``.

    Jobs that are done count too; rules that only collect targets do not.
    """
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config=config),
            snakefile=(base or folder) / "Snakefile",
            workdir=folder,
        )
        settings = DAGSettings(
            targets=frozenset(targets),
            # as profiles/default has it for calls of the command line
            rerun_triggers=RerunTrigger.all() - {RerunTrigger.CODE},
            max_checksum_file_size=200 * 10**6,
        )
        workflow.dag(settings).execute_workflow(executor="dryrun")
        dag = workflow._workflow.dag
        return {
            str(job.benchmark): PlannedJob(
                str(job.benchmark),
                int(job.threads),
                tuple(map(str, job.output)),
                tuple(sorted(str(need.benchmark) for need in dag.dependencies[job] if need.benchmark)),
                job.shellcmd or "",
                _what_changed(dag.reason(job)) if dag.needrun(job) else "",
                job.rule.name,
                dict(job.wildcards_dict),
            )
            for job in dag.jobs
            if job.benchmark
        }


def _what_changed(reason: Any) -> str:
    changes = {
        "settings": reason.params_changed,
        "the list of its inputs": reason.input_changed,
        "an input, which is newer": reason.updated_input,
    }
    return ", ".join(name for name, changed in changes.items() if changed)
