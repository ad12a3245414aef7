"""Random models: bounds above the difference quotients, or refusals in words, and no crash."""

import math
from collections import Counter

import pytest
import torch
from tests.fuzz.models import case_of
from tests.fuzz.nodes import fault, recorded
from tests.fuzz.trial import FAILURES, Outcome, tried
from tests.fuzz.truth import Ball, Quotient, largest_quotient, paired_quotient, without_rounding
from torch import nn

from lipbounds.bounds import upper_bound
from lipbounds.rounding import Extended

pytestmark = pytest.mark.usefixtures("single_threaded")

COUNT = 500


@pytest.mark.slow
def test_random_models():
    outcomes: dict[int, Outcome] = {seed: tried(case_of(seed, moves=3)) for seed in range(COUNT)}
    failed = [seed for seed, outcome in outcomes.items() if outcome.kind in FAILURES]
    assert not failed, f"python benchmarks/fuzz.py --moves 3 --show {failed[0]}; of all: {failed}"
    counts = Counter(outcome.kind for outcome in outcomes.values())
    assert counts["certified"] > COUNT / 3  # else the refusals have taken over, and nothing is tried


def test_a_seed_is_a_model():
    one, other = case_of(3), case_of(3)
    assert one == other
    x = torch.zeros(1, *one.shape, dtype=getattr(torch, one.dtype))
    torch.testing.assert_close(one.build()(x), other.build()(x))
    assert len({case_of(seed).source for seed in range(20)}) > 15


@pytest.mark.parametrize("ord", [1, 2, math.inf])
def test_quotients_of_a_linear_map_reach_its_norm(ord):
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    norm = torch.linalg.matrix_norm(layer.weight.detach(), ord).item()
    seen = largest_quotient(layer, Ball((4,), ord, math.inf), seed=0)
    assert seen is not None
    assert norm * (1 - 1e-6) <= seen.value <= norm * (1 + 1e-9)


@pytest.mark.parametrize(
    ("function", "least"),
    [(lambda x: x + (x > 0.1).double(), 100.0), (lambda x: torch.relu(-30 * x), 29.9)],
)
def test_quotients_find_jumps_and_kinks(function, least):
    class Net(nn.Module):
        def forward(self, x):
            return function(x)

    seen = largest_quotient(Net(), Ball((1,), 2, 1.0), seed=0)
    assert seen is not None
    assert seen.value > least


def test_points_stay_in_the_ball():
    generator = torch.Generator().manual_seed(0)
    for order in (1, 2, math.inf):
        ball = Ball((2, 3), order, 0.5)
        assert all(ball.norm(ball.point(generator)) <= 0.5 for _ in range(50))
        assert ball.norm(ball.within(torch.ones(1, 2, 3).double())) <= 0.5


def test_roundings_of_large_values_on_the_way_are_no_slope():
    class Net(nn.Module):
        def __init__(self, jump):
            super().__init__()
            self.jump = jump

        def forward(self, x):
            return (x + 1e6) - 1e6 + self.jump * (x > 0)

    ball = Ball((1,), 2, 1.0)
    x, y = torch.full((1, 1), 1e-8, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for jump, least, most in ((0.0, 0.0, 1.0), (1.0, 9e7, 1.1e8)):
        found = Quotient(((1e-8 + 1e6 - 1e6) + jump) / 1e-8, x, y)
        assert least <= without_rounding(Net(jump), ball, found).value <= most


def test_a_pair_shows_samples_that_mix():
    class Net(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    ball = Ball((3,), 2, 1.0)
    alone = largest_quotient(Net(), ball, seed=0)
    assert alone is not None
    assert alone.value == 0
    assert paired_quotient(Net(), ball, seed=0) > 0.5


def test_a_wrong_bound_of_a_node_is_seen(monkeypatch):
    with recorded() as analyses:
        upper_bound(nn.Sequential(nn.Tanh(), nn.Linear(3, 2)).double(), (3,))
    assert fault(analyses[0], seed=0) == ""
    monkeypatch.setattr(type(analyses[0]), "bound", lambda self, node: Extended.of(0.01))
    assert "said to be at most 0.01" in fault(analyses[0], seed=0)
