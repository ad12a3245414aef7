"""What the documents say exists and runs."""

import re
import tomllib

import pytest
from tests.conftest import ROOT

from lipbounds.operators import table

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("name", ["README.md", "docs/library.md"])
def test_code_in_the_documents_runs(name, monkeypatch, capsys):
    monkeypatch.setattr(table, "MODULES", dict(table.MODULES))
    blocks = python_blocks(ROOT / name)
    assert blocks
    exec(compile("\n".join(blocks), name, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    for path in re.findall(
        r"(?<!New file )`((?:scripts|docs|tests|profiles|envs)/[\w./-]+\.\w+)`", text
    ):
        assert "NAME" in path or "PAPER" in path or (ROOT / path).exists(), path


def test_readme_shows_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make figures/double_descent.pdf" in text
    assert "make test" in text


def pins(lines):
    found = (re.match(r"^\s*(?:- )?([A-Za-z0-9_-]+)==([\w.]+)", line) for line in lines)
    return dict(match.groups() for match in found if match)


def test_conda_users_get_the_same_versions():
    requirements = pins((ROOT / "envs" / "requirements.txt").read_text().splitlines())
    assert len(requirements) > 10
    assert pins((ROOT / "envs" / "environment.yaml").read_text().splitlines()) == requirements


def test_pins_lie_in_the_accepted_ranges():
    from packaging.requirements import Requirement

    requirements = pins((ROOT / "envs" / "requirements.txt").read_text().splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    accepted = project["dependencies"] + project["optional-dependencies"]["workflow"]
    for requirement in map(Requirement, accepted):
        assert requirement.specifier.contains(requirements[requirement.name]), requirement.name


def test_table_of_rules_is_up_to_date():
    from pipeline.pages.rule_reference import PAGE, reference

    assert PAGE.read_text() == reference(), "run `make docs`"
