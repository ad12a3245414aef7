"""Settings: what is accepted, how layers add up, and how mistakes are explained."""

import copy
import json
import shutil
import typing
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT

from lipbounds.bounds.upper import METHODS
from nets import parts
from pipeline.config import training as training_module
from pipeline.config.config import SCALES, TopLevel
from pipeline.config.errors import ConfigError
from pipeline.config.loading import load_config
from pipeline.config.rooms import PAPERS
from pipeline.config.training import Bounds, Setup, Training, TrainingJob, identity
from pipeline.pages import config_reference

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path, value):
    """config.yaml with an override, or with another value at the top level."""
    raw = copy.deepcopy(SHIPPED)
    if "." in path:
        return raw | {"overrides": {path: value}}
    return raw | {path: value}


def problems(raw, papers=PAPERS):
    with pytest.raises(ConfigError) as caught:
        load_config(raw, papers)
    return caught.value.problems


def at(config, name, scale):
    return config.trainings[name][scale]


LAPTOP = "double_descent.laptop"
REGULARISED = "lipschitz_training.laptop"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("sclae", "paper", ["sclae", "unknown key", "nearest valid name: scale", "rename"]),
        ("scale", "lapto", ["'lapto' is not known", "nearest valid name: laptop", "paper"]),
        ("device", "gpu", ["device", "'gpu'", "cuda"]),
        (f"{LAPTOP}.training.learning_rat", 1, ["nearest valid name: learning_rate"]),
        (f"{LAPTOP}.training.learning_rate", 0, ["out of range", "greater than 0"]),
        (f"{LAPTOP}.widths", [16, 0], ["widths.1", "0 is out of range", "greater than or equal to 1"]),
        (f"{LAPTOP}.widths", [16, -3], ["-3 is out of range"]),
        (f"{LAPTOP}.widths", [16, 32.5], ["32.5 is not a whole number"]),
        (f"{LAPTOP}.widths", [16, "32"], ["'32' is not a whole number"]),
        (f"{LAPTOP}.widths", [16, True], ["True is not a whole number"]),
        (f"{LAPTOP}.widths", [16, 32, 16], ["16 is listed twice", "remove one"]),
        (f"{LAPTOP}.widths", [], ["widths", "at least 1 item"]),
        (f"{LAPTOP}.widths", 16, ["16 is not a list", "write [16]"]),
        (f"{LAPTOP}.dataset", "mnist2d", ["'mnist2d' is not known", "mnist1d"]),
        (f"{LAPTOP}.model.name", "fnc", ["'fnc' is not known", "fcn"]),
        (f"{LAPTOP}.training.schedule.name", "warmup_stpe", ["nearest valid name: warmup_step"]),
        (f"{LAPTOP}.training.schedule.warmup", 3, ["nearest valid name: warmup_updates"]),
        (f"{LAPTOP}.training.loss", "cross_entrpy", ["nearest valid name: cross_entropy"]),
        (f"{LAPTOP}.bounds.upper", "autolp", ["nearest valid name: autolip"]),
        (f"{LAPTOP}.label_noise.percent", 101, ["101 is out of range", "less than or equal to 100"]),
        (f"{LAPTOP}.label_noise.percent", -1, ["-1 is out of range"]),
        (f"{LAPTOP}.noises", [0, 20, 0], ["noise 0 is listed twice"]),
        (f"{LAPTOP}.variants.layers", {}, ["layers", "match pattern"]),
        (f"{LAPTOP}.variants.layers~2", {"model": {"hiden_layers": 2}}, ["nearest", "hidden_layers"]),
        (f"{LAPTOP}.variants.layers~2", {"variants": {"a~1": {}}}, ["variants: unknown key"]),
        (f"{REGULARISED}.training.regularisation.strength", 0, ["greater than 0"]),
        (f"{REGULARISED}.training.regularisation.treshold", 1, ["nearest valid name: threshold"]),
        (f"{LAPTOP}.training.min_epochs", 10**9, ["min_epochs", "exceeds max_epochs", "lower"]),
        (f"{LAPTOP}.model.output_activation", "leaky_relu", ["minimum_alive_share", "set it to 0"]),
        ("double_descent.lapptop", {}, ["is no scale", "nearest valid name: laptop"]),
        ("doubledescent.laptop", {}, ["no set-up", "nearest valid name: double_descent"]),
        ("double_descent.laptop", 3, ["laptop"]),
        ("toy.laptop.stepps", 3, ["unknown key", "nearest valid name: steps"]),
        ("toy.laptop.steps", 0, ["0 is out of range"]),
        ("experiments", {}, ["lie beside their figures now", "overrides"]),
        ("overrides", 3, ["overrides"]),
        ("pathvars", {}, ["pathvars", "unknown key"]),
        ("mirror", "/data", ["'/data' is no address", "https://HOST/FOLDER", "data_root"]),
        ("mirror", "ftp://host/data", ["is no address"]),
        ("data_root", 3, ["3 is not a text"]),
    ],
)
def test_mistakes_are_explained(path, value, words):
    found = problems(changed(path, value))
    assert len(found) == 1, found
    file, where = found[0].split(": ")[:2]
    assert file == "config.yaml"
    where = where.removeprefix("overrides.")
    assert path.startswith(where) or where.startswith(path) or where == "overrides"
    for word in words:
        assert word in found[0]


@pytest.fixture
def papers(tmp_path):
    """A copy of all rooms, and a way to edit one of their files."""
    folder = tmp_path / "papers"
    shutil.copytree(PAPERS, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def edit(file, old, new):
        path = folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))
        return folder

    return edit


DEPTH = "khromov_singh_2024/depth/figure.yaml"
SWEEP = "khromov_singh_2024/setups/double_descent.yaml"
TOY = "khromov_singh_2024/toy/figure.yaml"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (DEPTH, "widths: [64]", "widths: [0]", ["training.paper.widths.0", "0 is out of range"]),
        (DEPTH, "learning_rate: 0.1", "learning_rat: 0.1", ["training.laptop.training.learning_rat"]),
        (DEPTH, "like: double_descent", "like: double_decent", ["training.like", "double_descent"]),
        (DEPTH, "like: double_descent", "like: depth", ["training.like", "is like itself"]),
        (DEPTH, "caption:", "capton:", ["capton: unknown key", "nearest valid name: caption"]),
        (DEPTH, "tables: [depth,", "tables: [dept,", ["tables.0", "no table", "nearest", "depth"]),
        (DEPTH, "caption: >-", "caption: [", ["is no YAML"]),
        (SWEEP, "batch_size: 512", "batch_size: 0", ["paper.training.batch_size", "out of range"]),
        (SWEEP, "loss: cross_entropy", "# no loss", ["paper.training.loss", "is missing"]),
        (
            TOY,
            "  laptop: {}",
            "  labtop: {}",
            ["study.labtop: unknown key", "nearest valid name: laptop"],
        ),
        (TOY, "steps: 100000", "steps: 1.5", ["study.paper.steps", "not a whole number"]),
        (TOY, "train_points: 15", "trainpoints: 15", ["study.paper.trainpoints", "train_points"]),
    ],
)
def test_a_mistake_in_a_room_names_its_file_and_place(papers, file, old, new, words):
    folder = papers(file, old, new)
    found = problems(SHIPPED, folder)
    assert any(all(word in line for word in words) for line in found), found
    for line in found:
        assert line.startswith(str(folder / file)), line
    expected = 2 if file == TOY and "train_points" in words else 1  # one is missing, one too many
    assert len(found) == expected, "a mistake that other set-ups inherit is told once"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "depth/figure.py",
            "def measure(",
            "def measures(",
            ["depth/figure.py", "function measure("],
        ),
        ("depth/figure.py", "def draw(", "def paint(", ["depth/figure.py", "no function draw("]),
        ("slopes/table.py", "def rows(", "def lines(", ["slopes/table.py", "no function rows("]),
        ("toy/study.py", "def study(", "def steady(", ["toy/study.py", "no function study("]),
        ("toy/study.py", "def study(", "def study((", ["toy/study.py, line", "is no Python"]),
        ("depth/figure.py", "def draw(", "def draw((", ["depth/figure.py, line", "is no Python"]),
        ("toy/study.py", "class Settings(", "class Options(", ["toy/study.py", "no class Settings"]),
    ],
)
def test_a_module_that_lacks_something_is_named_before_any_job(papers, file, old, new, words):
    folder = papers(f"khromov_singh_2024/{file}", old, new)
    found = problems(SHIPPED, folder)
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def test_two_rooms_of_one_name_are_a_mistake(papers):
    folder = papers(DEPTH, "width", "width")
    shutil.copytree(folder / "khromov_singh_2024/depth", folder / "beyond/depth")
    (found,) = (line for line in problems(SHIPPED, folder) if "same name" in line)
    assert "khromov_singh_2024/depth" in found


def test_all_mistakes_are_reported_at_once(papers):
    folder = papers(SWEEP, "seeds: 4", "seeds: 0")
    raw = changed("scale", "huge")
    raw["devise"] = "cpu"
    raw["overrides"] = {"double_descent.laptop.widths": [0]}
    del raw["random_seed"]
    found = problems(raw, folder)
    assert len(found) == 5, "a mistake in the paper's set-up is not repeated for each scale"
    assert "5 mistakes" in str(ConfigError(found))


def test_mistakes_name_the_layer_that_states_them():
    def where(location):
        return "--config" if "seeds" in location else "mine.yaml"

    raw = changed("double_descent.laptop", {"seeds": 0, "widths": [0]})
    with pytest.raises(ConfigError) as caught:
        load_config(raw, where=where)
    assert sorted(line.split(":")[0] for line in caught.value.problems) == ["--config", "mine.yaml"]


def test_scales_inherit_and_override():
    config = load_config(SHIPPED)
    paper, laptop = (at(config, "double_descent", scale) for scale in ("paper", "laptop"))
    assert laptop.training.batch_size == paper.training.batch_size == 512
    assert laptop.training.schedule.warmup_updates != paper.training.schedule.warmup_updates
    assert laptop.training.schedule.name == paper.training.schedule.name


def test_overrides_are_nested_or_dotted_and_concern_the_set_up_that_they_name():
    nested = {"double_descent": {"laptop": {"seeds": 2, "training": {"batch_size": 100}}}}
    dotted = {"double_descent.laptop.seeds": 2, "double_descent.laptop": {"training.batch_size": 100}}
    for overrides in (nested, dotted):
        config = load_config(SHIPPED | {"overrides": overrides})
        setup = at(config, "double_descent", "laptop")
        assert (setup.seeds, setup.training.batch_size) == (2, 100)
        assert setup.training.learning_rate == 0.2
        assert at(config, "depth", "laptop").training.batch_size == 512
        assert at(config, "double_descent", "paper").seeds == 4
    study = load_config(changed("toy.laptop.steps", 7))
    assert study.study("toy").steps == 7
    assert {row["setting"]: row["here"] for row in study.departures("toy")} == {"steps": 7}


def test_an_override_without_a_scale_is_a_mistake():
    (found,) = problems(SHIPPED | {"overrides": {"double_descent": 3}})
    assert found.startswith("config.yaml: overrides.double_descent: 3 is not a section; write ")
    assert found.endswith("double_descent.SCALE.KEY: value")


def test_a_schedule_of_another_kind_replaces_the_inherited_one():
    config = load_config(changed(f"{LAPTOP}.training.schedule", {"name": "constant"}))
    schedule = at(config, "double_descent", "laptop").training.schedule
    assert schedule.model_dump() == {"name": "constant"}


def test_departures_are_computed():
    config = load_config(SHIPPED)
    departures = {d["setting"]: d for d in config.departures("double_descent")}
    assert departures["training.learning_rate"] == {
        "setting": "training.learning_rate",
        "paper": 0.005,
        "here": 0.2,
    }
    assert "training.batch_size" not in departures
    assert "model.minimum_alive_share" in departures
    at_paper_scale = load_config(changed("scale", "paper"))
    assert at_paper_scale.departures("double_descent") == []
    assert at_paper_scale.departures("seqlip_cnn") == [
        {"setting": "data", "paper": "mnist", "here": "mnist1d"}
    ]


def test_paper_scale_is_the_set_up_of_the_paper():
    paper = at(load_config(SHIPPED), "double_descent", "paper")
    assert paper.widths == (16, 32, 64, 80, 96, *(2**k for k in range(7, 18)))
    assert len(paper.widths) == 16
    assert (paper.seeds, paper.label_noise.percent) == (4, 0)
    training = paper.training
    assert (training.learning_rate, training.batch_size, training.clip_norm) == (0.005, 512, 50)
    assert (training.min_epochs, training.max_epochs) == (10_000, 300_000)
    assert training.target_gradient_norm == 0.01
    assert not training.shuffle
    assert training.schedule.model_dump() == {
        "name": "warmup_step",
        "warmup_updates": 20_000,
        "drop_epochs": (2500, 5000, 7500),
        "drop_factor": 0.75,
    }


def test_a_variant_of_each_strength_differs_in_nothing_else():
    config = load_config(changed("scale", "smoke"))
    variants = config.variants("lipschitz_training")
    assert variants == [f"lipschitz_training/strength~{n}" for n in (0, 100_000)]
    plain, regularised = map(config.setup, variants)
    assert plain.training.regularisation is None
    assert regularised.training.regularisation.model_dump() == {
        "strength": 0.1,
        "threshold": 1.0,
        "steps": 6,
    }
    without = {"training": {"regularisation"}}
    assert plain.model_dump(exclude=without) == regularised.model_dump(exclude=without)
    assert config.variants("double_descent") == ["double_descent"]
    assert config.setup("double_descent").training.regularisation is None


def test_trainings_come_behind_those_that_they_are_like():
    config = load_config(SHIPPED)
    names = list(config.trainings)
    for name, about in config.about_trainings.items():
        assert about.like is None or names.index(about.like) < names.index(name)


def test_every_method_of_upper_bounds_can_be_asked_for():
    assert set(typing.get_args(Bounds.model_fields["upper"].annotation)) == set(METHODS)


def test_identities_leave_defaults_out():
    config = load_config(SHIPPED)
    job = config.training_job("double_descent")
    assert TrainingJob.model_validate_json(identity(job)) == job
    stated = json.loads(identity(job))["training"]
    for field in ("optimizer", "temperature", "order_seed", "spectral_cap", "track_path"):
        assert field not in stated
    written = changed("double_descent.laptop.training.temperature", 1.0)
    assert identity(load_config(written).training_job("double_descent")) == identity(job)
    other = changed("double_descent.laptop.training.temperature", 2.0)
    assert identity(load_config(other).training_job("double_descent")) != identity(job)


DEFAULTS = {
    "optimizer": {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
    "order_seed": 0,
    "augmentation": None,
    "regularisation": None,
    "jacobian_penalty": None,
    "temperature": 1.0,
    "spectral_cap": None,
    "track_path": False,
}


def test_defaults_never_change():
    """They are no part of a result's identity: one that changed would leave old results in place."""
    setup = at(load_config(SHIPPED), "double_descent", "paper")
    dumped = Training.model_validate(setup.training.model_dump(include=_required(Training))).model_dump()
    assert {name: dumped[name] for name in DEFAULTS} == DEFAULTS
    assert {name for name, f in Training.model_fields.items() if not f.is_required()} == set(DEFAULTS)
    defaults = {name: f.default for name, f in Setup.model_fields.items() if not f.is_required()}
    assert defaults == {"training_points": None, "noises": (), "variants": {}}
    of_parts = {
        (kind, name): {
            key: field.default
            for key, field in parts.settings_of(kind, name).model_fields.items()
            if not field.is_required()
        }
        for kind in ("model", "schedule", "optimizer", "augmentation", "penalty")
        for name in parts.names(kind)
    }
    assert {key: value for key, value in of_parts.items() if value} == {
        ("model", "cnn"): {"biases": False, "batch_norm": False},
        ("model", "fcn"): {"relative_widths": None},
        ("model", "resnet"): {"blocks": 3},
        ("model", "vit"): {"patch": 8, "depth": 6, "heads": 6, "head_size": 64},
        ("schedule", "exponential_step"): {"minimum_factor": 0.0},
        ("optimizer", "adam"): {
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "weight_decay": 0.0,
        },
        ("optimizer", "sgd"): {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
    }


def _required(section):
    return {name for name, field in section.model_fields.items() if field.is_required()}


def test_settings_of_studies_that_are_read_are_those_that_are_run():
    import importlib

    for room in load_config(SHIPPED).rooms.values():
        if room.about.study is not None:
            run = importlib.import_module(room.study).Settings
            assert room.study_settings.model_json_schema() == run.model_json_schema(), room.name


@pytest.mark.parametrize(
    ("file", "made"),
    [("config.md", "reference"), ("config.schema.json", "schema"), ("departures.md", "departures")],
)
def test_generated_documents_are_up_to_date(file, made):
    expected = getattr(config_reference, made)()
    assert (ROOT / "docs" / file).read_text() == expected, "run `make docs`"


def test_every_key_is_documented():
    page = config_reference.reference()
    for section in (TopLevel, Training, Setup, parts.settings_of("model", "fcn")):
        for field in section.model_fields:
            assert f"| `{field}` |" in page
    assert training_module.AFFECTS_RESULTS is False
    assert set(SCALES) == {"paper", "laptop", "smoke"}
    assert Path(config_reference.DOCS).name == "docs"
