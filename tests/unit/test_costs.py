"""What figures cost: the jobs behind them, and their sums."""

from tests.dag.test_dag import build

from pipeline.pages import costs
from pipeline.pages.costs import Cost
from pipeline.snakemake.private import PlannedJob, planned_jobs

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def job(name, *needs, threads=1):
    return PlannedJob(name, threads, (f"{name}.out",), needs)


JOBS = {
    "one": {"data": job("data"), "a": job("a", "data"), "draw/one": job("draw/one", "a")},
    "two": {
        "data": job("data"),
        "b": job("b", "data", threads=2),
        "c": job("c", "data"),
        "draw/two": job("draw/two", "b", "c"),
    },
}
COSTS = {
    "data": Cost(10, 9, 100),
    "a": Cost(30, 20, 500),
    "b": Cost(20, 30, 300),
    "c": Cost(5, 5, 50),
    "draw/one": Cost(1, 1, 90),
}
TOGETHER = JOBS["one"] | JOBS["two"]


def test_jobs_are_those_that_snakemake_would_run(project, monkeypatch):
    targets = (
        "figures/double_descent.pdf",
        "figures/seqlip_cnn.pdf",
        "results/smoke/tables/pairwise.md",
    )
    workflow = build(project, monkeypatch, targets, scale="smoke")
    expected = {str(one.benchmark) for one in workflow.dag.jobs if one.benchmark}
    jobs = planned_jobs(project.folder, targets, scale="smoke")
    assert set(jobs) == expected
    assert all(need in jobs for one in jobs.values() for need in one.needs)
    run = costs.behind(jobs, "results/smoke/tables/paper_run.csv")
    assert "benchmarks/runs/study/smoke/paper_run.tsv" in run
    assert not any("/train/" in name for name in run)  # it does not wait for the trained nets
    figure = costs.behind(jobs, "figures/double_descent.pdf")
    assert sum("/train/" in name for name in figure) == 3
    assert jobs["benchmarks/runs/study/smoke/seqlip_cnn.tsv"].threads == 2


def test_the_jobs_behind_a_file_are_found_once_each():
    assert set(costs.behind(TOGETHER, "draw/two.out")) == {"draw/two", "b", "c", "data"}
    assert costs.behind(TOGETHER, "nothing") == {}


def test_sums_count_shared_jobs_for_each_and_once_in_all():
    table = costs.table_of_costs(JOBS, COSTS).set_index("figure or table")
    one, two = table.loc["`one`"], table.loc["`two`"]
    assert one["core-seconds"] == "41"
    assert one["of these shared"] == two["of these shared"] == "10"
    assert one["peak memory (MB)"] == "500"
    assert two["jobs"] == "4 (1 not run)"
    assert two["core-seconds"] == "55"  # b holds two cores for 20 s
    assert two["longest chain (s)"] == "30"  # data, then b; what was not measured takes no time
    everything = table.loc["**all, each job once**"]
    assert everything["core-seconds"] == "86"
    assert everything["longest chain (s)"] == "41"
    assert everything["processor time (s)"] == "65"


def test_benchmark_files_with_gaps_are_read(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.tsv").write_text(f"{HEAD}2.5\t0:00:02\t-\t-\t-\t-\t-\t-\t-\tNA\n")
    (tmp_path / "b.tsv").write_text(f"{HEAD}4\t0:00:04\t120.5\t1\t1\t1\t0\t0\t50\t2\n")
    found = costs.read_costs(tmp_path, ["train/a.tsv", "b.tsv", "c.tsv"])
    assert found == {"train/a.tsv": Cost(2.5, 0, 0), "b.tsv": Cost(4, 2, 120.5)}


def test_page_names_what_has_not_run(tmp_path):
    names = [f"benchmarks/runs/{name}.tsv" for name in ("study/laptop/x", "draw/x", "train/laptop/y/a")]
    for name in names[:2]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEAD}30\t0:00:30\t100\t1\t1\t1\t0\t0\t50\t20\n")
    jobs = {
        names[0]: job(names[0], threads=2),
        names[1]: job(names[1], names[0]),
        names[2]: job(names[2]),
    }
    text = costs.page({"Few": {"x": jobs}, "None": {}}, tmp_path, "a machine", "2026-11-21")
    assert "## Few" in text
    assert "Scale: laptop. Machine: a machine. Written: 2026-11-21." in text
    assert "| `x` | 3 (1 not run) | 90 | 0 | 60 | 40 | 100 |" in text
    assert "- 1 job of `train/laptop/y`" in text
