import itertools
import math
from fractions import Fraction

import pytest
import torch

from lipbounds.bounds import seqlip as module
from lipbounds.bounds.chain import Chain, product
from lipbounds.bounds.seqlip import (
    alternating_pair_factor,
    certified_pair_factor,
    exact_pair_factor,
    greedy_pair_factor,
    seqlip,
    seqlip_theorem_bound,
)

SLOPES = [(0.0, 1.0), (-0.129, 1.129), (-0.9, 1.0), (0.01, 1.0), (0.3, 2.0), (-2.0, -0.5)]
NEAR = 1 - 1e-12


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_chain(sizes, slopes, seed=0):
    weights = [normal(b, a, seed=100 * seed + k) for k, (a, b) in enumerate(itertools.pairwise(sizes))]
    return Chain(tuple(weights), (slopes,) * (len(weights) - 1))


def rank_one_chain(size, count, seed):
    """Haar singular vectors, one singular value of 1, the others 0."""
    sides = torch.nn.functional.normalize(normal(count, 2, size, seed=seed), dim=2)
    weights = tuple(torch.outer(left, right) for left, right in sides)
    return Chain(weights, ((0.0, 1.0),) * (count - 1))


def largest_vertex_norm(chain):
    images = chain.weights[0].unsqueeze(0)
    for weight, slopes in zip(chain.weights[1:], chain.slopes, strict=True):
        corners = list(itertools.product(slopes, repeat=weight.shape[1]))
        vertices = torch.tensor(corners, dtype=torch.float64)
        images = ((weight * vertices[:, None])[:, None] @ images).flatten(0, 1)
    return torch.linalg.matrix_norm(images, 2).max().item()


def pair_maximum(left, right, slopes):
    return largest_vertex_norm(Chain((right, left), (slopes,)))


@pytest.mark.parametrize("slopes", [*SLOPES, (-1.0, 1.0), (0.7, 0.7)])
def test_exact_pair_factor_is_the_largest_vertex(slopes):
    for seed, (rows, neurons, columns) in enumerate(
        [(3, 8, 5), (9, 6, 2), (1, 7, 4), (5, 5, 1), (2, 1, 3)]
    ):
        left, right = normal(rows, neurons, seed=seed), normal(neurons, columns, seed=seed + 50)
        bound, maximum = exact_pair_factor(left, right, slopes), pair_maximum(left, right, slopes)
        assert bound.kind == "upper"
        assert bound.certified
        assert maximum * NEAR <= bound.value <= maximum * (1 + 1e-9)


def test_searches_stay_below_the_exact_factor_and_sometimes_strictly():
    strictly = {"greedy": 0, "alternating": 0}
    for seed in range(50):
        left, right = normal(6, 8, seed=seed), normal(8, 6, seed=seed + 1000)
        exact = pair_maximum(left, right, (0.0, 1.0))
        greedy = greedy_pair_factor(left, right, (0.0, 1.0))
        alternating = alternating_pair_factor(left, right, (0.0, 1.0))
        for name, found in (("greedy", greedy), ("alternating", alternating)):
            assert found.kind == "estimate"
            assert not found.certified
            assert 0.8 * exact <= found.value <= exact * (1 + 1e-12)
            strictly[name] += found.value < exact * (1 - 1e-6)
    assert strictly["greedy"] > 0
    assert strictly["alternating"] <= strictly["greedy"]


def test_alternation_with_one_start_is_monotone():
    left, right = normal(20, 300), normal(300, 20, seed=1)
    start = torch.linalg.matrix_norm(left @ right, 2).item()
    one = alternating_pair_factor(left, right, (0.0, 1.0), starts=1).value
    assert start < one <= alternating_pair_factor(left, right, (0.0, 1.0)).value * (1 + 1e-12)
    assert one <= certified_pair_factor(left, right, (0.0, 1.0)).value


@pytest.mark.parametrize("slopes", SLOPES)
def test_every_certificate_of_a_pair_is_above_the_exact_factor(slopes, monkeypatch):
    monkeypatch.setattr(module, "_CERTIFIED_EXACT_SIZE", 0)
    for seed in range(2, 6):
        rows, neurons, columns = (4, 8, 3) if seed % 2 else (9, 6, 7)
        left, right = normal(rows, neurons, seed=seed), normal(neurons, columns, seed=seed + 50)
        if seed > 3:  # one dominant direction on each side
            left = left * 1e-3 + torch.outer(normal(rows, seed=1), normal(neurons, seed=2))
            right = right * 1e-3 + torch.outer(normal(neurons, seed=3), normal(columns, seed=4))
        maximum = pair_maximum(left, right, slopes) * NEAR
        chain = Chain((right, left), (slopes,))
        assert maximum <= module._loop_transform(chain)
        leading = module._leading_directions(left, right, slopes)
        assert maximum <= leading
        assert seed <= 3 or leading <= maximum * 1.1
        certified = certified_pair_factor(left, right, slopes)
        assert certified.certified
        assert maximum <= certified.value <= product(chain).value
        assert certified.value <= maximum * 1.25


@pytest.mark.parametrize("sizes", [(4, 5, 5, 3), (3, 4, 4, 4, 2), (2, 6, 3, 5), (4, 8, 3)])
@pytest.mark.parametrize("slopes", SLOPES)
def test_chain_of_bounds(sizes, slopes):
    for seed in range(3):
        chain = random_chain(sizes, slopes, seed)
        exact = seqlip(chain, pairs="exact")
        certified = seqlip(chain)
        assert exact.certified
        assert certified.certified
        assert exact.kind == certified.kind == "upper"
        assert largest_vertex_norm(chain) * NEAR <= exact.value
        assert exact.value <= certified.value * (1 + 1e-9) <= product(chain).value * (1 + 1e-8)
        assert exact.value <= seqlip_theorem_bound(chain).value * (1 + 1e-9)
        for pairs in ("greedy", "alternating"):
            search = seqlip(chain, pairs=pairs)
            assert (search.kind, search.certified) == ("estimate", False)
            assert search.value <= exact.value


def test_nets_where_a_transposed_factor_falls_below_the_truth():
    wrong = 0
    for seed in range(25):
        chain = random_chain((5, 5, 5, 5), (0.0, 1.0), seed)
        first, second, third = chain.weights
        triple = torch.linalg.svd(second)
        roots = triple.S.sqrt()
        transposed = roots.unsqueeze(1) * triple.Vh.T  # V where V^T belongs
        maximum = largest_vertex_norm(chain)
        mistaken = pair_maximum(transposed, first, (0.0, 1.0)) * pair_maximum(
            third, triple.U * roots, (0.0, 1.0)
        )
        wrong += mistaken < maximum
        assert maximum * NEAR <= seqlip(chain).value
    assert wrong > 0


def test_one_dominant_direction_gives_one_over_pi_per_activation():
    size = 150
    # the larger of two sides that differ by a normal number of variance 1 / size
    expected = 1 / math.pi + 1 / math.sqrt(2 * math.pi * size)
    for count in (2, 3):
        chains = [rank_one_chain(size, count, seed) for seed in range(16)]
        values = [seqlip_theorem_bound(chain).value ** (1 / (count - 1)) for chain in chains]
        assert sum(values) / 16 == pytest.approx(expected, rel=0.08)
        certified = seqlip(chains[0])
        assert certified.certified
        assert certified.value ** (1 / (count - 1)) == pytest.approx(values[0], rel=1e-8)
    small = rank_one_chain(12, 3, 0)
    assert seqlip(small).value == pytest.approx(seqlip(small, pairs="exact").value, rel=1e-8)
    assert seqlip_theorem_bound(small).value == pytest.approx(seqlip(small).value, rel=1e-8)


def test_theorem_gains_with_dominant_directions():
    for slopes in SLOPES:
        for seed in range(5):
            chain = random_chain((5, 6, 6, 4), slopes, seed)
            weights = []
            for weight in chain.weights:
                left, values, right = torch.linalg.svd(weight, full_matrices=False)
                values[1:] *= 0.05
                weights.append((left * values) @ right)
            chain = Chain(tuple(weights), chain.slopes)
            theorem = seqlip_theorem_bound(chain)
            assert (theorem.kind, theorem.certified) == ("upper", False)
            assert seqlip(chain, pairs="exact").value <= theorem.value <= product(chain).value


@pytest.mark.parametrize("pairs", ["certified", "exact"])
@pytest.mark.parametrize("size", [4, 11])
def test_rounding_never_costs_the_last_digit_where_the_truth_is_an_integer(pairs, size):
    chain = Chain((torch.ones(size, size, dtype=torch.float64),) * 3, ((0.0, 1.0),) * 2)
    value = Fraction(seqlip(chain, pairs=pairs).value)
    assert size**3 <= value <= size**3 * Fraction(100001, 100000)


def test_error_of_the_factors_raises_the_pair_factor():
    left, right = normal(3, 4), normal(4, 3, seed=1)
    exact = pair_maximum(left, right, (0.0, 1.0))
    assert module._with_errors(exact, left, right, (0.0, 1.0), 0.0, 0.0) >= exact
    for error in (1e-14, 1e-3):
        raised = module._with_errors(exact, left, right, (0.0, 1.0), error, error)
        extra = torch.eye(4, dtype=torch.float64) * math.sqrt(error)
        grown = pair_maximum(torch.cat([left, extra]), torch.cat([right, extra], 1), (0.0, 1.0))
        assert grown * NEAR <= raised <= exact + 40 * error


def test_zero_scaled_and_single_weights():
    ones = torch.ones(5, 5, dtype=torch.float64)
    for pairs in ("certified", "exact", "greedy", "alternating"):
        assert seqlip(Chain((ones * 0, ones), ((0.0, 1.0),)), pairs=pairs).value == 0
        assert seqlip(Chain((ones, ones), ((0.0, 0.0),)), pairs=pairs).value == 0
        scaled = Chain((ones * 2.0**-900, ones * 2.0**901), ((-0.5, 1.0),))
        assert seqlip(scaled, pairs=pairs).value == pytest.approx(50, rel=1e-9)
        assert seqlip(Chain((ones,), ()), pairs=pairs).value == pytest.approx(5)
    assert seqlip_theorem_bound(Chain((ones * 0, ones), ((0.0, 1.0),))).value == 0


def test_errors_teach():
    with pytest.raises(ValueError, match="use certified_pair_factor"):
        exact_pair_factor(normal(3, 30), normal(30, 3), (0.0, 1.0))
    with pytest.raises(ValueError, match="use one of certified, exact"):
        seqlip(random_chain((2, 2, 2), (0.0, 1.0)), pairs="brute")
    with pytest.raises(ValueError, match="at least one start"):
        alternating_pair_factor(normal(3, 3), normal(3, 3), (0.0, 1.0), starts=0)
    for factor in (exact_pair_factor, greedy_pair_factor, certified_pair_factor):
        with pytest.raises(ValueError, match="returns 4 numbers"):
            factor(normal(3, 3), normal(4, 3), (0.0, 1.0))
