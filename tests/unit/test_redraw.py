"""What is refused before anything is drawn from an archive."""

import argparse
from pathlib import Path

import pytest
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
    said = call("figures/depth.pdf")
    assert (
        "archive.zip has nothing for figures/depth.pdf; it has figures/toy.json, figures/toy.pdf" in said
    )
    assert "/facts/" not in said


@pytest.mark.parametrize("target", ["figures_images", "tables", "claims", "claims_images"])
def test_a_group_of_which_the_archive_has_none(run, target):
    assert f"archive.zip has nothing for {target}; it has" in call(target)


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
