"""The package of bounds by itself."""

import os
import subprocess
import sys
import tomllib

from tests.conftest import ROOT

import lipbounds

SOURCES = ROOT / "scripts"


def test_everything_promised_is_there():
    assert sorted(lipbounds.__all__) == lipbounds.__all__
    assert all(hasattr(lipbounds, name) for name in lipbounds.__all__)


def test_it_needs_nothing_of_the_workflow():
    modules = [
        ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        for path in (SOURCES / "lipbounds").rglob("[a-z]*.py")
    ]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted({{"nets", "pipeline", "pydantic", "scipy", "cvxpy"}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        text=True,
        capture_output=True,
        check=True,
    )
    assert len(modules) > 20
    assert done.stdout.split() == []


def test_all_its_folders_are_installed():
    folders = {path.parent for path in (SOURCES / "lipbounds").rglob("*.py")}
    names = {".".join(folder.relative_to(SOURCES).parts) for folder in folders}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(settings["tool"]["setuptools"]["packages"]) == names
