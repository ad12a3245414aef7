"""From settings to a run, and from a run to its outputs."""

import csv
import io

import numpy as np
import pytest
import torch
import yaml
from tests.conftest import ROOT
from tests.unit.engine import CPU, points

from nets.models import fcn
from pipeline.config.errors import ConfigError
from pipeline.config.loading import load_config
from pipeline.config.training import TrainingJob, identity
from pipeline.runs.training_job import build_run, history_csv, recipe, summary

RAW = yaml.safe_load((ROOT / "config.yaml").read_text())


def setup(model=None, **training):
    changes = {"double_descent": {"smoke": {"training": training, "model": model or {}}}}
    return load_config({**RAW, "scale": "smoke", "overrides": changes}).setup("double_descent")


def run_of(setup, shape=(12,)):
    job = TrainingJob(
        model=setup.model, seeds=2, random_seed=1, training=setup.training, training_points=None
    )
    job = TrainingJob.model_validate_json(job.model_dump_json())
    run = build_run(job, 8, points(60, 0, shape), points(20, 1, shape), 5, CPU)
    run.start()
    return run


def test_settings_reach_the_engine():
    plain = recipe(setup().training)
    assert plain.optimiser([torch.zeros(1)]) is None
    assert (plain.temperature, plain.penalties, plain.track_path) == (1, [], False)
    assert plain.augmentation is None
    full = recipe(
        setup(
            optimizer={"name": "adam", "beta_2": 0.99},
            temperature=2,
            clip_norm=None,
            spectral_cap={"cap": 10},
            jacobian_penalty={"strength": 0.5},
            augmentation={"name": "crop", "padding": 1, "flip": False},
            track_path=True,
        ).training
    )
    (group,) = full.optimiser([torch.zeros(1)]).param_groups
    assert (group["betas"], group["eps"]) == ((0.9, 0.99), 1e-8)
    assert (full.temperature, full.track_path, full.clip_norm) == (2, True, float("inf"))
    assert [each.name for each in full.penalties] == ["jacobian_penalty", "spectral_cap"]
    assert full.penalties[0].stacked().strength == full.penalties[0].plain().strength == 0.5
    assert full.penalties[1].stacked().cap == 10
    moved = full.augmentation(torch.ones(50, 12), np.random.default_rng(0))
    assert (moved == 0).any()


def test_the_net_is_that_of_the_family_for_the_points():
    run = run_of(setup(model={"name": "cnn", "batch_norm": True}), (2, 8, 8))
    assert run.ensemble.facts == {"ensemble": "plain"}
    assert run.store.nets[0, 0]["0.weight"].shape == (8, 2, 3, 3)
    stacked = run_of(setup())
    assert stacked.ensemble.facts["ensemble"] == "stacked"
    flat = run_of(setup(), (2, 3, 2))
    assert flat.ensemble.facts["ensemble"] == "stacked"
    assert torch.equal(flat.store.nets[0, 0]["1.weight"], stacked.store.nets[0, 0]["0.weight"])


def test_variants_start_from_the_same_weights():
    config = load_config({**RAW, "scale": "smoke"})
    jobs = [
        TrainingJob.model_validate_json(identity(config.training_job(variant)))
        for variant in config.variants("lipschitz_training")
    ]
    assert [list(job.training.penalties) for job in jobs] == [[], ["regularisation"]]
    runs = [build_run(job, 8, points(60), points(20), 5, CPU) for job in jobs]
    for name, value in runs[0].ensemble.net(1).items():
        assert torch.equal(value, runs[1].ensemble.net(1)[name])


def test_columns_of_the_history_only_where_there_is_something_to_say():
    header = history_csv(run_of(setup()).store.records).splitlines()[0]
    assert header == "seed,epoch,train_loss,train_error,test_loss,test_error,gradient_norm"
    records = run_of(setup(track_path=True)).store.records
    assert history_csv(records).splitlines()[0].endswith("path_length,largest_gradient_norm")
    assert next(csv.DictReader(io.StringIO(history_csv(records))))["path_length"] == "0.0"
    run = run_of(setup(jacobian_penalty={"strength": 0.5}, max_epochs=2, min_epochs=1, keep_epochs=[1]))
    assert history_csv(run.store.records).splitlines()[0].endswith("gradient_norm,penalty")
    while not run.finished:
        run.advance()
    found = summary(run.store.records, run.stopped)
    assert [(seed["seed"], seed["stop_reason"], seed["epochs"]) for seed in found] == [
        (0, "epoch_cap", 2),
        (1, "epoch_cap", 2),
    ]
    assert all(seed["penalty"] > 0 for seed in found)


def test_order_seed_zero_is_the_order_there_always_was():
    seeds = [run_of(setup(shuffle=True, order_seed=n)).settings.order_seed for n in (0, 1, 2)]
    assert seeds[0] == run_of(setup()).settings.order_seed
    assert len(set(seeds)) == 3


def test_hidden_layers_have_widths_of_their_own():
    def sizes(width, **model):
        options = {"hidden_layers": 6, "output_activation": "relu", "minimum_alive_share": 0}
        return fcn.Settings(**options, **model).hidden_sizes(width)

    tapering = {"relative_widths": (1, 1, 0.8, 0.8, 0.6, 0.6)}
    assert sizes(100, **tapering) == [100, 100, 80, 80, 60, 60]
    assert sizes(1, **tapering) == [1] * 6
    assert sizes(7) == [7] * 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"name": "adm"}}, ["training.optimizer", "nearest valid name: adam"]),
        (
            {"optimizer": {"name": "sgd", "beta_1": 0.9}},
            ["training.optimizer.beta_1", "unknown key", "valid here: momentum"],
        ),
        ({"optimizer": {}}, ["training.optimizer", "use adam or sgd"]),
        (
            {"optimizer": {"name": "adm"}},
            ["'adm' is not known"],
        ),
        ({"optimizer": {"name": "adam", "beta_3": 1}}, ["nearest valid name: beta_"]),
        ({"optimizer": {"name": "adam", "beta_1": 1}}, ["optimizer.beta_1", "less than 1"]),
        ({"temperature": 0}, ["temperature", "greater than 0"]),
        ({"spectral_cap": {"cap": -1}}, ["spectral_cap.cap", "greater than 0"]),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, ["nesterov does nothing without momentum"]),
        ({"augmentation": {"name": "crop", "padding": 0, "flip": False}}, ["changes nothing"]),
        ({"jacobian_penalty": {"strenth": 1, "strength": 1}}, ["nearest valid name: strength"]),
        ({"shuffle": False, "order_seed": 3}, ["order_seed 3", "set shuffle to true"]),
        ({"model": {"hidden_layers": 2, "relative_widths": [1]}}, ["1 factors for 2 hidden layers"]),
        ({"model": {"hidden_layers": 1, "relative_widths": [1.5]}}, ["1.5 is out of range"]),
    ],
)
def test_mistakes_are_explained(changes, words):
    with pytest.raises(ConfigError) as caught:
        setup(**changes)
    for word in words:
        assert word in caught.value.problems[0]
