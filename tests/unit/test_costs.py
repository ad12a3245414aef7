"""What figures cost: the jobs behind them, sums, and the simulated time of all."""

import pytest
import yaml
from tests.conftest import ROOT
from tests.dag.test_dag import build

from pipeline import costs
from pipeline.config.training import load_config
from pipeline.pages.costs import Cost, Job
from pipeline.snakemake.setup import WorkflowSetup

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"

JOBS = {
    "one": {"data": Job("data"), "a": Job("a", ("data",)), "plot/one": Job("plot/one", ("a",))},
    "two": {
        "data": Job("data"),
        "b": Job("b", ("data",), threads=2),
        "c": Job("c", ("data",)),
        "plot/two": Job("plot/two", ("b", "c")),
    },
}
COSTS = {
    "data": Cost(10, 9, 100),
    "a": Cost(30, 20, 500),
    "b": Cost(20, 30, 300),
    "c": Cost(5, 5, 50),
    "plot/one": Cost(1, 1, 90),
}
TOGETHER = JOBS["one"] | JOBS["two"]


@pytest.fixture
def setup():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    return WorkflowSetup(load_config(raw | {"scale": "smoke"}))


def everything_behind(job, needs):
    return set(needs[job]).union(*(everything_behind(one, needs) for one in needs[job]))


def test_jobs_are_those_that_snakemake_would_run(project, setup, monkeypatch):
    targets = ("double_descent", "seqlip_cnn", "lipschitz_training", "evolution", "gram_convergence")
    files = [*(f"figures/{name}.pdf" for name in targets), "results/smoke/tables/pairwise.md"]
    workflow = build(project, monkeypatch, files, scale="smoke")
    benchmarks = {str(job.benchmark) for job in workflow.dag.jobs}
    expected = {path.removeprefix("benchmarks/runs/").removesuffix(".tsv") for path in benchmarks}
    found = {
        name: job
        for target in (*targets, "pairwise")
        for name, job in costs.jobs_of(setup, target).items()
    }
    assert set(found) == expected
    direct = {
        str(job.benchmark): {str(one.benchmark) for one in workflow.dag.dependencies[job]}
        for job in workflow.dag.jobs
    }
    ours = {
        f"benchmarks/runs/{name}.tsv": {f"benchmarks/runs/{need}.tsv" for need in job.needs}
        for name, job in found.items()
    }
    for path in benchmarks:
        assert everything_behind(path, ours) == everything_behind(path, direct), path
    behind = everything_behind("benchmarks/runs/study/smoke/paper_run.tsv", ours)
    assert not any("/train/" in path for path in behind)  # it does not wait for the trained nets


def test_sums_count_shared_jobs_for_each_and_once_in_all():
    table = costs.table_of_costs(JOBS, COSTS).set_index("figure or table")
    one, two = table.loc["`one`"], table.loc["`two`"]
    assert one["core-seconds"] == "41"
    assert one["of these shared"] == two["of these shared"] == "10"
    assert one["peak memory (MB)"] == "500"
    assert two["jobs"] == "4 (1 not run)"
    assert two["core-seconds"] == "55"  # b holds two cores for 20 s
    everything = table.loc["**all, each job once**"]
    assert everything["core-seconds"] == "86"
    assert everything["processor time (s)"] == "65"


@pytest.mark.parametrize(
    ("cores", "seconds"),
    [
        (1, 66),  # all one after another
        (2, 61),  # data; a with c beside it; then b, which needs both cores
        (3, 41),  # data, then a beside b and later c, then the plot
        (8, 41),  # the longest chain
    ],
)
def test_simulated_time(cores, seconds):
    assert costs.wall_seconds(TOGETHER, COSTS, cores) == seconds


def test_benchmark_files_with_gaps_are_read(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.tsv").write_text(f"{HEAD}2.5\t0:00:02\t-\t-\t-\t-\t-\t-\t-\tNA\n")
    (tmp_path / "b.tsv").write_text(f"{HEAD}4\t0:00:04\t120.5\t1\t1\t1\t0\t0\t50\t2\n")
    found = costs.read_costs(tmp_path, ["train/a", "b", "c"])
    assert found == {"train/a": Cost(2.5, 0, 0), "b": Cost(4, 2, 120.5)}


def test_page_names_what_has_not_run(setup, tmp_path):
    for name in ("study/smoke/gram_convergence", "plot/gram_convergence"):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEAD}30\t0:00:30\t100\t1\t1\t1\t0\t0\t50\t20\n")
    text = costs.page(setup, tmp_path, "a machine", "2026-11-21")
    assert "Scale: smoke. Machine: a machine. Written: 2026-11-21." in text
    assert "| `gram_convergence` | 2 | 90 | 0 | 40 | 100 |" in text
    assert "- 3 jobs of `train/smoke/double_descent`" in text
    assert "gram_convergence" not in text.partition("## Not run")[2]
    assert "- 2 cores: 1 minutes" in text
