import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipbounds.operator_norm import linear_norm


def exact_spectral_norm(matrix):
    """Largest singular value in 60-digit arithmetic."""
    with mpmath.workdps(60):
        rows = mpmath.matrix([[mpmath.mpf(v) for v in row] for row in matrix.double().tolist()])
        return max(mpmath.svd_r(rows, compute_uv=False))


@st.composite
def matrices(draw):
    """Small matrices of widely different scales, with dependent and repeated rows."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    if draw(st.booleans()):
        matrix[-1] = matrix[0]
    scales = draw(st.lists(st.integers(-200, 200), min_size=rows, max_size=rows))
    if draw(st.booleans()):
        scales = [scales[0]] * rows
    return matrix * 10.0 ** torch.tensor(scales, dtype=torch.float64).unsqueeze(1)


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_certified_is_never_below_the_truth_and_never_far_above(matrix):
    bound, exact = linear_norm(matrix).value, exact_spectral_norm(matrix)
    assert exact <= bound
    assert bound <= exact * (1 + mpmath.mpf(1e-10))


@pytest.mark.parametrize("size", [1, 7, 30])
def test_repeated_singular_values(size):
    orthogonal, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    value = linear_norm(3 * orthogonal).value
    assert exact_spectral_norm(3 * orthogonal) <= value <= 3 * (1 + 1e-12)


@pytest.mark.parametrize("shape", [(10, 131_072), (131_072, 40), (10, 256), (512, 512)])
def test_gap_at_the_sizes_of_the_papers_nets(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = torch.linalg.matrix_norm(weight.double(), 2).item()
    assert exact * (1 - 1e-13) <= linear_norm(weight).value <= exact * (1 + 1e-9)


def test_a_large_matrix_that_misleads_lanczos():
    """The start vector of the estimate is orthogonal to the top singular vector."""
    size = 800
    top = torch.ones(size, dtype=torch.float64)
    top[::2] = -1
    matrix = torch.diag(torch.linspace(0.5, 1, size, dtype=torch.float64))
    matrix += 2 * torch.outer(top, top) / size
    exact = torch.linalg.eigvalsh(matrix)[-1].item()
    assert exact * (1 - 1e-13) <= linear_norm(matrix).value <= exact * (1 + 1e-8)


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e300])
def test_extreme_scales(scale):
    assert scale <= linear_norm(torch.full((1, 1), scale, dtype=torch.float64)).value
    bound = linear_norm(torch.diag(torch.tensor([scale, scale / 2], dtype=torch.float64))).value
    assert scale <= bound <= scale * (1 + 1e-9) + 5e-324


def test_norms_beyond_the_largest_float_are_infinite():
    assert linear_norm(torch.full((3, 3), 1.7e308, dtype=torch.float64)).value == math.inf


def test_zero_and_rank_one():
    assert linear_norm(torch.zeros(3, 5)).value == 0
    u, v = torch.tensor([3.0, 4.0]), torch.tensor([5.0, 12.0, 0.0])
    assert linear_norm(torch.outer(u, v)).value == pytest.approx(65, rel=1e-12)


@given(matrices())
def test_sum_norms_are_upper_bounds(matrix):
    for order, dim in ((1, 0), (math.inf, 1)):
        exact = max(math.fsum(line) for line in matrix.abs().movedim(dim, -1).tolist())
        assert exact <= linear_norm(matrix, ord=order).value <= exact * (1 + 1e-12) + 5e-324


def test_power_iteration_is_called_what_it_is():
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    lower, upper = linear_norm(weight, method="power"), linear_norm(weight)
    assert (lower.kind, lower.certified) == ("lower", False)
    assert (upper.kind, upper.certified) == ("upper", True)
    assert lower.value <= upper.value
    assert lower.value == pytest.approx(upper.value, rel=1e-6)


@pytest.mark.parametrize(
    ("weight", "options", "message"),
    [
        (torch.zeros(3), {}, "non-empty matrix"),
        (torch.zeros(0, 3), {}, "non-empty matrix"),
        (torch.tensor([[1.0, math.nan]]), {}, "NaN or infinite"),
        (torch.tensor([[1.0, math.inf]]), {}, "NaN or infinite"),
        (torch.ones(2, 2, dtype=torch.complex64), {}, "real and floating"),
        (torch.ones(2, 2, dtype=torch.int64), {}, "real and floating"),
        (torch.eye(2), {"ord": 3}, "ord must be"),
        (torch.eye(2), {"method": "svd"}, "no method 'svd'"),
        (torch.eye(2), {"method": "power", "ord": 1}, "no method 'power'"),
    ],
)
def test_bad_arguments_are_refused(weight, options, message):
    with pytest.raises(ValueError, match=message):
        linear_norm(weight, **options)
