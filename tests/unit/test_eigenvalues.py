import math

import pytest
import torch

from lipbounds import eigenvalues
from lipbounds.eigenvalues import top_eigenvalues

STACK = 40


def gram(rows):
    return rows @ rows.mT


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def with_spectrum(values):
    basis = torch.linalg.qr(normal(*values.shape, values.shape[1]))[0]
    matrices = (basis * values.unsqueeze(1)) @ basis.mT
    return (matrices + matrices.mT) / 2


def cluster(size, count, width):
    """The ``count`` largest eigenvalues within ``width``, the others anywhere below."""
    values = torch.rand(STACK, size, dtype=torch.float64)
    values[:, :count] = 1 - width * torch.rand(STACK, min(count, size), dtype=torch.float64)
    return with_spectrum(values)


def tridiagonal(diagonal, beside):
    return torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)


FAMILIES = {
    "wide": lambda size: gram(normal(STACK, size, 40)),
    "square": lambda size: gram(normal(STACK, size, size)),
    "rank one": lambda size: gram(normal(STACK, size, 1)),
    "rank two": lambda size: gram(normal(STACK, size, 2)),
    "ones": lambda size: torch.ones(STACK, size, size, dtype=torch.float64),
    "identity": lambda size: torch.eye(size, dtype=torch.float64).expand(STACK, -1, -1),
    "two agree": lambda size: cluster(size, 2, 0),
    "two within 1e-15": lambda size: cluster(size, 2, 1e-15),
    "two within 1e-9": lambda size: cluster(size, 2, 1e-9),
    "two within 1e-3": lambda size: cluster(size, 2, 1e-3),
    "three within 1e-6": lambda size: cluster(size, 3, 1e-6),
    "half agree": lambda size: cluster(size, max(1, size // 2), 0),
    "half within 1e-12": lambda size: cluster(size, max(1, size // 2), 1e-12),
    "all but one agree": lambda size: cluster(size, max(1, size - 1), 0),
    "all agree": lambda size: cluster(size, size, 0),
    "all within 1e-12": lambda size: cluster(size, size, 1e-12),
    "all within 1e-7": lambda size: cluster(size, size, 1e-7),
    "zero": lambda size: torch.zeros(STACK, size, size, dtype=torch.float64),
    "dead rows": lambda size: gram(normal(STACK, size, 40) * (torch.rand(STACK, size, 1) < 0.5)),
    "dead points": lambda size: gram(normal(STACK, size, 40)) * (torch.rand(STACK, 1, 1) < 0.5),
    "diagonal": lambda size: torch.diag_embed(normal(STACK, size)),
    "few values": lambda size: torch.diag_embed((3 * normal(STACK, size)).round()),
    "graded": lambda size: gram(torch.logspace(0, -30, size).unsqueeze(1) * normal(STACK, size, size)),
    "graded up": lambda size: gram(torch.logspace(-30, 0, size).view(-1, 1) * normal(STACK, size, size)),
    "indefinite": lambda size: cluster(size, 1, 1) - cluster(size, 1, 1),
    "negative": lambda size: -gram(normal(STACK, size, 40)),
    "nearly apart": lambda size: tridiagonal(
        normal(STACK, size), normal(STACK, size - 1) * 10.0 ** (-20 * torch.rand(STACK, size - 1))
    ),
    "blocks of two": lambda size: torch.block_diag(
        *[torch.ones(2, 2, dtype=torch.float64)] * (size // 2), *[torch.zeros(1, 1)] * (size % 2)
    ).expand(STACK, -1, -1),
    "Wilkinson": lambda size: tridiagonal(
        (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs(),
        torch.ones(size - 1, dtype=torch.float64),
    ).expand(STACK, -1, -1),
}  # fmt: skip


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def every_stack_together(monkeypatch):
    """However small; and a list of how many matrices each call of LAPACK got."""
    monkeypatch.setattr(eigenvalues, "_LEAST_ELEMENTS", 0)
    monkeypatch.setattr(eigenvalues, "_LEAST_ROWS", 0)
    lapack, counts = eigenvalues._one_by_one, []
    monkeypatch.setattr(
        eigenvalues, "_one_by_one", lambda part: counts.append(len(part)) or lapack(part)
    )
    return counts


@pytest.mark.parametrize("size", [1, 2, 3, 10, 16, 33])
@pytest.mark.parametrize("family", FAMILIES)
def test_against_lapack(family, size, every_stack_together):
    matrices = FAMILIES[family](size)
    exact = torch.linalg.eigvalsh(matrices)
    errors = (top_eigenvalues(matrices) - exact[:, -1]).abs()
    assert (errors <= 1e-14 * exact.abs().amax(1)).all()


@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e-150, 1e150, 1e300])
@pytest.mark.parametrize("family", ["wide", "rank one", "half agree", "dead points", "indefinite"])
def test_scales(family, scale, every_stack_together):
    matrices = FAMILIES[family](10) * scale
    exact = torch.linalg.eigvalsh(matrices)
    errors = (top_eigenvalues(matrices) - exact[:, -1]).abs()
    assert (errors <= 1e-14 * exact.abs().amax(1) + 1e-322).all()


@pytest.mark.parametrize("size", [2, 3, 10, 16])
@pytest.mark.parametrize("family", ["wide", "square", "rank one", "identity", "all within 1e-7", "zero"])
def test_usual_matrices_are_not_left_to_lapack(family, size, every_stack_together):
    eigenvalues._together(FAMILIES[family](size))
    assert sum(every_stack_together) <= 0.05 * STACK


def test_what_has_not_converged_is_left_to_lapack(every_stack_together, monkeypatch):
    monkeypatch.setattr(eigenvalues, "_MOST_STEPS", 1)
    matrices = FAMILIES["wide"](10)
    assert torch.equal(top_eigenvalues(matrices), torch.linalg.eigvalsh(matrices)[:, -1])
    assert sum(every_stack_together) == STACK


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [2, 3, 10])
def test_not_finite_is_nan_where_it_is(size, bad, every_stack_together):
    matrices = FAMILIES["wide"](size)
    matrices[7, -1, 0] = matrices[7, 0, -1] = bad
    found = top_eigenvalues(matrices)
    assert found[7].isnan()
    assert found.isnan().sum() == 1


@pytest.mark.parametrize("count", [1, 2, 999, 2001])
@pytest.mark.parametrize("size", [1, 10, 33])
def test_stacks_of_any_length(count, size):
    matrices = gram(normal(count, size, 2))
    exact = torch.linalg.eigvalsh(matrices)[:, -1]
    assert torch.allclose(top_eigenvalues(matrices), exact, rtol=1e-14, atol=0)


def test_input_is_left_as_it_was_and_may_have_gaps(every_stack_together):
    matrices = gram(normal(10, STACK, 10).permute(1, 0, 2)).mT
    before = matrices.clone()
    points_last = matrices.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(top_eigenvalues(matrices), top_eigenvalues(points_last))
    assert torch.equal(matrices, before)
    assert torch.equal(points_last, before)


def test_float32_and_gradients_are_lapacks(every_stack_together):
    matrices = FAMILIES["wide"](10).requires_grad_()
    (gradient,) = torch.autograd.grad(top_eigenvalues(matrices).sum(), matrices)
    assert torch.allclose(
        gradient.diagonal(dim1=1, dim2=2).sum(1), torch.ones(STACK, dtype=torch.float64)
    )
    assert top_eigenvalues(matrices.detach().float()).dtype == torch.float32


def test_tridiagonal_matrices_are_similar():
    matrices = FAMILIES["indefinite"](10)
    diagonals, squares = eigenvalues._tridiagonal(matrices.permute(1, 2, 0).contiguous())
    similar = tridiagonal(diagonals.T, squares.T.sqrt())
    assert torch.allclose(torch.linalg.eigvalsh(similar), torch.linalg.eigvalsh(matrices), atol=1e-13)


def test_characteristic_polynomial_and_derivatives():
    roots = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    gaps, minors = (4 - roots).unsqueeze(1), torch.zeros(3, 4, 1, dtype=torch.float64)
    value, slope, bend, lowest = eigenvalues._characteristic(gaps, 0 * gaps[1:], minors)
    one, five, rest = gaps.flatten().tolist()
    assert value.item() == one * five * rest
    assert slope.item() == one * five + one * rest + five * rest
    assert bend.item() == one + five + rest
    assert lowest.item() == one
