"""Which checkpoints of a run studies along training read."""

import pytest
from tests.papers.training_runs import PLACES, made_up_run

from pipeline.runs.checkpoints import checkpoints_at


def places(nets):
    return [(net.seed, net.epoch) for net in nets]


def test_checkpoints_are_those_asked_for_and_both_ends(tmp_path):
    run = made_up_run(tmp_path / "run")
    assert places(checkpoints_at(run, [5, 1000])) == PLACES
    assert places(checkpoints_at(run, [])) == [(0, 0), (0, 20), (1, 0), (1, 10)]
    assert places(checkpoints_at(run, [5], seeds=1)) == [(0, 0), (0, 5), (0, 20)]
    with pytest.raises(ValueError, match=r"seed 0: no net was kept after 7, 12 epochs"):
        checkpoints_at(run, [12, 7])


def test_the_end_of_a_diverged_seed_is_left_out(tmp_path):
    run = made_up_run(tmp_path / "run", stop="diverged")
    assert places(checkpoints_at(run, [5])) == PLACES[:-1]
