"""Whole workflows in a copy of the project: repeated, edited, killed, run twice at once."""

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.conftest import FIGURE, RUN, Project, hear_control_c, made_once
from tests.dag.test_dag import build

from pipeline.provenance.fingerprint import forget

pytestmark = pytest.mark.slow

RESULTS = "results/smoke/double_descent/noise~0"
BOUNDS = f"{RESULTS}/width~80/bounds.csv"
STATES = f"{RESULTS}/*/.resume-*.state"
TABLE = "results/smoke/tables/double_descent.csv"
FACTS = "results/smoke/facts/double_descent.json"
SWEEP = "scripts/papers/khromov_singh_2024/setups/double_descent.yaml"
LONG = 500
DRAWN = {"measure": 1, "draw": 1}


def reproducible(project):
    """Everything that must come out the same each time, by path."""
    patterns = (f"{RESULTS}/*/[!.]*.safetensors", f"{RESULTS}/*/history.csv", f"{RESULTS}/*/run.json")
    patterns += ("results/smoke/tables/*.csv", "results/smoke/facts/*.json", "figures/[!.]*")
    return {
        str(path.relative_to(project.folder)): path.read_bytes()
        for pattern in patterns
        for path in project.folder.glob(pattern)
    }


def planned(project, monkeypatch):
    """Rules that a call would run now, and how often."""
    forget()
    dag = build(project, monkeypatch, (FIGURE,), scale="smoke").dag
    return Counter(job.rule.name for job in dag.jobs if dag.needrun(job))


def test_figure_table_and_sidecar_are_made(finished):
    made = reproducible(finished)
    assert len([name for name in made if name.endswith("checkpoints.safetensors")]) == 3
    assert made[FIGURE].startswith(b"%PDF")
    assert made["figures/double_descent.png"].startswith(b"\x89PNG")
    sidecar = json.loads(made["figures/double_descent.json"])
    assert sidecar["scale"] == "smoke"
    assert set(sidecar["inputs"]) == {
        TABLE,
        FACTS,
        "scripts/style.mplstyle",
    }
    assert {d["setting"] for d in sidecar["departures_from_the_paper"]} >= {"widths", "seeds"}
    assert sidecar["versions_when_drawn"]["torch"]
    header = made["results/smoke/tables/double_descent.csv"].decode().splitlines()[0].split(",")
    assert {
        *("width", "seed", "points", "c_lower", "c_avg", "c_rms", "log10_c_upper"),
        *("train_loss", "train_error", "test_loss", "test_error"),
        *("gradient_norm", "epochs", "stop_reason"),
    } <= set(header)


def test_simulated_facts_are_made(copy_of_finished):
    target = "results/smoke/simulated/double_descent.json.gz"
    copy_of_finished.snakemake(target, *RUN[1:])
    simulated = json.loads(gzip.decompress((copy_of_finished.folder / target).read_bytes()))
    assert len(simulated["around"]) == 4


MODULE = """\
configfile: "mine.yaml"

module lipschitz:
    snakefile: "../pro ject/Snakefile"
    config: config

use rule * from lipschitz as lipschitz_*

rule mine:
    default_target: True
    input: "figures/double_descent.pdf"
    output: "mine.txt"
    shell: "python -c 'print(1)' > {output}"
"""


def test_the_workflow_is_a_module_of_another_one_elsewhere(tmp_path):
    project, other = Project.copy_to(tmp_path / "pro ject"), Project(tmp_path / "other")
    other.folder.mkdir()
    (other.folder / "Snakefile").write_text(MODULE)
    settings = (project.folder / "config.yaml").read_text()
    few = "overrides: {double_descent.smoke.widths: [16]}"
    (other.folder / "mine.yaml").write_text(settings.replace("overrides: {}", few))
    other.snakemake("mine", *RUN[1:])
    assert (other.folder / "mine.txt").read_text() == "1\n"
    assert (other.folder / "figures/double_descent.pdf").exists()
    assert not (project.folder / "results").exists()


def test_second_call_does_nothing(copy_of_finished):
    assert "Nothing to be done" in copy_of_finished.snakemake(*RUN).stdout


def test_plan_says_what_is_there_and_how_large(finished):
    def plan(*words):
        command = [sys.executable, str(finished.folder / "scripts" / "plan.py"), *words]
        where = {"cwd": finished.folder, "env": finished.environment}
        return subprocess.run(command, **where, capture_output=True, text=True, check=False)

    done = plan("--scale", "smoke", "--csv", "double_descent")
    assert done.returncode == 0, done.stderr
    figure = next(csv.DictReader(io.StringIO(done.stdout)))
    assert (figure["target"], figure["jobs"]) == ("double_descent", "11")
    places = [finished.folder / folder for folder in ("results", "figures")]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    there = sum(path.stat().st_size for path in files) / 1e6
    assert float(figure["disk_mb_least"]) / 1.5 < there < 1.5 * float(figure["disk_mb_most"])
    assert figure["core_seconds_least"] == figure["core_seconds_most"], "all has run"
    unknown = plan("double_desent")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "nearest valid name: double_descent" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_rebuilding_everything_gives_the_same_bytes(copy_of_finished, finished):
    copy_of_finished.snakemake(*RUN, "--forceall")
    assert reproducible(copy_of_finished) == reproducible(finished)


@pytest.mark.parametrize(
    ("file", "old", "new", "rules"),
    [
        ("scripts/style.mplstyle", "font.size: 8", "font.size: 9", {"draw": 1}),
        ("scripts/pipeline/figures/looks.py", "alpha=0.18", "alpha=0.2", DRAWN),
        ("scripts/pipeline/jobs/progress.py", "%s  epoch", "%s epoch", {}),
        ("scripts/nets/training/run.py", '"""One epoch of updates, then', '"""An epoch, then', {}),
        ("scripts/nets/training/losses/mean_squared_error.py", "mul_(2)", "mul_(3)", {}),
        ("rules/train.smk", "python scripts/train.py --arrays", "python  scripts/train.py --arrays", {}),
        ("config.yaml", "save_every: 20", "save_every: 3", {}),
        (SWEEP, "threshold_width: 80", "threshold_width: 90", DRAWN),
        (
            "scripts/lipbounds/operator_norm/certificate.py",
            "slack *= 2",
            "slack *= 3",
            {"estimate_bounds": 3, "collect": 1} | DRAWN,
        ),
        (
            SWEEP,
            "widths: [16, 80, 256]",
            "widths: [16, 80, 256, 64]",
            {"train": 1, "estimate_bounds": 1, "collect": 1} | DRAWN,
        ),
        (SWEEP, "widths: [16, 80, 256]", "widths: [256, 16, 80]", DRAWN),
        (
            SWEEP,
            "max_epochs: 150",
            "max_epochs: 160",
            {"train": 3, "estimate_bounds": 3, "collect": 1} | DRAWN,
        ),
    ],
)
def test_an_edit_rebuilds_what_depends_on_it(copy_of_finished, monkeypatch, file, old, new, rules):
    copy_of_finished.edit(file, old, new)
    assert planned(copy_of_finished, monkeypatch) == rules


@pytest.mark.parametrize(
    ("files", "rules"),
    [
        ([FIGURE], {"draw": 1}),
        ([FIGURE, FACTS], DRAWN),
        ([FIGURE, TABLE], {"collect": 1} | DRAWN),
        ([FIGURE, TABLE, BOUNDS], {"estimate_bounds": 1, "collect": 1} | DRAWN),
    ],
)
def test_missing_files_are_made_again(copy_of_finished, monkeypatch, files, rules):
    for file in files:
        (copy_of_finished.folder / file).unlink()
    assert planned(copy_of_finished, monkeypatch) == rules


def lengthen(project):
    """Trainings, of two widths, that take long enough to be interrupted, and are saved often."""
    project.edit("config.yaml", "save_every: 20", "save_every: 0.2")
    longer = f"{{double_descent.smoke: {{widths: [16, 80], training.max_epochs: {LONG}}}}}"
    project.edit("config.yaml", "overrides: {}", f"overrides: {longer}")
    return project


@pytest.fixture
def longer(project):
    return lengthen(project)


def start_until_saved(project):
    process = subprocess.Popen(
        project.command(*RUN),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=hear_control_c,
    )
    deadline = time.monotonic() + 120
    while not list(project.folder.glob(STATES)):
        assert process.poll() is None, "ended before anything was saved"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def kill_all(process):
    os.killpg(process.pid, signal.SIGKILL)


def kill_snakemake_only(process):
    process.kill()


def kill_snakemake_and_let_its_jobs_finish(process):
    """The jobs left behind end well, and nobody takes note."""
    folder = Path(f"/proc/{process.pid}/cwd").readlink()
    process.kill()
    deadline = time.monotonic() + 120
    while not all((state.parent / "run.json").exists() for state in folder.glob(STATES)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def press_control_c(process):
    os.killpg(process.pid, signal.SIGINT)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a project ends with whose trainings take long enough to be interrupted."""

    def make(folder):
        lengthen(Project.copy_to(folder)).snakemake(*RUN)

    return reproducible(Project(made_once(tmp_path_factory, "undisturbed", make)))


@pytest.mark.parametrize(
    "interrupt",
    [kill_all, kill_snakemake_only, kill_snakemake_and_let_its_jobs_finish, press_control_c],
)
def test_interrupted_workflows_end_with_the_same_bytes(undisturbed, longer, interrupt):
    process = start_until_saved(longer)
    interrupt(process)
    process.wait(timeout=60)
    # the plain command, as the Makefile gives it: no --unlock, no --rerun-incomplete
    longer.snakemake(*RUN)
    logs = "".join(p.read_text() for p in longer.folder.glob("logs/train/**/*.log"))
    # a job left behind may have finished before the second call could take over
    assert "going on from epoch" in logs or "is complete already" in logs
    if interrupt is kill_snakemake_and_let_its_jobs_finish:
        assert f"going on from epoch {LONG}" in logs
    assert reproducible(longer) == undisturbed


def output_until_saved(project, log):
    """A call that writes to ``log``, when its trainings have saved something."""
    process = project.start(*RUN, log=log)
    deadline = time.monotonic() + 120
    while not list(project.folder.glob(STATES)):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def workers(project):
    """Process ids of the trainings that run."""
    locks = [state.parent / ".lock" for state in project.folder.glob(STATES)]
    return [json.loads(lock.read_text())["pid"] for lock in locks if lock.read_text()]


def test_control_c_ends_in_a_few_lines(longer):
    log = longer.folder / "out.txt"
    process = output_until_saved(longer, log)
    before = len(log.read_text().splitlines())
    press_control_c(process)
    assert process.wait(timeout=60) != 0
    lines = log.read_text().splitlines()[before:]
    assert len(lines) <= 8, "\n".join(lines)
    text = "\n".join(lines)
    assert "Interrupted. Trainings save and stop; the same call goes on from there." in text
    assert re.search(
        r"double_descent noise 0 width \d+: saved epoch \d+ in .*; call again to go on", text
    )
    assert "Traceback" not in text


def test_a_killed_job_says_what_it_held(longer):
    log = longer.folder / "out.txt"
    process = output_until_saved(longer, log)
    for worker in workers(longer):
        os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    text = log.read_text()
    assert "message: killed (SIGKILL)." in text
    assert "2 seeds with batches of" in text
    assert "lower double_descent.smoke.training.batch_size" in text
    assert "message: None" not in text


def test_a_stopped_orphan_does_not_block_the_next_call(longer, tmp_path):
    process = output_until_saved(longer, tmp_path / "out.txt")
    orphans = workers(longer)
    process.kill()
    process.wait()
    for orphan in orphans:
        os.kill(orphan, signal.SIGSTOP)
    longer.snakemake(*RUN)
    assert not [orphan for orphan in orphans if Path(f"/proc/{orphan}").exists()]


def test_two_calls_in_one_folder_are_refused(longer):
    process = start_until_saved(longer)
    try:
        second = longer.snakemake(*RUN, check=False)
        assert second.returncode != 0
        assert f"another snakemake is running in {longer.folder}" in second.stdout
        assert "--unlock" not in second.stdout
        longer.snakemake("--unlock", *RUN[1:])
        assert process.wait(timeout=180) == 0, "the first call is not disturbed"
    finally:
        if process.poll() is None:
            kill_all(process)
            process.wait()


def test_divergence_is_drawn_and_does_not_stop_other_widths(project):
    project.edit(
        "config.yaml",
        "overrides: {}",
        "overrides: {double_descent.smoke: {widths: [16, 32], training: {max_epochs: 20, min_epochs: 0, "
        "clip_norm: null, schedule.warmup_updates: 1, learning_rate: 1.0e+38}}}",
    )
    project.snakemake(*RUN)
    table = (project.folder / "results/smoke/tables/double_descent.csv").read_text()
    assert table.count("diverged") == 8
    sidecar = json.loads((project.folder / "figures/double_descent.json").read_text())
    assert sidecar["facts"]["stop_reasons"] == {"diverged": 4}


@pytest.mark.parametrize("target", [[FIGURE], []])
def test_report_holds_figure_and_table(copy_of_finished, target):
    done = copy_of_finished.snakemake(*target, *RUN[1:], "--report", "report.zip", check=False)
    assert done.returncode == 0, done.stdout
    import zipfile

    names = "\n".join(zipfile.ZipFile(copy_of_finished.folder / "report.zip").namelist())
    assert "report.html" in names
    assert "double_descent.pdf" in names


SLOW_ROOM = {
    "figure.yaml": """\
paper: none
caption: Nothing.
study:
  title: waits, and says what it was told
  paper: {value: 1, seconds: 20}
  laptop: {}
  smoke: {}
""",
    "figure.py": """\
import time

import matplotlib.pyplot as plt
import pandas as pd

from nets.settings import NonNegativeFloat, Count, Section


class Settings(Section):
    value: Count
    seconds: NonNegativeFloat


def study(settings, arrays):
    time.sleep(settings.seconds)
    return pd.DataFrame({"value": [settings.value]})


def measure(tables, context):
    return {"value": int(tables["slow"]["value"].iloc[0]), "settings": context["settings"]}


def draw(tables, facts, context):
    return plt.figure()
""",
}


def test_a_job_left_behind_cannot_overwrite_a_table_of_other_settings(project):
    room = project.folder / "scripts/papers/beyond/slow"
    room.mkdir()
    for name, text in SLOW_ROOM.items():
        (room / name).write_text(text)
    target = ("figures/slow.pdf", "--cores", "1", "--config", "scale=smoke")
    lock = project.folder / "results/smoke/tables/.slow.csv.lock"
    process = subprocess.Popen(
        project.command(*target),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=hear_control_c,
    )
    deadline = time.monotonic() + 60
    while not (lock.exists() and lock.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    orphan = json.loads(lock.read_text())["pid"]
    process.kill()
    process.wait()
    assert Path(f"/proc/{orphan}").exists(), "its study goes on"
    project.snakemake(*target[:-1], "scale=smoke", "overrides={slow.smoke: {value: 2, seconds: 0}}")
    assert not Path(f"/proc/{orphan}").exists(), "it was asked to stop"
    assert (project.folder / "results/smoke/tables/slow.csv").read_text() == "value\n2\n"
    sidecar = json.loads((project.folder / "figures/slow.json").read_text())
    assert sidecar["facts"]["value"] == sidecar["settings"]["value"] == 2
