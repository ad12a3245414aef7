"""Jobs share GPUs by locks; here the GPUs are names."""

import os
import subprocess
import sys
import time

import pytest

from pipeline.jobs import gpu_slots
from pipeline.jobs.gpu_slots import is_assigned, take_slot
from pipeline.provenance.files import OutputError

HOLD = (
    "import sys, time; from pathlib import Path; from pipeline.jobs.gpu_slots import take_slot; "
    "print(take_slot(['GPU-a', 'GPU-b'], int(sys.argv[2]), Path(sys.argv[1])), flush=True); "
    "time.sleep(60)"
)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a job that takes a slot of two GPUs and says of which, once it has it."""
    monkeypatch.setenv("PYTHONPATH", "scripts")
    running = []

    def begin(per_gpu=1):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "slots"), str(per_gpu)]
        job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(job)
        return job

    yield begin
    for job in running:
        job.kill()
        job.wait()
        job.stdout.close()


def test_each_slot_has_one_job_and_the_emptier_gpu_comes_first(start):
    jobs = [start(2) for _ in range(2)]
    assert sorted(job.stdout.readline().strip() for job in jobs) == ["0", "1"]
    more = [start(2) for _ in range(2)]
    assert sorted(job.stdout.readline().strip() for job in more) == ["0", "1"]


def test_death_frees_a_slot(start, tmp_path):
    jobs = {job.stdout.readline().strip(): job for job in (start(), start())}
    assert set(jobs) == {"0", "1"}
    waiting = start()
    time.sleep(0.5)
    assert waiting.poll() is None
    jobs["1"].kill()
    assert waiting.stdout.readline().strip() == "1"


@pytest.fixture
def nothing_held(monkeypatch):
    monkeypatch.setattr(gpu_slots, "_held", held := [])
    yield
    for descriptor in held:
        os.close(descriptor)


@pytest.mark.usefixtures("nothing_held")
def test_a_folder_without_locks_is_told(tmp_path):
    (tmp_path / "slots").write_text("a file")
    with pytest.raises(OutputError, match="TMPDIR"):
        take_slot(["GPU-a"], 1, tmp_path / "slots")


@pytest.mark.parametrize(
    ("environment", "assigned"),
    [
        ({"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "3"}, True),
        ({"SLURM_JOB_ID": "1"}, False),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, False),
    ],
)
def test_what_slurm_assigns_is_taken_as_it_is(environment, assigned):
    assert is_assigned(environment) is assigned


@pytest.fixture
def two_gpus(nothing_held, tmp_path, monkeypatch):
    """A torch that sees two GPUs, and the one that is made current."""
    import torch

    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda n: type("P", (), {"uuid": f"GPU-{n}"})
    )
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(gpu_slots, "FOLDER", tmp_path / "slots")
    return current


def test_a_job_computes_on_the_gpu_of_its_slot(two_gpus):
    gpu_slots.hold_gpu("cpu", 1)
    assert two_gpus == []
    take_slot(["GPU-0"], 1, gpu_slots.FOLDER)  # of another job
    other = gpu_slots._held.pop()
    gpu_slots.hold_gpu("auto", 1)
    gpu_slots.hold_gpu("auto", 1)  # asked twice, held once
    os.close(other)
    assert two_gpus == [1]
    assert len(gpu_slots._held) == 1


def test_under_slurm_none_is_taken(two_gpus, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    gpu_slots.hold_gpu("cuda", 1)
    assert two_gpus == []
