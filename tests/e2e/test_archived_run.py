"""A finished run is packed, redrawn in a clean clone to the byte, and compared."""

import shutil
import subprocess
import sys

import pytest
from tests.conftest import FIGURE, PLAIN, Project
from tests.fuzz.damage import reproducible

pytestmark = pytest.mark.slow

SCALE = ("--config", "scale=smoke")


def call(project, command, *arguments):
    """A command of the project in it; its exit status and what it says."""
    done = subprocess.run(
        [sys.executable, f"scripts/{command}.py", *arguments],
        cwd=project.folder,
        env=project.environment | PLAIN,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_run_is_packed_redrawn_and_compared(finished, tmp_path):
    packed = tmp_path / "a 'b'.zip"
    status, said = call(finished, "archive", "--scale", "smoke", "--output", str(packed))
    assert status == 0, said
    clean = Project.copy_to(tmp_path / "clean 'c'")
    status, said = call(clean, "redraw", "--cores", "2", str(packed), FIGURE)
    assert status == 0, said
    assert "4 files drawn, byte for byte those of" in said
    assert "Training" not in said
    of_data = ("results/data/", "results/labels/")
    expected = {n: c for n, c in reproducible(finished).items() if not n.startswith(of_data)}
    assert reproducible(clean) == expected
    assert call(clean, "compare", str(packed), ".")[0] == 0
    # as if it had been made here: nothing is due, and a change of settings is noticed
    idle = clean.snakemake(FIGURE, "-n", "--cores", "1", *SCALE).stdout
    assert "Nothing to be done" in idle
    faster = "overrides={double_descent.smoke.training.learning_rate: 0.1}"
    due = clean.snakemake(FIGURE, "-n", "--quiet", "rules", "host", *SCALE, faster).stdout
    assert "train                  3" in due


def test_a_run_that_is_not_whole_is_not_packed(finished, tmp_path):
    project = Project(tmp_path / "copy")
    shutil.copytree(finished.folder, project.folder, symlinks=True)
    table = "results/smoke/tables/double_descent.csv"
    (project.folder / table).write_text("width\n")
    status, said = call(project, "archive", "--scale", "smoke")
    assert status == 1
    assert f"{table} is damaged" in said
    assert "Traceback" not in said
    assert not (project.folder / "archive.zip").exists()
