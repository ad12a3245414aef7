"""What is refused before anything is drawn from an archive."""

import argparse
import subprocess
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.unit import finished

import redraw
from pipeline.jobs.command import CommandError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(redraw, "_draw", lambda *_: pytest.fail("something was drawn"))
    finished.make()


def call(target, scale=None, **config):
    path = finished.archive(config=finished.CONFIG | config)
    finished.away()
    given = argparse.Namespace(archive=path, targets=[target], scale=scale, cores="1")
    with pytest.raises(CommandError) as error:
        redraw.main(given)
    assert not Path("results").exists()
    return str(error.value)


def test_a_target_that_the_archive_lacks(run):
    said = call("figures/doy.pdf")
    assert said.endswith(
        "archive.zip has nothing for figures/doy.pdf; nearest valid name: figures/toy.pdf; it has "
        "figures/toy.pdf"
    )


@pytest.mark.parametrize("target", ["figures_images", "tables", "claims", "claims_images"])
def test_a_group_of_which_the_archive_has_none(run, target):
    assert f"archive.zip has nothing for {target}" in call(target)


def test_another_scale(run):
    assert "was made at scale smoke, and not laptop" in call("figures", scale="laptop")


@pytest.mark.parametrize(
    "config", [{"__use_yte__": True}, {"overrides": {"nets": 1}}, {"colour": "red"}]
)
def test_settings_that_this_version_does_not_have(run, config):
    assert "does not know the settings in archive.zip" in call("figures", **config)


def test_tables_that_the_archive_lacks(run, monkeypatch):
    monkeypatch.setattr(redraw.WorkflowSetup, "tables", lambda *_: ["results/smoke/tables/new.csv"])
    said = call("figures/toy.pdf")
    assert "archive.zip lacks results/smoke/tables/new.csv, from which this version" in said
    assert said.endswith("use the one that made it: version 0.1.0")


def make(*words):
    """What make would run, or says is wrong."""
    call = ["make", "--dry-run", "--no-print-directory", *words]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_targets_of_make_draw_from_an_archive():
    for target, word in (
        ("figures", ""),
        ("claims-images", "claims_images"),
        ("figures/a.pdf", "figures/a.pdf"),
    ):
        said = make(target, "FROM=my run.zip", "CORES=2", "SCALE=smoke")
        assert f'scripts/redraw.py --cores 2 --scale smoke "my run.zip" {word}'.strip() in said
        assert "snakemake" not in said
    assert "snakemake" in make("figures")


def test_make_compares_two():
    assert 'scripts/compare.py "a.zip" "."' in make("compare", "A=a.zip", "B=.")
    assert "say which: make compare A=one.zip B=two.zip" in make("compare", "A=a.zip")
