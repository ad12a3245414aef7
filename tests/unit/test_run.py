"""The stopping rule, what is recorded and kept, and exact resumption."""

import dataclasses
import json

import pytest
import torch

from nets.models.fcn import linear_weights, seeded_fcn
from nets.training.loss import loss_named
from nets.training.points import Points
from nets.training.run import Settings, TrainingRun, checkpoint_key
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN

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
    weights = [torch.stack(layer) for layer in zip(*map(linear_weights, models), strict=True)]
    if scale is not None:
        weights[0] *= torch.tensor(scale).view(-1, 1, 1)
    stack = StackedFCN(
        weights, output_slope=1.0, loss=loss_named("cross_entropy"), largest_batch=100, clip_norm=50.0
    )
    return TrainingRun(stack, seeds, *points, dataclasses.replace(SETTINGS, **changes))


def finish(run):
    while not run.finished:
        run.advance()
    return run


def epochs_recorded(run, seed):
    return [r.epoch for r in run.records if r.seed == seed]


def test_cap_is_recorded_as_the_reason():
    run = finish(make_run())
    assert run.epoch == 20
    assert run.stopped == dict.fromkeys((0, 1, 2), "epoch_cap")


def test_records_and_kept_weights_at_start_in_between_and_at_the_stop():
    run = finish(make_run(max_epochs=18))
    for seed in (0, 1, 2):
        assert epochs_recorded(run, seed) == [0, 3, 5, 10, 15, 18]
        kept = {key.split("/")[1] for key in run.kept if key.startswith(f"seed~{seed}/")}
        assert kept == {"epoch~0", "epoch~3", "epoch~18"}
    assert run.kept[checkpoint_key(0, 0, 0)].shape == (16, 6)
    assert "seed~0/epoch~0/2.weight" in run.kept


def test_stops_at_the_first_check_past_the_minimum_that_meets_the_target():
    # every gradient is small enough, so the minimum decides
    run = finish(make_run(target_gradient_norm=1e9, min_epochs=7))
    assert run.epoch == 7
    assert set(run.stopped.values()) == {"gradient_norm"}


def test_checks_are_spaced_from_the_minimum_on():
    slow = {"learning_rate": 0.02, "seeds": (0,)}
    probe = finish(make_run(record_every=1, **slow))
    norms = {r.epoch: r.gradient_norm for r in probe.records if r.seed == 0}
    target = (norms[9] + norms[10]) / 2
    assert norms[9] > target > norms[10] > norms[13], "the case needs a falling gradient norm"
    run = finish(make_run(target_gradient_norm=target, **slow))
    assert run.epoch == 10  # checks at 4, 7, 10
    off_grid = finish(make_run(target_gradient_norm=target, min_epochs=5, **slow))
    assert off_grid.epoch == 11  # checks at 5, 8, 11


def test_the_cap_may_come_before_the_minimum_is_met_and_still_counts_as_the_target():
    run = finish(make_run(target_gradient_norm=1e9, min_epochs=20, max_epochs=20))
    assert set(run.stopped.values()) == {"gradient_norm"}


def test_seeds_stop_on_their_own_and_the_others_go_on():
    probe = finish(make_run(record_every=1))
    at_seven = {r.seed: r.gradient_norm for r in probe.records if r.epoch == 7}
    target = sorted(at_seven.values())[0] * 1.0001
    run = finish(make_run(target_gradient_norm=target, min_epochs=7, gradient_norm_every=1))
    stops = {seed: epochs_recorded(run, seed)[-1] for seed in run.stopped}
    first = min(at_seven, key=at_seven.get)
    assert stops[first] == 7
    assert len(set(stops.values())) > 1


def test_divergence_ends_that_seed_only():
    run = finish(make_run(scale=[1.0, float("inf"), 1.0]))
    assert run.stopped == {0: "epoch_cap", 1: "diverged", 2: "epoch_cap"}
    assert epochs_recorded(run, 1) == [0]
    assert not any(key.startswith("seed~1/") for key in run.kept)


def test_a_rate_that_blows_up_is_recorded_as_divergence():
    run = make_run(learning_rate=1e38)
    finish(run)
    assert set(run.stopped.values()) == {"diverged"}
    assert all(key.split("/")[1] == "epoch~0" for key in run.kept)


def bytes_of(run):
    return {k: v.numpy().tobytes() for k, v in run.kept.items()}, run.records, run.stopped


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("interrupted_at", [1, 4, 10, 13, 19])
def test_resumed_run_ends_with_the_same_bytes(shuffle, interrupted_at):
    probe = finish(make_run(record_every=1, shuffle=shuffle))
    target = sorted(r.gradient_norm for r in probe.records if r.epoch == 10)[1]
    changes = {"shuffle": shuffle, "target_gradient_norm": target}
    whole = finish(make_run(**changes))
    assert (
        set(whole.stopped.values()) == {"gradient_norm", "epoch_cap"}
        or len({r.epoch for r in whole.records if r.epoch > 5}) > 1
    )
    first = make_run(**changes)
    while not first.finished and first.epoch < interrupted_at:
        first.advance()
    tensors, values = first.state()
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    second = make_run(**changes)
    second.restore(tensors, json.loads(json.dumps(values)))
    assert second.epoch == first.epoch
    assert bytes_of(finish(second)) == bytes_of(whole)


def test_state_of_a_finished_run_is_finished():
    whole = finish(make_run())
    again = make_run()
    again.restore(*whole.state())
    assert again.finished
    assert bytes_of(again) == bytes_of(whole)
    assert again.parameter_count == whole.parameter_count == 16 * 9


def test_shuffling_changes_the_order_and_not_the_points():
    plain, shuffled = make_run(), make_run(shuffle=True)
    plain.advance()
    shuffled.advance()
    assert not torch.equal(plain.state()[0]["active/0"], shuffled.state()[0]["active/0"])
    other = make_run(shuffle=True, order_seed=1)
    other.advance()
    assert not torch.equal(other.state()[0]["active/0"], shuffled.state()[0]["active/0"])


def test_learning_rates_follow_the_schedule_per_update():
    schedule = build_schedule("warmup_step", warmup_updates=8, drop_epochs=[1], drop_factor=0.5)
    run = make_run(schedule=schedule)
    assert run.updates_per_epoch == 4
    assert [run.rate(u) for u in (0, 7, 12, 13)] == pytest.approx([0.025, 0.2, 0.2, 0.1])


def test_a_batch_larger_than_the_data_is_one_batch():
    run = make_run(batch_size=64)
    assert run.updates_per_epoch == 2
    assert make_run(batch_size=1000).updates_per_epoch == 1
