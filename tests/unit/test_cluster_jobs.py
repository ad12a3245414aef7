"""Jobs handed over to a scheduler, and what becomes of them, with a shell in the scheduler's place."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT

from pipeline.cluster import records, status, submit

ABOUT = {
    "type": "single",
    "rule": "train",
    "wildcards": {"width": "16"},
    "input": ["a"],
    "output": ["b"],
    "params": {"settings": "{}"},
    "log": ["logs/train/smoke/width~16.log"],
    "threads": 1,
    "resources": {"runtime": 60},
    "jobid": 4,
}
NOBODY = ["true"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def listing(*lines):
    """A scheduler that lists these jobs."""
    return ["printf", "%s\\n", *lines]


def script(about=None, name="job.sh"):
    path = Path(name)
    path.write_text(f"#!/bin/sh\n# properties = {json.dumps(about or ABOUT)}\ntrue\n")
    return path


@pytest.mark.parametrize(
    ("code", "state", "expected"),
    [
        ("0", "CANCELLED", "success"),  # its own note counts
        ("1", "RUNNING", "failed"),
        (None, "RUNNING", "running"),
        (None, "PENDING", "running"),
        (None, "COMPLETED", "success"),
        (None, "TIMEOUT", "failed"),
        (None, "EXIT", "failed"),
        (None, "OUT_OF_MEMORY", "failed"),
        (None, "", "running"),  # schedulers that list numbers alone
    ],
)
def test_what_has_become_of_a_job(code, state, expected):
    if code is not None:
        records.write("ended", "7", code)
    assert status.status("7", listing("6 FAILED", f"7 {state}"), 1e9) == expected


def test_a_job_that_has_gone_without_a_note_fails_after_a_while(capsys):
    now = 2e9
    assert status.status("7", NOBODY, now) == "running"
    assert status.status("7", NOBODY, now + status.PATIENCE - 1) == "running"
    assert capsys.readouterr().err == ""
    assert status.status("7", NOBODY, now + status.PATIENCE + 1) == "failed"
    assert "left the scheduler's queue" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_says_nothing_of_a_job():
    assert status.status("7", ["false"], 1e9) == "running"
    assert status.status("7", ["false"], 1e9 + 2 * status.PATIENCE) == "running"


def test_one_that_waits_in_vain_is_named_once(capsys):
    queue = listing("7  PENDING   PartitionTimeLimit  ")
    assert [status.status("7", queue, 1e9) for _ in range(2)] == ["running"] * 2
    assert capsys.readouterr().err.count("PartitionTimeLimit") == 1


def test_the_scheduler_is_asked_once_for_all_jobs(tmp_path):
    now = tmp_path.stat().st_mtime
    queue = ["sh", "-c", "echo asked >> asked; echo 7 RUNNING; echo 8 FAILED"]
    assert [status.status(job, queue, now) for job in "78"] == ["running", "failed"]
    assert (tmp_path / "asked").read_text().count("asked") == 1


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("12", "12"),
        ("12;tests", "12"),
        ("123.pbs01.example.org", "123.pbs01.example.org"),
        ("Job <9> is submitted to queue <normal>.", "9"),
        ('Your job 77 ("train.sh") has been submitted', "77"),
    ],
)
def test_the_number_of_a_job(said, number):
    assert submit.submit(["echo", said, "#"], NOBODY, script()) == number


def test_options_are_filled_in_and_empty_ones_left_out(tmp_path):
    command = [
        "sh",
        "-c",
        'echo "$@" > said; echo 5',
        "sbatch",
        "--job-name=JOB_NAME",
        "--output=JOB_LOG",
        "-t=JOB_SECONDS",
    ]
    submit.submit([*command, "--partition=", "--gpus=0", "--mem=10"], NOBODY, script())
    words = (tmp_path / "said").read_text().split()
    log = "logs/cluster/train/smoke/width~16.log"
    assert words == [
        "--job-name=train.smoke.width~16",
        f"--output={log}",
        "-t=3600",
        "--mem=10",
        "job.sh",
    ]
    assert (tmp_path / log).parent.is_dir()


def test_a_job_that_a_killed_call_has_left_is_taken_over():
    counted = ["sh", "-c", "echo >> count; wc -l < count"]
    assert submit.submit(counted, NOBODY, script()) == "1"
    grown = ABOUT | {"jobid": 9, "resources": {"runtime": 120}}
    assert submit.submit(counted, listing("1 RUNNING"), script(grown)) == "1"
    records.write("ended", "1", "1")
    assert submit.submit(counted, listing("1 RUNNING"), script(grown)) == "2"


def test_one_that_has_succeeded_is_taken_over_until_a_call_is_told_so():
    counted = ["sh", "-c", "echo >> count; wc -l < count"]
    assert submit.submit(counted, NOBODY, script()) == "1"
    records.write("ended", "1", "0")
    assert submit.submit(counted, NOBODY, script()) == "1"
    assert status.told("1", NOBODY, 1e9) == "success"
    assert submit.submit(counted, NOBODY, script()) == "2"


def test_an_older_job_of_the_same_number_is_forgotten():
    for kind in ("ended", "told"):
        records.write(kind, "5", "0")
    assert submit.submit(["echo", "5"], NOBODY, script()) == "5"
    assert status.status("5", listing("5 RUNNING"), 1e9) == "running"


def test_a_job_that_is_not_listed_yet_keeps_its_patience_for_later():
    later = 2e9 + 2 * status.PATIENCE
    assert status.status("7", NOBODY, 2e9) == "running"
    records.forget("queue", "listed")
    assert status.status("7", listing("7 RUNNING"), later) == "running"
    records.forget("queue", "listed")
    assert status.status("7", NOBODY, later) == "running"


@pytest.mark.parametrize(
    "change", [{"params": {"settings": "other"}}, {"type": "group", "groupid": "g"}]
)
def test_one_with_other_settings_is_not(change):
    counted = ["sh", "-c", "echo >> count; wc -l < count"]
    submit.submit(counted, NOBODY, script())
    assert submit.submit(counted, listing("1 RUNNING"), script(ABOUT | change)) == "2"


def test_a_refusal_says_which_job_and_by_which_command():
    with pytest.raises(submit.SubmissionError, match=r"not taken train/smoke/width~16.*sh -c 'exit 3'"):
        submit.submit(["sh", "-c", "exit 3"], NOBODY, script())


@pytest.mark.parametrize(
    ("ends", "code"), [("true && exit 0 || exit 1", "0"), ("false && exit 0 || exit 1", "1")]
)
def test_a_job_notes_how_it_ended(tmp_path, ends, code):
    text = (ROOT / "profiles" / "jobscript.sh").read_text()
    (tmp_path / "job.sh").write_text(text.format(properties="{}", exec_job=f"cd {tmp_path} && {ends}"))
    (tmp_path / records.path("ended", "")).mkdir(parents=True)
    done = subprocess.run(
        ["sh", "job.sh"], env={"PBS_JOBID": "5.server", "PATH": "/usr/bin:/bin"}, check=False
    )
    assert (str(done.returncode), records.read("ended", "5.server")) == (code, code)


def test_the_command_line():
    def call(*words):
        command = [sys.executable, "-ES", str(ROOT / "scripts" / "cluster.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    records.write("ended", "5", "0")
    assert call("status", "--queue", "echo '5 RUNNING'", "--", "5").stdout == "success\n"
    assert call("submit", "--queue", "true", "--", "echo", "6", str(script())).stdout == "6\n"
    refused = call("submit", "--queue", "true", "--", "false", str(script(ABOUT | {"params": {}})))
    assert refused.returncode == 1
    assert refused.stderr.startswith("the scheduler has not taken")
    assert "cluster.py submit --queue" in call("delete").stderr
