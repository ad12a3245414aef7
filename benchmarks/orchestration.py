"""Measure what Snakemake and our rules take beside the work, with jobs that do nothing.

Plans of many runs, calls with nothing to do, and the time per job, in a copy of the project whose jobs
write empty files. Processor time, for other work may go on beside it.

    python benchmarks/orchestration.py [--runs 10000] [--jobs 1000]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from pipeline.pages.costs import this_machine  # noqa: E402
from pipeline.provenance.files import write_text  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks_orchestration.md"
FIGURE = "figures/double_descent.pdf"
AROUND = 5
"""Jobs of the figure that are not of a run."""

_NO_WORK = """\
import sys
from pathlib import Path
for option, file in zip(sys.argv, sys.argv[1:]):
    if option in OPTIONS:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
"""
_OUTPUTS = ["arrays", "manifest", "labels", "checkpoints", "history", "summary", "bounds"]
_OUTPUTS += ["table", "epochs", "facts", "pdf", "png", "sidecar"]

# Prints its own processor seconds, those of the processes it started, and its memory in KiB.
_MEASURED = """\
import resource, sys
from snakemake.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    if end.code:
        raise
own, jobs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(own.ru_utime + own.ru_stime, jobs.ru_utime + jobs.ru_stime, own.ru_maxrss)
"""

_PLAIN = """\
WIDTHS = range(1, {runs} + 1)
RUN = "results/smoke/double_descent/noise~0/width~{{width}}/"
rule draw:
    input: "table.csv"
    output: "{figure}"
    log: "logs/draw.log"
    shell: "true"
rule collect:
    input: expand(RUN + "{{file}}", width=WIDTHS, file=["run.json", "history.csv", "bounds.csv"])
    output: "table.csv"
    log: "logs/collect.log"
    shell: "true"
rule prepare_data:
    output: arrays="arrays", labels="labels"
    log: "logs/prepare_data.log"
    shell: "true"
rule train:
    input: arrays="arrays", labels="labels"
    output:
        checkpoints=RUN + "checkpoints.safetensors",
        history=RUN + "history.csv",
        summary=RUN + "run.json",
    log: "logs/train/" + RUN + ".log"
    benchmark: "benchmarks/train/" + RUN + ".tsv"
    params: settings="settings", labels="labels", code="code"
    resources: device="auto", gpu=0, save_every="20", progress_every="5", mem_mb=1000
    shell: "train {{input}} {{wildcards.width}} {{params}} {{output}} {{log}}"
rule estimate_bounds:
    input: arrays="arrays", checkpoints=RUN + "checkpoints.safetensors"
    output: bounds=RUN + "bounds.csv"
    log: "logs/estimate_bounds/" + RUN + ".log"
    benchmark: "benchmarks/estimate_bounds/" + RUN + ".tsv"
    params: settings="settings", data="data", code="code"
    resources: device="auto", gpu=0
    shell: "bound {{input}} {{wildcards.width}} {{params}} {{output}} {{log}}"
"""

_INTRODUCTION = """\
# Benchmarks of the orchestration

Written by `make bench`; do not edit. What Snakemake and our rules take beside the work: processor
seconds of the call, measured with jobs that write empty files. A run is a training and its bounds, so
that N runs are 2 N + {around} jobs. The plain Snakefile has the same jobs with the same files, logs,
parameters and resources, all of them constant: it shows how much of the time is Snakemake's own.

{machine}

| call | jobs | processor s | peak memory (MB) |
|---|--:|--:|--:|
"""


class Call(NamedTuple):
    """Processor seconds of a call itself and of its jobs, and its peak memory."""

    own: float
    jobs: float
    memory_mb: float


def measured(folder: Path, *arguments: str) -> Call:
    """A call of snakemake in ``folder``. Raises ``CalledProcessError`` where it fails."""
    command = [sys.executable, "-c", _MEASURED, *arguments]
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, check=True)
    own, jobs, memory = map(float, done.stdout.splitlines()[-1].split())
    return Call(own, jobs, memory * 1024 / 1e6)


def copy_without_work(folder: Path, runs: int) -> None:
    """A copy of the project in which jobs write empty files, with as many widths."""
    for part in ("config.yaml", "Snakefile"):
        shutil.copy(ROOT / part, folder)
    for part in ("rules", "scripts", "profiles", "envs", "docs"):
        shutil.copytree(ROOT / part, folder / part)
    options = [f"--{name}" for name in _OUTPUTS]
    (folder / "scripts" / "start.py").write_text(f"OPTIONS = {options}\n{_NO_WORK}")
    widths = {"double_descent.smoke.widths": list(range(1, runs + 1))}
    # JSON is YAML
    (folder / "many.yaml").write_text(json.dumps({"scale": "smoke", "overrides": widths}))


def plans(runs: int) -> list[tuple[str, int, float, float]]:
    """Dry runs of many runs: ours, and a plain Snakefile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_without_work(folder, runs)
        (folder / "plain").mkdir()
        (folder / "plain" / "Snakefile").write_text(_PLAIN.format(runs=runs, figure=FIGURE))
        quiet = ("-n", "--quiet", "rules", "host")
        ours = measured(folder, *quiet, "--configfile", "many.yaml", "--", FIGURE)
        short = measured(
            folder, "-n", "--quiet", "rules", "progress", "--configfile", "many.yaml", "--", FIGURE
        )
        plain = measured(folder / "plain", *quiet)
    jobs = 2 * runs + AROUND
    return [
        ("`snakemake -n --quiet rules host`", jobs, ours.own, ours.memory_mb),
        ("`snakemake -n --quiet rules progress`", jobs, short.own, short.memory_mb),
        ("the first of a plain Snakefile", 2 * runs + 3, plain.own, plain.memory_mb),
    ]


def empty_jobs(jobs: int) -> list[tuple[str, int, float, float]]:
    """A call that runs jobs without work, per job, and the same call again."""
    runs = (jobs - AROUND) // 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_without_work(folder, runs)
        call = ("--cores", "2", "--quiet", "all", "--configfile", "many.yaml", "--", FIGURE)
        first = measured(folder, *call)
        again = measured(folder, *call)
    count = 2 * runs + AROUND
    return [
        ("the same call again, nothing to do", count, again.own, again.memory_mb),
        ("per job: Snakemake", 1, (first.own - again.own) / count, first.memory_mb),
        ("per job: shell and an empty Python program", 1, first.jobs / count, 0),
    ]


def main() -> None:
    """Measure, and write docs/benchmarks_orchestration.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000, help="of the plan")
    parser.add_argument("--jobs", type=int, default=1_000, help="that are run, without work")
    parser.add_argument("--machine", default=this_machine(), help="where it is measured, in words")
    arguments = parser.parse_args()
    text = _INTRODUCTION.format(around=AROUND, machine=arguments.machine)
    for call, jobs, seconds, memory in [*plans(arguments.runs), *empty_jobs(arguments.jobs)]:
        text += f"| {call} | {jobs:,} | {seconds:.3g} | {f'{memory:,.0f}' if memory else ''} |\n"
    write_text(PAGE, text)
    print(text)


if __name__ == "__main__":
    os.environ.pop("SNAKEMAKE_PROFILE", None)
    main()
