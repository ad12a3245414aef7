"""docs/extending.md, followed to the letter: each recipe works, and touches few files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
PLACE = re.compile(r"(New file|In|At the end of)\s+`([\w./]+)`:\s*$")


def recipes():
    """Title and text of every section that has a command."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
    return {text.partition("\n")[0]: text for text in sections}


def follow(text, folder):
    """Do what a recipe says; the files that it touches, and its commands."""
    touched, commands, before = [], [], 0
    for block in BLOCK.finditer(text):
        language, content = block.groups()
        if language == "sh":
            commands.append(content.strip())
            continue
        how, file = PLACE.search(text[before : block.start()].strip()).groups()
        path = folder / file
        if how == "New file":
            assert not path.exists(), f"{file} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        elif how == "At the end of":
            path.write_text(f"{path.read_text().rstrip()}\n\n\n{content}")
        else:
            old, new = (
                "\n".join(line[1:] for line in content.splitlines() if line.startswith(sign))
                for sign in "-+"
            )
            assert path.read_text().count(old) == 1
            path.write_text(path.read_text().replace(old, new))
        touched.append(file)
        before = block.end()
    return touched, commands


def run(command, folder):
    # `snakemake` and `python` are those of this environment
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"CI": "true", "PATH": path}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("title", list(recipes()))
def test_a_recipe_works_and_touches_at_most_two_files(title, copy_of_finished):
    project = copy_of_finished
    touched, commands = follow(recipes()[title], project.folder)
    assert 1 <= len(set(touched)) <= 2, touched
    assert commands
    for command in commands:
        output = run(command, project.folder)
        for target in re.findall(r"(?:figures|results)/[\w./]+$", command):
            assert (project.folder / target).stat().st_size > 0
        if command.startswith("PYTHONPATH"):
            assert output.strip() == "holds" or float(output) > 0


def test_every_folder_of_the_table_is_there():
    head = PAGE.read_text().partition("## ")[0]
    for path in re.findall(r"`(scripts/[\w./]+)`", head):
        place = path.replace("/PAPER/NAME", "").replace("/PAPER/setups", "").replace("NAME.yaml", "")
        place = re.sub(r"NAME\.py$|PAPER.*$", "", place)
        assert (ROOT / place).exists(), path
