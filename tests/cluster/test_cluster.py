"""The smoke figure through profiles/slurm on a SLURM of two nodes, with and without disturbances."""

import shutil
import time

import pytest

from tests.cluster.daemons import Cluster, missing
from tests.conftest import Project

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),  # one worker, which mostly waits
    pytest.mark.skipif(
        bool(missing()),
        reason=f"no SLURM here to test with ({', '.join(missing())}): apt-get install slurm-wlm munge",
    ),
]

FIGURE = "figures/double_descent.pdf"
DRAWN = [FIGURE, "figures/double_descent.png", "figures/double_descent.json"]
SMOKE = ("--config", "scale=smoke", "save_every=1", "progress_every=0.2", "--", FIGURE)
ALL_JOBS = 6
"""Three trainings and the bounds of each; all else is made where snakemake runs."""


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A project whose figure was made without a cluster, and how long that took."""
    project = Project.copy_to(tmp_path_factory.mktemp("local") / "project")
    began = time.monotonic()
    project.snakemake("--cores", "2", *SMOKE)
    return project, time.monotonic() - began


@pytest.fixture(scope="module", params=[False, True], ids=["without", "with"])
def cluster(tmp_path_factory, request):
    """A cluster without accounting, and one with."""
    if missing(accounting=request.param):
        pytest.skip(f"no accounting to test with ({', '.join(missing(accounting=True))})")
    with Cluster(tmp_path_factory.mktemp("slurm") / "c", accounting=request.param) as running:
        yield running


def without_accounting(test):
    """What differs in nothing with it, and takes its time."""
    return pytest.mark.parametrize("cluster", [False], indirect=True, ids=["without"])(test)


@pytest.fixture
def project(local, cluster, tmp_path, monkeypatch):
    """A project with the data made and nothing trained."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    made = Project.copy_to(tmp_path / "project")
    for part in ("results/data", "results/labels", ".snakemake/metadata"):
        shutil.copytree(local[0].folder / part, made.folder / part)
    return made


def call(project):
    """The call, running, and its log."""
    log = project.folder / "call.log"
    return project.start("--workflow-profile", "slurm", *SMOKE, log=log), log


def ended(process, log):
    assert process.wait(timeout=400) == 0, log.read_text()


def same_figure(project, local):
    for name in DRAWN:
        assert (project.folder / name).read_bytes() == (local[0].folder / name).read_bytes(), name


def running_training(cluster, project):
    """The number and the log of a job that is in the middle of a training."""
    logs = project.folder / "logs" / "train" / "smoke" / "double_descent" / "noise~0"

    def found():
        return [log for log in sorted(logs.glob("*.log")) if "epoch" in log.read_text()]

    cluster.wait_until("a training says where it is", found)
    log = found()[0]
    lines = cluster.call("squeue", "-h", "--states=RUNNING", "--format=%A %j").splitlines()
    [job] = [line.split()[0] for line in lines if line.endswith(log.stem)]
    return job, log


def test_the_figure_is_that_made_without_a_cluster(cluster, project, local):
    before = len(cluster.jobs())
    began = time.monotonic()
    process, log = call(project)
    ended(process, log)
    took = time.monotonic() - began
    same_figure(project, local)
    assert len(cluster.jobs()) - before == ALL_JOBS
    assert took <= local[1] + 120
    if cluster.accounting:
        jobs = ("sacct", "--allusers", "--allocations", "--noheader")
        cluster.wait_until("jobs are in the accounts", lambda: len(cluster.call(*jobs).splitlines()) > 5)
    assert (project.folder / "logs/cluster/train/smoke/double_descent/noise~0/width~16.log").exists()
    again = project.snakemake("--workflow-profile", "slurm", *SMOKE)
    assert "Nothing to be done" in again.stdout


@without_accounting
def test_a_cancelled_training_goes_on(cluster, project, local):
    process, log = call(project)
    job, training = running_training(cluster, project)
    cluster.call("scancel", job)
    ended(process, log)
    assert f"job {job} of the scheduler has ended with the word CANCELLED" in log.read_text()
    assert "going on from epoch" in training.read_text()
    same_figure(project, local)


@without_accounting
def test_a_killed_call_finds_its_jobs_again(cluster, project, local):
    before = len(cluster.jobs())
    process, log = call(project)
    running_training(cluster, project)
    process.kill()
    process.wait()
    process, log = call(project)
    ended(process, log)
    assert len(cluster.jobs()) - before == ALL_JOBS
    same_figure(project, local)


@without_accounting
def test_a_lost_node_loses_nothing(cluster, project, local):
    process, log = call(project)
    job, _ = running_training(cluster, project)
    node = cluster.call("squeue", "-h", f"--jobs={job}", "--format=%N").strip()
    cluster.kill_node(node)
    ended(process, log)
    same_figure(project, local)
