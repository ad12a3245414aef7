import itertools
import math
import sys
import time
from fractions import Fraction

import mpmath
import pytest
import torch

from lipbounds.bounds import lipsdp
from lipbounds.bounds.chain import Chain, centre_and_radius, product, scaled_up
from lipbounds.bounds.liplt import liplt, norms_upper
from lipbounds.bounds.lipsdp import certify, eclipse_fast, lipsdp_descent, lipsdp_neuron
from lipbounds.bounds.segments import CHAIN_BOUNDS, chain_bound
from lipbounds.operator_norm import linear_norm

SLOPES = [(0.0, 1.0), (-0.129, 1.129), (-0.9, 1.0), (0.01, 1.0), (0.3, 2.0), (-2.0, -0.5)]
SIZES = [(4, 8, 3), (4, 5, 5, 3), (3, 4, 4, 4, 2), (1, 3, 1, 4, 2), (6, 2, 5, 1)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_chain(sizes, slopes, seed=0):
    """Standard-normal weights; all ratios of bounds are the same for any other variance."""
    generator = torch.Generator().manual_seed(seed)
    weights = tuple(
        torch.randn(after, before, generator=generator, dtype=torch.float64) * math.sqrt(2 / before)
        for before, after in itertools.pairwise(sizes)
    )
    return Chain(weights, (slopes,) * (len(weights) - 1))


def largest_vertex_norm(chain):
    images = chain.weights[0].unsqueeze(0)
    for weight, slopes in zip(chain.weights[1:], chain.slopes, strict=True):
        corners = list(itertools.product(slopes, repeat=weight.shape[1]))
        vertices = torch.tensor(corners, dtype=torch.float64)
        images = ((weight * vertices[:, None])[:, None] @ images).flatten(0, 1)
    return torch.linalg.matrix_norm(images, 2).max().item()


def upper(bound):
    assert bound.kind == "upper"
    assert bound.certified
    return bound.value


@pytest.mark.parametrize("slopes", SLOPES)
def test_no_bound_is_below_the_worst_vertex_and_none_above_the_product(slopes):
    for sizes in SIZES:
        for seed in range(4):
            chain = random_chain(sizes, slopes, seed)
            exact, autolip = largest_vertex_norm(chain), upper(product(chain))
            published = upper(eclipse_fast(chain, search=False))
            searched = upper(eclipse_fast(chain))
            for value in (upper(liplt(chain)), published):
                assert exact * (1 - 1e-12) <= value <= autolip
            assert exact * (1 - 1e-12) <= searched <= published


@pytest.mark.parametrize("slopes", [*SLOPES, (-1.0, 1.0)])
def test_descent_is_sound_and_below_the_closed_form(slopes):
    for seed, sizes in enumerate(SIZES[:3]):
        chain = random_chain(sizes, slopes, seed)
        value = upper(lipsdp_descent(chain, steps=40))
        assert largest_vertex_norm(chain) * (1 - 1e-12) <= value <= upper(eclipse_fast(chain))


def test_different_activations_in_one_chain():
    for seed in range(10):
        chain = random_chain((3, 4, 4, 4, 2), (0.0, 1.0), seed)
        chain = Chain(chain.weights, ((-0.5, 1.0), (0.2, 0.2), (-3.0, -1.0)))
        exact = largest_vertex_norm(chain) * (1 - 1e-12)
        for bound in (product, liplt, eclipse_fast, lipsdp_descent):
            assert exact <= upper(bound(chain))


def test_a_gelu_network_moves_no_further_than_its_bounds():
    chain = random_chain((5, 20, 20, 3), (-0.129, 1.129))
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(4000, 5, generator=generator, dtype=torch.float64) * 2
    near = points + 1e-3 * torch.randn(4000, 5, generator=generator, dtype=torch.float64)

    def network(x):
        for weight in chain.weights[:-1]:
            x = torch.nn.functional.gelu(x @ weight.T)
        return x @ chain.weights[-1].T

    ratio = ((network(points) - network(near)).norm(dim=1) / (points - near).norm(dim=1)).max().item()
    for bound in (liplt, eclipse_fast, lipsdp_descent):
        assert ratio <= upper(bound(chain))


BOUNDS = [product, liplt, eclipse_fast, lipsdp_descent]


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.3, 1.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)])
def test_rounding_never_costs_the_last_digit_where_the_truth_is_an_integer(bound, slopes):
    chain = Chain((torch.ones(7, 7, dtype=torch.float64),) * 4, (slopes,) * 3)
    assert 7**4 <= upper(bound(chain)) <= 7**4 * (1 + 1e-7)


@pytest.mark.parametrize("bound", [liplt, eclipse_fast])
@pytest.mark.parametrize("seed", range(4))
def test_linear_chains_against_fifty_digits(bound, seed):
    chain = random_chain((4, 6, 5, 3), (1.0, 1.0), seed)
    with mpmath.workdps(50):
        matrices = [mpmath.matrix(weight.tolist()) for weight in chain.weights]
        exact = max(mpmath.svd_r(matrices[2] * matrices[1] * matrices[0], compute_uv=False))
        assert exact <= upper(bound(chain)) <= exact * (1 + mpmath.mpf(1e-10))


@pytest.mark.parametrize("bound", BOUNDS)
def test_extreme_weights(bound):
    ones = torch.ones(5, 5, dtype=torch.float64)
    rectifier = ((0.0, 1.0),)
    assert upper(bound(Chain((ones * 0, ones), rectifier))) == 0
    assert 0 < upper(bound(Chain((ones * 1e-200, ones * 1e-200), rectifier))) < 1e-300
    assert upper(bound(Chain((ones * 1e300, ones * 1e300), rectifier))) == math.inf
    mixed = upper(bound(Chain((ones * 2.0**-1000, ones * 2.0**930), rectifier)))
    assert 25 * 2.0**-70 <= mixed <= 25 * 2.0**-70 * (1 + 1e-7)
    sparse = torch.diag(torch.tensor([1.0, 0.0, 1e-9, 1e-300, 5e-324], dtype=torch.float64))
    assert upper(bound(Chain((sparse, ones), rectifier))) ** 2 + 1e-9 >= 5
    assert upper(bound(Chain((ones, ones), ((1e-200, 2e-200),)))) >= 5e-199
    assert upper(bound(Chain((ones, ones), ((0.0, 0.0),)))) == 0


@pytest.mark.parametrize("bound", [*BOUNDS, lipsdp_neuron])
def test_one_weight_is_its_norm(bound):
    chain = random_chain((4, 3), (0.0, 1.0))
    assert upper(bound(chain)) == linear_norm(chain.weights[0]).value


def test_bottlenecks_and_wide_layers_stay_finite_and_below_the_product():
    for sizes in ((50, 3, 50, 1, 20), (1, 300, 1), (40, 4096, 10), (300, 1, 300)):
        chain = random_chain(sizes, (-0.129, 1.129))
        for bound in (liplt, eclipse_fast):
            assert upper(bound(chain)) <= upper(product(chain))
    start = time.perf_counter()
    wide = random_chain((40, 4096, 10), (0.0, 1.0))
    assert upper(eclipse_fast(wide)) < 0.8 * upper(product(wide))
    assert time.perf_counter() - start < 3


def test_measured_tightness_of_small_rectifier_nets():
    # means of nets with normal weights; the published means are of ten such nets
    expected = {(3, 4, 4, 4, 2): (0.57, 0.575, 0.34), (4, 5, 5, 3): (0.684, 0.676, 0.51)}
    for sizes, (unrolled, closed, exact) in expected.items():
        ratios = []
        for seed in range(25):
            chain = random_chain(sizes, (0.0, 1.0), seed)
            values = liplt(chain).value, eclipse_fast(chain, search=False).value
            ratios.append([v / product(chain).value for v in (*values, largest_vertex_norm(chain))])
        means = torch.tensor(ratios).mean(0).tolist()
        assert means == pytest.approx([unrolled, closed, exact], abs=0.05)


def test_deep_nets_gain_factors():
    shallow = random_chain((10, *[40] * 5, 5), (0.0, 1.0))
    best = min(upper(liplt(shallow)), upper(eclipse_fast(shallow)))
    assert upper(product(shallow)) / best >= 3.5
    assert upper(product(shallow)) / upper(lipsdp_descent(shallow)) >= 6
    deep = random_chain((10, *[80] * 20, 5), (0.0, 1.0))
    assert upper(product(deep)) / upper(liplt(deep)) >= 40
    assert upper(product(deep)) / upper(eclipse_fast(deep, search=False)) >= 100
    assert upper(product(deep)) / upper(eclipse_fast(deep)) >= 400


def test_deep_bounds_take_a_fraction_of_a_second():
    seconds = []
    for seed in range(3):
        chain = random_chain((10, *[80] * 20, 5), (0.0, 1.0), seed)
        start = time.perf_counter()
        liplt(chain)
        eclipse_fast(chain)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def matrix_inequality(chain, multipliers, rho):
    """The block-tridiagonal matrix of LipSDP-Neuron, written out."""
    sizes = [weight.shape[1] for weight in chain.weights]
    ends = list(itertools.accumulate(sizes, initial=0))
    matrix = torch.zeros(ends[-1], ends[-1], dtype=torch.float64)
    matrix[: sizes[0], : sizes[0]] = rho * torch.eye(sizes[0]).double()
    for k, (low, high) in enumerate(chain.slopes):
        both = torch.zeros(2 * sizes[k + 1], ends[-1], dtype=torch.float64)
        both[: sizes[k + 1], ends[k] : ends[k + 1]] = chain.weights[k]
        both[sizes[k + 1] :, ends[k + 1] : ends[k + 2]] = torch.eye(sizes[k + 1]).double()
        diagonal = multipliers[k].diag()
        middle = torch.cat(
            [
                torch.cat([2 * low * high * diagonal, -(low + high) * diagonal], 1),
                torch.cat([-(low + high) * diagonal, 2 * diagonal], 1),
            ]
        )
        matrix += both.T @ middle @ both / 2
    matrix[ends[-2] :, ends[-2] :] -= chain.weights[-1].T @ chain.weights[-1]
    return matrix


@pytest.mark.parametrize("slopes", [*SLOPES, (-1.0, 1.0)])
def test_certify_finds_the_least_rho_of_the_matrix_inequality(slopes):
    for seed in range(5):
        chain = random_chain((4, 5, 6, 3), slopes, seed)
        generator = torch.Generator().manual_seed(seed)
        second = chain.weights[2].square().sum() * (3 + torch.rand(6, generator=generator).double())
        first = 9 * chain.weights[1].square().sum() * second.max() * torch.ones(5).double()
        bound = certify(chain, [first, second])
        feasible = matrix_inequality(chain, [first, second], bound**2 * (1 + 1e-9))
        assert torch.linalg.eigvalsh(feasible)[0] > -1e-11 * first.max()
        short = matrix_inequality(chain, [first, second], bound**2 * (1 - 1e-6))
        assert torch.linalg.eigvalsh(short)[0] < 0
        assert bound >= largest_vertex_norm(chain)


def test_multipliers_that_prove_nothing():
    chain = random_chain((4, 5, 3), (0.0, 1.0))
    assert certify(chain, [torch.zeros(5, dtype=torch.float64)]) == math.inf
    assert certify(chain, [torch.full((5,), 1e-3, dtype=torch.float64)]) == math.inf
    one_missing = torch.full((5,), 1e3, dtype=torch.float64)
    one_missing[2] = 0
    assert certify(chain, [one_missing]) > largest_vertex_norm(chain)
    tiny = Chain((torch.full((2, 2), 1e-250, dtype=torch.float64),) * 9, ((0.0, 1.0),) * 8)
    assert certify(tiny, [torch.ones(2, dtype=torch.float64)] * 8) > 0
    for wrong in ([], [torch.ones(4).double()], [torch.ones(5)], [-torch.ones(5).double()]):
        with pytest.raises(ValueError, match=r"multipliers|vectors"):
            certify(chain, wrong)


def test_solver_bound_is_the_least():
    pytest.importorskip("cvxpy")
    gaps = []
    for seed, slopes in enumerate(SLOPES):
        chain = random_chain([(4, 8, 3), (3, 4, 4, 2)][seed % 2], slopes, seed)
        solved, exact = upper(lipsdp_neuron(chain)), largest_vertex_norm(chain)
        assert exact * (1 - 1e-12) <= solved
        assert solved <= min(upper(eclipse_fast(chain)), upper(liplt(chain))) * (1 + 1e-6)
        gaps.append(upper(lipsdp_descent(chain)) / solved)
    assert min(gaps) >= 1 - 1e-6
    assert sorted(gaps)[len(gaps) // 2] < 1.001


def test_symmetric_slopes_through_a_solver():
    pytest.importorskip("cvxpy")
    for seed in range(2):
        chain = random_chain((3, 4, 4, 2), (-1.0, 1.0), seed)
        solved = upper(lipsdp_neuron(chain, solver="CLARABEL"))
        assert largest_vertex_norm(chain) * (1 - 1e-12) <= solved < 0.95 * upper(product(chain))


def test_solver_errors_teach(monkeypatch):
    chain = random_chain((3, 4, 2), (0.0, 1.0))
    with pytest.raises(ValueError, match="use lipsdp_descent or eclipse_fast"):
        lipsdp_neuron(random_chain((100, 200, 3), (0.0, 1.0)))
    monkeypatch.setattr(lipsdp, "_solved_multipliers", lambda *_: [torch.zeros(4).double()])
    with pytest.raises(ArithmeticError, match="prove no bound"):
        lipsdp_neuron(chain)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match="pip install cvxpy"):
        lipsdp_neuron(chain)
    with pytest.raises(ValueError, match="use eclipse_fast"):
        lipsdp_descent(random_chain((3, 600, 2), (0.0, 1.0)))


def test_batched_norms_are_those_of_single_matrices():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (5, 3), (3, 5), (2, 2), (3, 5), (3, 5), (300, 280)]
    matrices = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    matrices[2] *= 0
    matrices[4] *= 1e-305
    matrices[5] *= 1e300
    for matrix, bound in zip(matrices, norms_upper(matrices), strict=True):
        single = linear_norm(matrix).value
        assert bound == pytest.approx(single, rel=1e-10, abs=0)
        if single:
            assert bound / single >= torch.linalg.matrix_norm(matrix / single, 2).item() * (1 - 1e-13)
    identities = torch.eye(6, dtype=torch.float64).repeat(3, 1, 1)
    assert all(1 <= bound <= 1 + 1e-10 for bound in norms_upper(list(identities)))


def test_intervals_and_scales():
    for low, high in ((0.0, 1.0), (0.1, 0.7), (-1 / 3, 1e-17), (1e-300, 1.0), (0.1, 0.1), (-5e-324, 0)):
        centre, radius = centre_and_radius(low, high)
        assert Fraction(centre) - Fraction(radius) <= Fraction(low)
        assert Fraction(high) <= Fraction(centre) + Fraction(radius)
        assert radius <= (high - low) / 2 * (1 + 1e-15) + 5e-324
    assert centre_and_radius(0.0, 1.0) == (0.5, 0.5)
    assert scaled_up(3.0, 2) == 12
    assert scaled_up(3.0, -2000) == 5e-324
    assert scaled_up(3.0, 2000) == scaled_up(math.inf, -5) == math.inf


@pytest.mark.parametrize(
    ("weights", "slopes", "message"),
    [
        ((), (), "at least one"),
        ((torch.ones(2).double(),), (), "non-empty matrix"),
        ((torch.ones(0, 2).double(),), (), "non-empty matrix"),
        ((torch.ones(2, 2),), (), "float64"),
        ((torch.ones(2, 2).double().requires_grad_(),), (), "detach"),
        ((torch.full((2, 2), math.nan).double(),), (), "NaN"),
        ((torch.ones(2, 3).double(), torch.ones(3, 3).double()), ((0, 1),), "returns 2 numbers"),
        ((torch.ones(2, 2).double(),) * 2, (), "1 activations between them"),
        ((torch.ones(2, 2).double(),) * 2, ((1, 0),), "empty: 1.0 > 0.0"),
        ((torch.ones(2, 2).double(),) * 2, ((0, math.inf),), "not finite"),
    ],
)
def test_chains_that_are_none(weights, slopes, message):
    with pytest.raises(ValueError, match=message):
        Chain(weights, slopes)


CERTIFIED = [name for name in CHAIN_BOUNDS if name != "lipsdp"]


@pytest.mark.parametrize("scale", [1e-30, 1e-200, 2.0**-1000, 1e200])
@pytest.mark.parametrize("name", CERTIFIED)
def test_a_scale_that_cancels_changes_nothing(name, scale):
    """s W_1 and W_2 / s around a rectifier are the same net, whatever under- or overflows."""
    bound = chain_bound(name)
    for sizes in ((4, 6, 3), (5, 12, 6, 2), (4, 20, 3)):
        weights = random_chain(sizes, (0.0, 1.0), seed=3).weights
        slopes = ((0.0, 1.0),) * (len(weights) - 1)
        moved = [weights[0] * scale, weights[1] / scale, *weights[2:]]
        before = bound(Chain(tuple(weights), slopes)).value
        assert bound(Chain(tuple(moved), slopes)).value == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("tiny", [1e-30, 1e-100, 1e-150, 1e-200, 1e-300, 5e-324])
@pytest.mark.parametrize("name", CERTIFIED)
def test_neurons_whose_pair_factors_underflow(name, tiny):
    """Diagonal weights, so that the constant is known: the largest product along the diagonal."""
    bound = chain_bound(name)
    rows = [[1.0, tiny, tiny], [tiny, 1.0, tiny], [tiny, 1.0, 1.0]]
    for length in (2, 3):
        weights = [torch.diag(torch.tensor(row, dtype=torch.float64)) for row in rows[:length]]
        slopes = ((0.0, 1.0),) * (length - 1)
        exact = max(math.prod(map(Fraction, column)) for column in zip(*rows[:length], strict=True))
        assert Fraction(bound(Chain(tuple(weights), slopes)).value) >= exact
    padded = [torch.block_diag(weight, torch.eye(12, dtype=torch.float64) * tiny) for weight in weights]
    assert Fraction(bound(Chain(tuple(padded), slopes)).value) >= exact
