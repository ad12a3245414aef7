"""The stopping rule, what is recorded and kept, and exact resumption."""

import dataclasses

import pytest
import torch
from tests.unit import engine
from tests.unit.engine import CROSS_ENTROPY, content, optimiser, penalty, resumed_at, settings_of
from torch import nn

from nets.models.fcn import seeded_fcn
from nets.training.assemble import assemble
from nets.training.points import Points
from nets.training.recipe import Recipe
from nets.training.run import Memory, Settings, TrainingRun
from nets.training.schedule import build_schedule

SETTINGS = Settings(
    learning_rate=0.2,
    schedule=build_schedule("constant"),
    batch_size=32,
    min_epochs=4,
    max_epochs=20,
    target_gradient_norm=1e-9,
    gradient_norm_every=3,
    record_every=5,
    keep_epochs=frozenset({3}),
)


def make_run(seeds=(0, 1, 2), scale=None, **changes):
    generator = torch.Generator().manual_seed(0)
    points = [
        Points(torch.randn(n, 6, generator=generator), torch.randint(0, 3, (n,), generator=generator))
        for n in (100, 40)
    ]
    models = [seeded_fcn(s, 6, [16], 3, activation_on_output="identity") for s in seeds]
    for model, factor in zip(models, scale or (), strict=False):
        model[0].weight.data.mul_(factor)
    ensemble = assemble(models, Recipe(CROSS_ENTROPY, clip_norm=50.0), torch.device("cpu"), 3)
    return TrainingRun(ensemble, seeds, *points, dataclasses.replace(SETTINGS, **changes), Memory())


def finish(run):
    run.start()
    while not run.finished:
        run.advance()
    return run


def reasons(run):
    return {reason for reason, _ in run.stopped.values()}


def epochs_recorded(run, seed):
    return [r.epoch for r in run.store.records if r.seed == seed]


def test_cap_is_recorded_as_the_reason():
    run = finish(make_run())
    assert run.epoch == 20
    assert run.stopped == dict.fromkeys((0, 1, 2), ("epoch_cap", 20))


def test_records_and_kept_weights_at_start_in_between_and_at_the_stop():
    run = finish(make_run(max_epochs=18))
    for seed in (0, 1, 2):
        assert epochs_recorded(run, seed) == [0, 3, 5, 10, 15, 18]
        assert {epoch for own, epoch in run.store.nets if own == seed} == {0, 3, 18}
    assert run.store.nets[0, 0]["0.weight"].shape == (16, 6)
    assert run.store.nets[0, 0].keys() == {"0.weight", "2.weight"}


def test_stops_at_the_first_check_past_the_minimum_that_meets_the_target():
    # every gradient is small enough, so the minimum decides
    run = finish(make_run(target_gradient_norm=1e9, min_epochs=7))
    assert run.epoch == 7
    assert reasons(run) == {"gradient_norm"}


def test_checks_are_spaced_from_the_minimum_on():
    slow = {"learning_rate": 0.02, "seeds": (0,)}
    probe = finish(make_run(record_every=1, **slow))
    norms = {r.epoch: r.gradient_norm for r in probe.store.records if r.seed == 0}
    target = (norms[9] + norms[10]) / 2
    assert norms[9] > target > norms[10] > norms[13], "the case needs a falling gradient norm"
    run = finish(make_run(target_gradient_norm=target, **slow))
    assert run.epoch == 10  # checks at 4, 7, 10
    off_grid = finish(make_run(target_gradient_norm=target, min_epochs=5, **slow))
    assert off_grid.epoch == 11  # checks at 5, 8, 11


def test_the_cap_may_come_before_the_minimum_is_met_and_still_counts_as_the_target():
    run = finish(make_run(target_gradient_norm=1e9, min_epochs=20, max_epochs=20))
    assert reasons(run) == {"gradient_norm"}


def test_seeds_stop_on_their_own_and_the_others_go_on():
    probe = finish(make_run(record_every=1))
    at_seven = {r.seed: r.gradient_norm for r in probe.store.records if r.epoch == 7}
    target = sorted(at_seven.values())[0] * 1.0001
    run = finish(make_run(target_gradient_norm=target, min_epochs=7, gradient_norm_every=1))
    stops = {seed: epochs_recorded(run, seed)[-1] for seed in run.stopped}
    first = min(at_seven, key=at_seven.get)
    assert stops[first] == 7
    assert len(set(stops.values())) > 1


def test_divergence_ends_that_seed_only():
    run = finish(make_run(scale=[1.0, float("inf"), 1.0]))
    assert run.stopped == {0: ("epoch_cap", 20), 1: ("diverged", 0), 2: ("epoch_cap", 20)}
    assert epochs_recorded(run, 1) == [0]
    assert not any(seed == 1 for seed, _ in run.store.nets)


def test_a_rate_that_blows_up_is_recorded_as_divergence():
    run = make_run(learning_rate=1e38)
    finish(run)
    assert reasons(run) == {"diverged"}
    assert all(epoch == 0 for _, epoch in run.store.nets)


DROPOUT = [nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, 5))] * 3
CROP = settings_of("augmentation", "crop", padding=1, flip=True).augment
MOMENTUM = optimiser("sgd", momentum=0.9, weight_decay=0.01)
IN_PLAY = {
    "stacked": (engine.fcn, (12,), Recipe(CROSS_ENTROPY, clip_norm=50.0)),
    "stacked momentum": (engine.biased, (12,), Recipe(CROSS_ENTROPY, optimiser=MOMENTUM)),
    "stacked adam and all penalties": (
        engine.fcn,
        (12,),
        Recipe(
            CROSS_ENTROPY,
            temperature=2.0,
            optimiser=optimiser("adam"),
            track_path=True,
            penalties=[
                penalty("regularisation", strength=0.01, threshold=0.0, steps=6),
                penalty("jacobian_penalty", strength=0.01),
                penalty("spectral_cap", cap=5.0),
            ],
        ),
    ),
    "BatchNorm, momentum, crops": (
        lambda: engine.convolutional((12,), batch_norm=True),
        (12,),
        Recipe(CROSS_ENTROPY, optimiser=MOMENTUM, augmentation=CROP, track_path=True),
    ),
    "images, Adam, crops, penalty": (
        lambda: engine.convolutional((2, 4, 4), batch_norm=True, biases=True),
        (2, 4, 4),
        Recipe(
            CROSS_ENTROPY,
            optimiser=optimiser("adam"),
            augmentation=CROP,
            penalties=[penalty("jacobian_penalty", strength=0.01)],
        ),
    ),
    "dropout": (
        lambda: [nn.Sequential(*(engine.copy_of(layer) for layer in net)) for net in DROPOUT],
        (12,),
        Recipe(CROSS_ENTROPY, clip_norm=1.0),
    ),
}


def in_play(name, **changes):
    nets, shape, recipe = IN_PLAY[name]
    options = {"learning_rate": 0.01, "max_epochs": 5, "min_epochs": 2, "shuffle": True} | changes
    return engine.make_run(nets(), recipe, engine.points(60, 0, shape), **options)


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("name", IN_PLAY)
def test_resumed_run_ends_with_the_same_bytes(name):
    probe = engine.finish(in_play(name, record_every=1))
    norms = sorted(r.gradient_norm for r in probe.store.records if r.epoch == 2)
    changes = {"target_gradient_norm": (norms[0] + norms[1]) / 2, "keep_epochs": frozenset({2})}
    whole = engine.finish(in_play(name, **changes))
    assert len({epoch for _, epoch in whole.stopped.values()}) > 1, "one seed stops before the others"
    for epoch in (0, 2, 3):
        assert content(resumed_at(epoch, lambda: in_play(name, **changes))) == content(whole)


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("name", [name for name in IN_PLAY if not name.startswith("stacked")])
def test_a_net_trains_as_if_it_were_alone(name):
    whole = engine.finish(in_play(name))
    fewer = in_play(name)
    fewer.ensemble.select([1])
    fewer.active = [1]
    engine.finish(fewer)
    for place, net in fewer.store.nets.items():
        for key, value in net.items():
            assert torch.equal(value, whole.store.nets[place][key]), (place, key)


def test_state_of_a_finished_run_is_finished():
    whole = finish(make_run())
    tensors, values = whole.state()
    assert tensors == {}
    again = make_run()
    again.restore(tensors, values)
    assert again.finished
    assert again.stopped == whole.stopped
    assert again.ensemble.parameter_count == whole.ensemble.parameter_count == 16 * 9


def test_shuffling_changes_the_order_and_not_the_points():
    plain, shuffled, other = make_run(), make_run(shuffle=True), make_run(shuffle=True, order_seed=1)
    for run in (plain, shuffled, other):
        run.advance()
    weights = [run.ensemble.net(0)["0.weight"] for run in (plain, shuffled, other)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    whole = make_run(batch_size=100), make_run(batch_size=100, shuffle=True)
    for run in whole:
        run.advance()
    assert torch.allclose(*(run.ensemble.net(0)["0.weight"] for run in whole), atol=1e-6)


def test_records_have_the_path_from_zero_on():
    run = engine.finish(engine.make_run(engine.fcn(), Recipe(CROSS_ENTROPY, track_path=True)))
    own = [record for record in run.store.records if record.seed == 1]
    assert own[0].path_length == own[0].largest_gradient_norm == 0
    lengths = [record.path_length for record in own]
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0
    assert finish(make_run()).store.records[-1].path_length is None


def test_learning_rates_follow_the_schedule_per_update():
    schedule = build_schedule("warmup_step", warmup_updates=8, drop_epochs=[1], drop_factor=0.5)
    run = make_run(schedule=schedule)
    assert run.updates_per_epoch == 4
    assert [run.rate(u) for u in (0, 7, 12, 13)] == pytest.approx([0.025, 0.2, 0.2, 0.1])


def test_a_batch_larger_than_the_data_is_one_batch():
    run = make_run(batch_size=64)
    assert run.updates_per_epoch == 2
    assert make_run(batch_size=1000).updates_per_epoch == 1
