"""What is made again after a file was removed: just what depends on it. No job does real work here."""

import inspect
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler
from tests.conftest import Project
from tests.dag.test_dag import build

from pipeline.provenance.fingerprint import forget
from pipeline.snakemake.private import METADATA
from pipeline.snakemake.run_lock import holding

STAND_IN = """\
# writes every missing file that it is given a path of
for file in "$@"; do
    case "$file" in
        results/*|figures/*) mkdir -p "$(dirname "$file")"; test -e "$file" || echo done > "$file" ;;
    esac
done
"""
TARGETS = ("figures/double_descent.pdf", "figures/lipschitz_training.pdf")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project in which two figures are there, with everything behind them."""
    project = Project.copy_to(tmp_path_factory.mktemp("made"))
    (project.folder / "stand_in.sh").write_text(STAND_IN)
    for rules in (project.folder / "rules").glob("*.smk"):
        rules.write_text(rules.read_text().replace('"python scripts/', '"sh stand_in.sh scripts/'))
    subprocess.run(
        [sys.executable, "-m", "snakemake", *TARGETS, "--cores", "2", "--config", "scale=smoke"],
        cwd=project.folder,
        env=os.environ | {"CI": "true"},
        check=True,
        capture_output=True,
    )
    return project


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def due(project, monkeypatch, targets=TARGETS):
    """Rule and width of the jobs that a call would run."""
    workflow = build(project, monkeypatch, targets, scale="smoke")
    return sorted(
        (job.rule.name, job.wildcards.get("width", ""))
        for job in workflow.dag.jobs
        if workflow.dag.needrun(job)
    )


def remove(project, *files):
    for file in files:
        path = project.folder / "results" / file
        assert path.exists()
        path.unlink()


def test_nothing_is_due_when_nothing_is_missing(copy, monkeypatch):
    assert due(copy, monkeypatch) == []


RUN = "smoke/double_descent/noise~0/width~80"
DRAWN = [("draw", ""), ("measure", "")]
FROM_BOUNDS = [("collect", ""), ("draw", ""), ("estimate_bounds", "80"), ("measure", "")]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("smoke/facts/double_descent.json", DRAWN),
        ("smoke/tables/double_descent.csv", [("collect", ""), *DRAWN]),
        (f"{RUN}/bounds.csv", FROM_BOUNDS),
        (f"{RUN}/checkpoints.safetensors", [*FROM_BOUNDS, ("train", "80")]),
        (f"{RUN}/run.json", [*FROM_BOUNDS, ("train", "80")]),
        (f"{RUN}/history.csv", [*FROM_BOUNDS, ("train", "80")]),
    ],
)
def test_a_removed_file_and_what_depends_on_it_are_made_again(copy, monkeypatch, file, expected):
    remove(copy, file)
    assert due(copy, monkeypatch) == expected


def test_a_file_that_is_back_is_no_reason_any_more(copy, monkeypatch):
    """A plan made while it was away has changed nothing for good."""
    path = copy.folder / "results" / RUN / "checkpoints.safetensors"
    aside = path.rename(copy.folder / "aside")
    assert ("train", "80") in due(copy, monkeypatch)
    aside.rename(path)
    assert due(copy, monkeypatch) == []


def test_a_plan_beside_a_call_leaves_its_records_alone(copy, monkeypatch):
    """The call may be making the file that is away, and write the same record."""
    remove(copy, f"{RUN}/checkpoints.safetensors")

    def records():
        found = (path for path in (copy.folder / METADATA).rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in found}

    before = records()
    with holding(copy.folder):
        due(copy, monkeypatch)
    assert records() == before
    assert ("train", "80") in due(copy, monkeypatch)
    assert records() != before


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("figures/double_descent.json", [("draw", "")]),
        ("figures/double_descent.png", [("draw", "")]),
        ("results/smoke/tables/double_descent_epochs.csv", [("collect", ""), *DRAWN]),
    ],
)
def test_a_removed_file_that_no_job_reads_is_made_again(copy, monkeypatch, file, expected):
    content = (copy.folder / file).read_bytes()
    (copy.folder / file).unlink()
    assert due(copy, monkeypatch) == expected
    (copy.folder / file).write_bytes(content)
    assert due(copy, monkeypatch) == []


@pytest.mark.parametrize(
    "file",
    ["labels/mnist1d/pair_swap~42/noise~0/labels.safetensors", "data/mnist1d/arrays.safetensors"],
)
def test_removed_data_are_no_reason_to_train(copy, monkeypatch, file):
    """They can be made again with the same bytes, and are when a job needs them."""
    remove(copy, file)
    assert due(copy, monkeypatch) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scripts/nets/data/mnist1d.py", "classes=10", "classes=5 + 5"),
        ("scripts/prepare_data.py", "str(a.dtype)", "a.dtype.name"),
        ("scripts/inject_noise.py", '"%s noise of', '"noise %s of'),
    ],
)
def test_how_data_are_made_is_no_reason_to_make_them_again(copy, monkeypatch, file, old, new):
    """Data are what their checksum says, which is declared and checked."""
    copy.edit(file, old, new)
    forget()
    assert due(copy, monkeypatch) == []


@pytest.mark.parametrize("file", ["data/mnist1d/arrays.safetensors", f"{RUN}/run.json"])
def test_newer_files_with_the_same_bytes_bring_about_nothing(copy, monkeypatch, file):
    later = time.time() + 100
    os.utime(copy.folder / "results" / file, (later, later))
    assert due(copy, monkeypatch) == []


def test_noise_that_is_made_otherwise_trains_again(copy, monkeypatch):
    copy.edit("scripts/nets/noise/pair_swap.py", "percent // 100 // 2", "percent // 50 // 4")
    forget()
    assert {rule for rule, _ in due(copy, monkeypatch)} >= {"inject_noise", "train"}


def test_a_file_behind_another_figure_is_left_alone(copy, monkeypatch):
    remove(copy, "smoke/tables/lipschitz_training.csv")
    assert due(copy, monkeypatch, ("figures/double_descent.pdf",)) == []


def test_half_written_records_do_no_harm(copy, monkeypatch):
    records = [p for p in (copy.folder / ".snakemake/metadata").rglob("*") if p.is_file()]
    records[0].write_text("{")
    remove(copy, "smoke/tables/double_descent.csv")
    assert ("collect", "") in due(copy, monkeypatch)


def test_what_reaches_into_snakemake_is_still_there(copy):
    """`pipeline.snakemake.private` sets and reads these, and has to follow where Snakemake goes."""
    assert "self.job_rate_limiter" in inspect.getsource(JobScheduler)
    records = [p for p in (copy.folder / METADATA).rglob("*") if p.is_file()]
    assert records
    assert all("input" in json.loads(record.read_text()) for record in records)
