"""The profiles for schedulers that are not at hand: dry runs, and a scheduler made of three scripts."""

import os
import shutil
import stat
from csv import DictReader

import pytest
import yaml
from tests.conftest import ROOT, Project

SMOKE = ("--config", "scale=smoke", "--", "figures/double_descent.pdf")
PBS = {
    "qsub": "#!/bin/sh\nfor script; do :; done\n"
    'PBS_JOBID=$$.fake nohup sh "$script" > "$HOME/out" 2>&1 < /dev/null &\necho $$.fake\n',
    "qselect": "#!/bin/sh\nls $HOME/queue 2> /dev/null\nexit 0\n",
    "qdel": "#!/bin/sh\n",
}


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic"])
def test_a_dry_run_by_the_profile(project, profile):
    done = project.snakemake("-n", "--quiet", "rules", "host", "--workflow-profile", profile, *SMOKE)
    assert "estimate_bounds" in done.stdout


def test_a_dry_run_by_the_command_for_kubernetes(project):
    job = yaml.safe_load((ROOT / "profiles" / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    program, *words = container["command"]
    assert program == ".venv/bin/snakemake"
    assert "estimate_bounds" in project.snakemake("-n", *words).stdout
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.slow
def test_a_job_by_way_of_another_scheduler(finished, tmp_path, monkeypatch):
    """A scheduler like PBS runs the bounds of a width; they are what they were."""
    project = Project(tmp_path / "project")
    shutil.copytree(finished.folder, project.folder)
    for name, text in PBS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "me")
    bounds = project.folder / "results/smoke/double_descent/noise~0/width~16/bounds.csv"
    before = without_times(bounds)
    bounds.unlink()
    target = str(bounds.relative_to(project.folder))
    done = project.snakemake(
        "--workflow-profile", "cluster-generic", "--config", "scale=smoke", "--", target
    )
    assert "with external jobid" in done.stdout
    assert without_times(bounds) == before


def without_times(table):
    """The rows of a table of bounds, without how long they took."""
    with table.open() as file:
        return [
            {key: cell for key, cell in row.items() if "seconds" not in key} for row in DictReader(file)
        ]
