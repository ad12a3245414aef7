"""The environment is pinned, the same in every file, and locked by checksums; so is the version."""

import json
import re
import shutil
import signal
import subprocess
import tomllib

import pytest
import yaml
from tests.conftest import ROOT

ENVS = ROOT / "envs"
PIN = re.compile(r"^\s*(?:- )?([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(name):
    return {
        re.sub(r"[._-]+", "-", package).lower(): version
        for package, version in PIN.findall((ENVS / name).read_text())
    }


@pytest.mark.parametrize("suffix", ["", "-dev", "-docs"])
def test_the_lock_has_the_versions_of_the_requirements(suffix):
    locked = pins(f"lock{suffix}.txt")
    asked = pins(f"requirements{suffix}.txt") | (pins("requirements.txt") if suffix else {})
    assert asked.items() <= locked.items()
    agreed = pins("constraints.txt")
    assert {
        name: version for name, version in locked.items() if agreed.get(name, version) != version
    } == {}


@pytest.mark.parametrize("suffix", ["", "-dev", "-docs"])
def test_every_locked_package_has_checksums(suffix):
    text = (ENVS / f"lock{suffix}.txt").read_text()
    packages = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^#.*\n", "", text))
    assert len(packages) > 50
    assert all("--hash=sha256:" in package for package in packages if package.strip())
    assert "://" not in text


def test_conda_takes_the_same_versions():
    packages = yaml.safe_load((ENVS / "environment.yaml").read_bytes())["dependencies"][-1]["pip"]
    assert dict(package.split("==") for package in packages) == pins("requirements.txt")


def test_the_version_is_the_same_everywhere_and_has_changes():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert json.loads((ROOT / ".zenodo.json").read_text())["version"] == version
    assert re.search(
        rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_papers_that_are_cited_are_related_works():
    cited = {
        identifier["value"]
        for reference in yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
        for identifier in reference["identifiers"]
    }
    related = json.loads((ROOT / ".zenodo.json").read_text())["related_identifiers"]
    assert {one["identifier"] for one in related} == cited


@pytest.mark.parametrize("file", [".github/workflows/checks.yml", "CONTRIBUTING.md", "Dockerfile"])
def test_what_other_files_call_is_there(file):
    text, makefile = (ROOT / file).read_text(), (ROOT / "Makefile").read_text()
    called = {
        target
        for line in re.findall(r"(?m)^(?:\s*- run: )?make ([\w =-]+)", text)
        for target in re.split(r"  +#|#", line)[0].split()
        if "=" not in target
    }
    assert all(re.search(rf"(?m)^{target}:", makefile) for target in called)
    for line in re.findall(r"(?m)^COPY (.+)", text):
        assert all((ROOT / part).exists() for part in line.split()[:-1]), line


def test_the_image_has_what_the_workflow_reads():
    copied = re.findall(r"(?m)^COPY (.+)", (ROOT / "Dockerfile").read_text())
    parts = {part for line in copied for part in line.split()[:-1]}
    assert {"Snakefile", "config.yaml", "rules", "envs", "profiles", "scripts", "docs/report"} <= parts
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{part}" in let_in or f"!{part.split('/')[0]}" in let_in for part in parts)


def test_an_interrupted_make_leaves_the_figure_of_an_earlier_call(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    figures = [tmp_path / f"figures/a.{ending}" for ending in ("pdf", "png", "json")]
    called = tmp_path / ".venv/bin/snakemake"
    for file in (tmp_path / "envs/lock.txt", tmp_path / ".venv/.complete", *figures, called):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\nkill -INT 0; sleep 9\n")
    called.chmod(0o755)
    done = subprocess.run(
        ["make", "figures/a.pdf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        check=False,
    )
    assert done.returncode != 0
    assert all(figure.exists() for figure in figures), done.stderr
