"""The environment is pinned, the same in every file, and locked by checksums."""

import re

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
