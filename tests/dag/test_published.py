"""When published files are looked for, and what their places change: no result."""

import json
import os
import subprocess
import sys
import time

import pytest
from snakemake.exceptions import WorkflowError
from tests.conftest import Project
from tests.dag.test_dag import FIGURE, build, count, expected
from tests.dag.test_rebuild import STAND_IN

from nets import parts
from pipeline.snakemake.jobs import Jobs

IMAGES = {"double_descent.smoke.dataset": "cifar10"}
FILES = "results/raw/cifar10/files.json"


def test_images_are_downloaded_and_prepared(project, monkeypatch):
    workflow = build(project, monkeypatch, scale="smoke", overrides=IMAGES)
    assert count(workflow) == expected(3) | {"download": 1}
    (prepare,) = [job for job in workflow.dag.jobs if job.rule.name == "prepare_data"]
    assert [str(file) for file in prepare.input] == [FILES]
    assert [str(job.output.files) for job in workflow.dag.dependencies[prepare]] == [FILES]


def test_nothing_is_downloaded_for_mnist_1d(project, monkeypatch):
    workflow = build(project, monkeypatch, scale="smoke", data_root=str(project.folder))
    assert count(workflow) == expected(3)


def test_fine_and_coarse_labels_come_out_of_the_same_files(project, monkeypatch):
    targets = [f"results/data/{name}/arrays.safetensors" for name in ("cifar100", "cifar100_coarse")]
    assert count(build(project, monkeypatch, targets)) == {"download": 1, "prepare_data": 2}


def test_published_files_of_an_unknown_name_are_told(project, monkeypatch):
    with pytest.raises(WorkflowError, match=r"no published files mnst; nearest valid name: mnist"):
        build(project, monkeypatch, ("results/raw/mnst/files.json",))


def test_a_data_root_that_is_no_folder_is_told_before_any_job(project, monkeypatch):
    with pytest.raises(WorkflowError, match=r"--config: data_root: '/nowhere/x' is not a folder; name"):
        build(project, monkeypatch, data_root="/nowhere/x")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a figure of images, for which no job has done real work."""
    project = Project.copy_to(tmp_path_factory.mktemp("made"))
    (project.folder / "stand_in.sh").write_text(STAND_IN)
    for rules in (project.folder / "rules").glob("*.smk"):
        rules.write_text(rules.read_text().replace('"python scripts/', '"sh stand_in.sh scripts/'))
    setting = "overrides={double_descent.smoke.dataset: cifar10}"
    subprocess.run(
        [sys.executable, "-m", "snakemake", FIGURE, "--cores", "2", "--config", "scale=smoke", setting],
        cwd=project.folder,
        env=os.environ | {"CI": "true"},
        check=True,
        capture_output=True,
    )
    (file,) = parts.load("data", "cifar10").PUBLISHED.files
    record = {"path": "config.yaml", "checksum": file.checksum, "size": 1, "origin": "found there"}
    content = {"published": "cifar10", "files": {file.name: record}}
    (project.folder / FILES).write_text(json.dumps(content))
    return project


def due(project, monkeypatch, **config):
    workflow = build(project, monkeypatch, scale="smoke", overrides=IMAGES, **config)
    return {job.rule.name for job in workflow.dag.jobs if workflow.dag.needrun(job)}


def test_where_files_come_from_is_no_reason_to_make_anything_again(made, monkeypatch):
    assert due(made, monkeypatch) == set()
    assert due(made, monkeypatch, mirror="https://elsewhere/x", data_root=str(made.folder)) == set()
    later = time.time() + 100
    os.utime(made.folder / FILES, (later, later))
    assert due(made, monkeypatch) == set()


def test_files_that_are_no_longer_asked_for_are_forgotten(made, monkeypatch):
    whole = (made.folder / FILES).read_text()
    (made.folder / FILES).write_text(whole.replace("md5:", "md5:0"))
    assert due(made, monkeypatch) == set()
    assert not (made.folder / FILES).exists()
    (made.folder / FILES).write_text(whole)


def test_files_that_have_gone_are_looked_for_when_they_are_needed(made, monkeypatch):
    whole = (made.folder / FILES).read_text()
    (made.folder / FILES).write_text(whole.replace("config.yaml", "gone"))
    assert due(made, monkeypatch) == set()
    assert not (made.folder / FILES).exists()
    (made.folder / "results/data/cifar10/arrays.safetensors").rename(made.folder / "kept")
    assert due(made, monkeypatch) == set()
    summary = made.folder / "results/smoke/double_descent/noise~0/width~16/run.json"
    summary.rename(made.folder / "kept_summary")
    assert due(made, monkeypatch) >= {"download", "prepare_data", "train"}
    (made.folder / "kept").rename(made.folder / "results/data/cifar10/arrays.safetensors")
    (made.folder / "kept_summary").rename(summary)
    (made.folder / FILES).write_text(whole)


def test_what_data_must_contain_follows_from_their_files():
    """Where the arrays are not known by checksum, the files are, and what makes arrays of them."""
    jobs = Jobs(config=None)
    known = {name: jobs.data_identity(name) for name in parts.names("data")}
    assert len(set(known.values())) == len(known)
    for name, identity in known.items():
        dataset = parts.load("data", name).DATASET
        if dataset.sha256 is None:
            assert identity.startswith(f"{dataset.published.identity} ")
        else:
            assert identity == dataset.sha256
