import copy
import inspect
import typing
from pathlib import Path

import pytest
import yaml

from lipbounds.bounds.upper import METHODS
from nets.data.mnist1d import DATASETS
from nets.label_noise import NOISE_KINDS
from nets.training.schedules.warmup_step import SCHEDULES
from pipeline import config as config_module
from pipeline import config_reference
from pipeline.config.training import ConfigError, load_config

ROOT = Path(__file__).parents[2]
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path, value):
    raw = copy.deepcopy(SHIPPED)
    node = raw
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return raw


def problems(raw):
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    return caught.value.problems


LAPTOP = "experiments.double_descent.laptop"
REGULARISED = "experiments.lipschitz_training.laptop"


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
        (f"{LAPTOP}.dataset", "mnist2d", ["'mnist2d' is not known", "mnist1d"]),
        (f"{LAPTOP}.model.name", "cnn", ["'cnn' is not known", "fcn"]),
        (f"{LAPTOP}.training.schedule.name", "warmup_stpe", ["nearest valid name: warmup_step"]),
        (f"{LAPTOP}.training.schedule.warmup", 3, ["nearest valid name: warmup_updates"]),
        (f"{LAPTOP}.bounds.upper", "autolp", ["nearest valid name: autolip"]),
        (f"{LAPTOP}.label_noise.percent", 101, ["101 is out of range", "less than or equal to 100"]),
        (f"{LAPTOP}.label_noise.percent", -1, ["-1 is out of range"]),
        (f"{LAPTOP}.noises", [0, 20, 0], ["noise 0 is listed twice"]),
        (f"{LAPTOP}.variants.layers", {}, ["layers", "match pattern"]),
        (f"{LAPTOP}.variants.layers~2", {"model": {"hiden_layers": 2}}, ["nearest", "hidden_layers"]),
        (f"{LAPTOP}.variants.layers~2", {"variants": {"a~1": {}}}, ["variants: unknown key"]),
        (
            "experiments.depth.like",
            "double_decent",
            ["further up", "nearest valid name: double_descent"],
        ),
        ("experiments.double_descent.like", "depth", ["no experiment further up"]),
        (f"{REGULARISED}.training.regularisation.strength", 0, ["greater than 0"]),
        (f"{REGULARISED}.training.regularisation.treshold", 1, ["nearest valid name: threshold"]),
        (f"{LAPTOP}.training.min_epochs", 10**9, ["min_epochs", "exceeds max_epochs", "lower"]),
        (f"{LAPTOP}.model.output_activation", "leaky_relu", ["minimum_alive_share", "set it to 0"]),
        ("experiments.double_descent.lapptop", {}, ["unknown key", "nearest valid name: laptop"]),
        ("experiments.doubledescent", {}, ["nearest valid name: double_descent"]),
        ("experiments.double_descent.laptop", 3, ["laptop"]),
        ("experiments", None, ["experiments"]),
        ("pathvars", {}, ["pathvars", "unknown key"]),
    ],
)
def test_mistakes_are_explained(path, value, words):
    found = problems(changed(path, value))
    assert len(found) == 1
    assert found[0].startswith("config.yaml: ")
    where = found[0].split(": ")[1]
    assert path.startswith(where) or where.startswith(path)
    for word in words:
        assert word in found[0]


def test_all_mistakes_are_reported_at_once():
    raw = changed("scale", "huge")
    raw["devise"] = "cpu"
    raw["experiments"]["double_descent"]["laptop"]["widths"] = [0]
    raw["experiments"]["double_descent"]["paper"]["seeds"] = 0
    del raw["random_seed"]
    found = problems(raw)
    assert len(found) == 5, "a mistake in the paper's set-up is not repeated for each scale"
    assert "5 mistakes" in str(ConfigError(found))


def test_missing_keys_say_so():
    raw = copy.deepcopy(SHIPPED)
    del raw["experiments"]["double_descent"]["paper"]["training"]["loss"]
    assert problems(raw) == [
        "config.yaml: experiments.double_descent.paper.training.loss: is missing; add it "
        "(docs/config.md lists every key)"
    ]


def test_scales_inherit_and_override():
    config = load_config(SHIPPED)
    paper, laptop = (config.experiments.double_descent.at(s) for s in ("paper", "laptop"))
    assert laptop.training.batch_size == paper.training.batch_size == 512
    assert laptop.training.schedule.warmup_updates != paper.training.schedule.warmup_updates
    assert laptop.training.schedule.name == paper.training.schedule.name


def test_a_schedule_of_another_kind_replaces_the_inherited_one():
    config = load_config(changed(f"{LAPTOP}.training.schedule", {"name": "constant"}))
    assert config.experiments.double_descent.laptop.training.schedule.model_dump() == {
        "name": "constant"
    }


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


def test_paper_scale_is_the_set_up_of_the_paper():
    paper = load_config(SHIPPED).experiments.double_descent.paper
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


def names_of(section, field):
    return set(typing.get_args(section.model_fields[field].annotation))


def test_names_in_the_configuration_are_those_of_the_registries():
    assert names_of(config_module.Setup, "dataset") == set(DATASETS)
    assert names_of(config_module.LabelNoise, "kind") == set(NOISE_KINDS)
    assert names_of(config_module.Training, "loss") == set(LOSSES)
    assert names_of(config_module.Bounds, "upper") == set(METHODS)
    schedules = [
        s for n, s in inspect.getmembers(config_module) if n.endswith("Schedule") and n != "Schedule"
    ]
    assert {next(iter(names_of(s, "name"))) for s in schedules} == set(SCHEDULES)
    for section in schedules:
        (name,) = names_of(section, "name")
        options = set(inspect.signature(SCHEDULES[name]).parameters) - {"update", "updates_per_epoch"}
        assert options == set(section.model_fields) - {"name"}


@pytest.mark.parametrize(
    ("file", "made"),
    [("config.md", "reference"), ("config.schema.json", "schema"), ("departures.md", "departures")],
)
def test_generated_documents_are_up_to_date(file, made):
    expected = getattr(config_reference, made)()
    assert (ROOT / "docs" / file).read_text() == expected, "run `make docs`"


def test_every_key_is_documented():
    assert "see below | \n" not in config_reference.reference()
    for field in (*config_module.Training.model_fields, *config_module.Model.model_fields):
        assert f"| `{field}` |" in config_reference.reference()
