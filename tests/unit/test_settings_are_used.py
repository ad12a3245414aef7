"""A setting that is written but not used is a lie: every key of a set-up changes something."""

import ast

import pytest
import yaml
from pydantic import BaseModel
from tests.conftest import ROOT

from nets import parts
from pipeline.config.config import TopLevel
from pipeline.config.errors import models_in
from pipeline.config.loading import load_config
from pipeline.config.rooms import SCRIPTS
from pipeline.config.training import Bounds, LabelNoise, Setup, Training

CONFIG = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
STUDIES = sorted(CONFIG.studies)


def read_in(paths):
    """Names that code reads of an object, by attribute or by key, outside of the classes of settings."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                names.add(node.slice.value)
            elif isinstance(node, ast.Call) and (
                ast.unparse(node.func) == "getattr" or ast.unparse(node.func).endswith(".get")
            ):
                names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return names


def fields(section):
    """Keys of a section and of those in it."""
    found = set(section.model_fields)
    for field in section.model_fields.values():
        for inner in models_in(field.annotation):
            assert issubclass(inner, BaseModel)
            found |= fields(inner)
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_every_key_of_a_study_is_read(study):
    room = CONFIG.rooms[study]
    # `widths` chooses the runs
    used = read_in([*room.folder.glob("*.py"), SCRIPTS / "pipeline/snakemake/jobs.py"])
    used |= read_in((SCRIPTS / "pipeline/measuring").glob("*.py")) if _hands_settings_on(room) else set()
    assert fields(room.study_settings) <= used


def _hands_settings_on(room):
    """Whether the study gives its settings as a whole to what several studies measure with."""
    return "settings)" in room.study_file.read_text() or "settings," in room.study_file.read_text()


TRAINING_CODE = [
    *(SCRIPTS / "nets").rglob("*.py"),
    *(SCRIPTS / "pipeline/runs").glob("*.py"),
    SCRIPTS / "pipeline/snakemake/jobs.py",
    SCRIPTS / "pipeline/figures/width.py",
    *SCRIPTS.glob("*.py"),
]


@pytest.mark.parametrize("section", [Training, LabelNoise, Bounds, Setup], ids=lambda s: s.__name__)
def test_every_key_of_a_training_is_read(section):
    own = {name for name in section.model_fields if name != "variants"}  # they are set-ups themselves
    # penalties are read by their names, all in one place: Training.penalties
    assert own <= read_in(TRAINING_CODE) | set(parts.names("penalty"))


@pytest.mark.parametrize("kind", ["model", "schedule", "optimizer", "augmentation", "penalty"])
def test_every_key_of_a_part_is_read_by_it(kind):
    for name in parts.names(kind):
        file = parts.ROOT / parts.FOLDERS[kind] / f"{name}.py"
        used = read_in([file, SCRIPTS / "pipeline/runs/training_job.py"])
        assert set(parts.settings_of(kind, name).model_fields) <= used, file


def test_every_key_of_the_top_level_is_read():
    used = read_in([*(SCRIPTS / "pipeline").rglob("*.py")])
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for name in TopLevel.model_fields:
        assert name in used or f"top.{name}" in rules, name


def test_a_key_that_nobody_reads_is_found(tmp_path):
    (tmp_path / "study.py").write_text("def study(settings):\n    return settings.draws\n")
    assert read_in([tmp_path / "study.py"]) == {"draws"}
