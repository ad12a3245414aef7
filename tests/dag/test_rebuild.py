"""What is made again after a file was removed: just what depends on it. No job does real work here."""

import os
import shutil
import subprocess
import sys

import pytest
from tests.conftest import Project
from tests.dag.test_dag import build

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
FROM_BOUNDS = [("collect", ""), ("estimate_bounds", "80"), ("plot", "")]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("smoke/tables/double_descent.csv", [("collect", ""), ("plot", "")]),
        (f"{RUN}/bounds.csv", FROM_BOUNDS),
        (f"{RUN}/checkpoints.safetensors", [*FROM_BOUNDS, ("train", "80")]),
        (f"{RUN}/run.json", [*FROM_BOUNDS, ("train", "80")]),
        (f"{RUN}/history.csv", [*FROM_BOUNDS, ("train", "80")]),
    ],
)
def test_a_removed_file_and_what_depends_on_it_are_made_again(copy, monkeypatch, file, expected):
    remove(copy, file)
    assert due(copy, monkeypatch) == expected


def test_removed_labels_concern_every_training(copy, monkeypatch):
    remove(copy, "labels/mnist1d/pair_swap~42/noise~0/labels.safetensors")
    rules = {rule for rule, _ in due(copy, monkeypatch)}
    assert rules == {"inject_noise", "train", "estimate_bounds", "collect", "plot"}


def test_removed_data_concern_everything(copy, monkeypatch):
    remove(copy, "data/mnist1d/arrays.safetensors")
    workflow = build(copy, monkeypatch, TARGETS, scale="smoke")
    assert all(workflow.dag.needrun(job) for job in workflow.dag.jobs)


def test_a_file_behind_another_figure_is_left_alone(copy, monkeypatch):
    remove(copy, "smoke/tables/lipschitz_training.csv")
    assert due(copy, monkeypatch, ("figures/double_descent.pdf",)) == []


def test_half_written_records_do_no_harm(copy, monkeypatch):
    records = [p for p in (copy.folder / ".snakemake/metadata").rglob("*") if p.is_file()]
    records[0].write_text("{")
    remove(copy, "smoke/tables/double_descent.csv")
    assert ("collect", "") in due(copy, monkeypatch)
