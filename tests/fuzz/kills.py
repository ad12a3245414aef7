"""Kill a call at random moments in random ways, again and again: it ends with the undisturbed bytes.

PYTHONPATH=scripts python -m tests.fuzz.kills 50          fifty kills
PYTHONPATH=scripts python -m tests.fuzz.kills 50 7        with another seed

Prints a line for each kill and each call that was left to its end; ends with 1 if one went wrong.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.conftest import Project
from tests.fuzz.damage import RUN, reproducible, verify

SWEEP = "scripts/papers/khromov_singh_2024/setups/double_descent.yaml"

PATIENCE = 420.0
"""Seconds for a call that nobody disturbs."""


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def everything(process: subprocess.Popen[bytes]) -> None:
    """As when the power fails."""
    os.killpg(process.pid, signal.SIGKILL)


def snakemake_alone(process: subprocess.Popen[bytes]) -> None:
    """Its jobs go on without it."""
    process.kill()


def one_job(process: subprocess.Popen[bytes]) -> None:
    """As when memory is short."""
    if jobs := children(process):
        random.choice(jobs).kill()


def control_c(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def terminated(process: subprocess.Popen[bytes]) -> None:
    """As by a scheduler."""
    os.killpg(process.pid, signal.SIGTERM)


def stopped_jobs(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-Z for the jobs, and their snakemake is killed."""
    jobs = children(process)
    for job in jobs:
        try:
            job.suspend()
        except psutil.NoSuchProcess:
            continue
    process.kill()


WAYS: tuple[Callable[[subprocess.Popen[bytes]], None], ...] = (
    everything,
    snakemake_alone,
    one_job,
    control_c,
    terminated,
    stopped_jobs,
)


def new_project(folder: Path) -> Project:
    """One whose trainings take a while."""
    project = Project.copy_to(folder)
    project.edit("config.yaml", "save_every: 20", "save_every: 0.2")
    project.edit(SWEEP, "max_epochs: 150", "max_epochs: 900")
    return project


def finish(project: Project, log: Path) -> tuple[int, float]:
    """The exit status and seconds of a call that nobody disturbs."""
    started = time.monotonic()
    process = project.start(*RUN, log=log)
    try:
        return process.wait(timeout=PATIENCE), time.monotonic() - started
    except subprocess.TimeoutExpired:
        everything(process)
        return -1, PATIENCE


def main(kills: int, seed: int) -> int:
    random.seed(seed)
    wrong = done = rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = new_project(Path(folder) / "whole")
        status, seconds = finish(whole, Path(folder) / "whole.log")
        print(f"undisturbed: {seconds:.0f} s, status {status}", flush=True)
        expected = reproducible(whole)
        while done < kills:
            rounds += 1
            place, log = Path(folder) / "killed", Path(folder) / "killed.log"
            project = new_project(place)
            for _ in range(min(random.randint(1, 6), kills - done)):
                wait, way = random.uniform(1, seconds), random.choice(WAYS)
                process = project.start(*RUN, log=log)
                try:
                    process.wait(timeout=wait)
                    print(f"  a call ended with {process.returncode} before {wait:.1f} s", flush=True)
                    break
                except subprocess.TimeoutExpired:
                    way(process)
                    process.wait(timeout=PATIENCE)
                    done += 1
                    print(f"  {way.__name__} after {wait:.1f} s", flush=True)
            status, took = finish(project, log)
            found = reproducible(project)
            different = [name for name in expected if found.get(name) != expected[name]]
            seen = verify(project)
            right = status == 0 and not different and seen.returncode == 0
            wrong += not right
            print(f"round {rounds}: status {status} after {took:.0f} s, {'ok' if right else different}")
            if not right:
                print(seen.stdout, log.read_text()[-3000:], sep="\n", flush=True)
            shutil.rmtree(place)
            log.unlink()
    print(f"{done} kills in {rounds} rounds, {wrong} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(numbers + [50, 0][len(numbers) :])))
