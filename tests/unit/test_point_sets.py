"""Point sets and bounds over them: flat memory, exact sums, reproducible pairs."""

import math

import pytest
import torch
from torch import nn

from lipbounds.bounds import lower_bound
from lipbounds.bounds.extended import lower_bound_over
from nets.models.fcn import seeded_fcn
from nets.point_sets import convex_combinations, gaussian_neighbours


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=source(seed))


def test_every_combination_lies_between_two_distinct_points():
    # on the parabola every pair is known by its combination
    t = torch.arange(7, dtype=torch.float64)
    x = torch.stack([t, t**2], 1)
    chunks = list(convex_combinations(x, [0.1, 0.5], 500, source(), chunk=120))
    assert [len(chunk) for chunk in chunks] == [120] * 4 + [20] + [120] * 4 + [20]
    for weight, part in ((0.1, chunks[:5]), (0.5, chunks[5:])):
        allowed = torch.stack(
            [weight * x[i] + (1 - weight) * x[j] for i in range(7) for j in range(7) if i != j]
        )
        distances = (torch.cat(part).unsqueeze(1) - allowed).norm(dim=2)
        assert distances.amin(1).max() < 1e-12
        found = distances.argmin(1).unique()
        assert len(found) == (42 if weight == 0.1 else len(allowed.unique(dim=0)))


def test_pairs_are_uniform():
    x = torch.eye(4, dtype=torch.float64)
    points = next(convex_combinations(x, [0.25], 24_000, source(), chunk=24_000))
    first, second = (points == 0.25).double().argmax(1), points.argmax(1)
    counts = torch.bincount(4 * first + second, minlength=16).view(4, 4)
    assert counts.diagonal().sum() == 0
    expected = 24_000 / 12
    chi_squared = ((counts - expected) ** 2 / expected).sum() - 4 * expected
    assert chi_squared < 31.3  # 99.9 % point for 11 degrees of freedom


def test_points_do_not_depend_on_the_chunks_and_global_randomness_is_untouched():
    x, state = normal(50, 3, 2), torch.get_rng_state()
    small, large = (
        torch.cat(list(convex_combinations(x, [0.2, 0.4], 90, source(), chunk=size))) for size in (7, 90)
    )
    assert torch.equal(small, large)
    assert small.shape == (180, 3, 2)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("x", "weights", "count", "chunk", "message"),
    [
        (torch.zeros(1, 3), [0.5], 1, 1, "n >= 2"),
        (torch.zeros(5, 3, dtype=torch.int64), [0.5], 1, 1, "floating"),
        (torch.zeros(5, 3), [1.5], 1, 1, "weights"),
        (torch.zeros(5, 3), [0.5], 0, 1, "at least 1"),
        (torch.zeros(5, 3), [0.5], 1, 0, "at least 1"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(x, weights, count, chunk, message):
    with pytest.raises(ValueError, match=message):
        convex_combinations(x, weights, count, source(), chunk=chunk)


def test_gaussian_neighbours_have_the_radius_as_their_standard_deviation():
    x = normal(300, 40)
    way = gaussian_neighbours(x, 0.3, source(1)) - x
    assert way.std() == pytest.approx(0.3, rel=0.03)
    assert way.mean().abs() < 0.01
    assert torch.equal(gaussian_neighbours(x, 0.3, source(1)), gaussian_neighbours(x, 0.3, source(1)))
    assert torch.equal(gaussian_neighbours(x, 0, source()), x)
    with pytest.raises(ValueError, match="radius"):
        gaussian_neighbours(x, -1, source())


@pytest.mark.parametrize("ord", [1, 2, math.inf])
def test_streamed_bound_is_that_of_all_points_at_once(ord):
    model, x = seeded_fcn(0, 40, [32], 10), normal(500, 40)
    whole = lower_bound(model, x, ord=ord)
    streamed = lower_bound_over(model, [x[:1], x[1:333], x[:0], x[333:]], ord=ord)
    assert streamed.count == 500
    assert streamed.max == pytest.approx(whole.max, rel=1e-6)
    assert streamed.mean == pytest.approx(whole.mean, rel=1e-6)
    assert streamed.rms == pytest.approx(whole.rms, rel=1e-6)
    assert torch.equal(streamed.worst, x[whole.argmax])


def test_streamed_bound_of_a_linear_net_is_its_norm():
    model = nn.Linear(4, 3, bias=False)
    norm = torch.linalg.matrix_norm(model.weight.detach().double(), 2).item()
    streamed = lower_bound_over(
        model, convex_combinations(normal(9, 4), [0.5, 0.1], 20, source(), chunk=8)
    )
    assert streamed.count == 40
    assert streamed.worst.shape == (4,)
    for value in (streamed.max, streamed.mean, streamed.rms):
        assert value == pytest.approx(norm, rel=1e-6)


def test_no_points_and_norms_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="no points"):
        lower_bound_over(nn.Linear(4, 3), [])
    broken = nn.Linear(4, 3)
    nn.init.constant_(broken.weight, math.inf)
    with pytest.raises(ValueError, match="not finite"):
        lower_bound_over(broken, [normal(5, 4)], ord=1)
