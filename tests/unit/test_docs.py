"""What the documents say exists and runs."""

import re

import pytest
from tests.conftest import ROOT

from lipschitz.bounds import rules

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("name", ["README.md", "docs/library.md"])
def test_code_in_the_documents_runs(name, monkeypatch, capsys):
    monkeypatch.setattr(rules, "RULES", dict(rules.RULES))
    blocks = python_blocks(ROOT / name)
    assert blocks
    exec(compile("\n".join(blocks), name, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    for path in re.findall(r"`((?:scripts|docs|tests|profiles|envs)/[\w./-]+\.\w+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_names_to_extend_are_where_the_page_says():
    text = (ROOT / "docs" / "extending.md").read_text()
    for paragraph in text.split("\n\n"):
        paths = re.findall(r"`(scripts/[\w/]+\.py)`", paragraph)
        files = [ROOT / path for path in paths if "NAME" not in path]
        code = "".join(file.read_text() for file in files)
        for name in re.findall(r"`([A-Z_]{5,})`", paragraph):
            assert name in code, name


def test_readme_shows_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make figures/double_descent.pdf" in text
    assert "make test" in text
