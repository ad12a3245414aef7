"""Every result is compared with its seal, and with what it was made from."""

import json
import shlex

import pytest

from pipeline.provenance import seals
from pipeline.provenance.files import write_text
from pipeline.snakemake.private import PlannedJob
from pipeline.snakemake.verification import FOLDERS, Found, outdated_of, verify

RUN = "results/smoke/toy/noise~0/width~4"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A chain of results, and what is none of them."""
    monkeypatch.chdir(tmp_path)
    before = []
    for name in (
        f"{RUN}/run.json",
        f"{RUN}/bounds.csv",
        "results/smoke/tables/toy.csv",
        "figures/toy.pdf",
    ):
        with seals.sealing("made", before):
            write_text(tmp_path / name, name)
        before = [tmp_path / name]
    (tmp_path / RUN / ".lock").write_text("")
    (tmp_path / RUN / "set-aside.bounds.csv.1").write_text("old")
    (tmp_path / "results/raw/mnist").mkdir(parents=True)
    (tmp_path / "results/raw/mnist/images.gz").write_text("published, of which no files.json speaks")
    return tmp_path


def kinds():
    return [(fault.kind, fault.file) for fault in verify(FOLDERS).faults]


def test_all_is_as_it_was_written(project):
    assert verify(FOLDERS).files == 4
    assert kinds() == []


def test_a_changed_byte_is_damage(project):
    (project / RUN / "bounds.csv").write_text("x" * len(f"{RUN}/bounds.csv"))
    assert kinds() == [("damaged", f"{RUN}/bounds.csv")]


def test_a_file_of_another_place_is_foreign(project):
    for source in (project / RUN / "run.json", seals.seal_path(project / RUN / "run.json")):
        target = project / source.relative_to(project).as_posix().replace("run.json", "history.csv")
        target.write_bytes(source.read_bytes())
    (found,) = verify(FOLDERS).faults
    assert found.kind == "foreign"
    assert found.message.endswith(f"it was written as {RUN}/run.json")


def test_what_was_there_is_missed(project):
    (project / RUN / "run.json").unlink()
    (project / "figures/toy.pdf").unlink()
    seals.seal_path(project / RUN / "run.json").unlink()
    assert kinds() == [("missing", "figures/toy.pdf"), ("missing", f"{RUN}/run.json")]


def test_what_has_no_seal_is_told(project):
    (project / "figures/notes.txt").write_text("mine")
    assert kinds() == [("unsealed", "figures/notes.txt")]


def test_what_was_made_from_another_file_is_stale(project):
    with seals.sealing("made", []):
        write_text(project / RUN / "bounds.csv", "of another call")
    assert verify(FOLDERS).faults == [
        Found(
            "stale",
            "results/smoke/tables/toy.csv",
            f"was made from another {RUN}/bounds.csv than the one that is there",
        )
    ]


def test_a_figure_of_another_scale_is_told_from_one_of_other_settings(project):
    (project / "figures/toy.json").write_text(json.dumps({"scale": "smoke"}))

    def why(scale):
        words = ["python", "scripts/draw.py", "--context", json.dumps({"scale": scale})]
        job = PlannedJob("", 1, ("figures/toy.pdf",), (), shlex.join(words), "settings", "draw")
        return outdated_of([job._replace(wildcards={"figure": "toy"})], project)["figures/toy.pdf"]

    assert why("laptop") == "was drawn at scale smoke; SCALE=smoke compares it with that"
    assert why("smoke") == "was made before a change of settings"
