"""Cholesky's certificate: what it rests on, against long double, and what it says."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lipbounds.operator_norm.certificate import top_eigenvalue_upper
from lipbounds.operator_norm.convolution import conv2d_norm
from lipbounds.rounding import gamma, squared_frobenius_upper

COMPLEX = (torch.float64, torch.complex128)


def grams(count: int, size: int, dtype: torch.dtype, rank: int | None = None) -> torch.Tensor:
    """Hermitian to the last bit, of norm below one."""
    generator = torch.Generator().manual_seed(size)
    factors = torch.randn(count, size, rank or 2 * size, generator=generator, dtype=dtype)
    product = factors @ factors.mH
    half = product.tril(-1)
    real = torch.diag_embed(product.diagonal(dim1=-2, dim2=-1).real).to(dtype)
    return (half + half.mH + real) / (1.1 * torch.linalg.eigvalsh(product).max())


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("size", [2, 3, 17, 64, 120])
@pytest.mark.parametrize("above", [1e-2, 1e-9, 0.0])
def test_factors_miss_their_matrix_by_less_than_the_theorem_says(size, dtype, above):
    gram = grams(1, size, dtype, rank=size // 2 + 1)[0]
    top = torch.linalg.eigvalsh(gram).max().item()
    least = 4 * size * gamma(size + 1)  # nearer the factorisation may fail
    shifted = torch.diag_embed(torch.full((size,), top * (1 + above + least), dtype=dtype)) - gram
    factor, info = torch.linalg.cholesky_ex(shifted)
    assert info == 0
    exact = factor.numpy().astype(np.clongdouble)
    missed = np.linalg.norm((shifted.numpy() - exact @ exact.conj().T).astype(np.complex128))
    trace = shifted.diagonal().real.sum().item()
    assert missed <= gamma(2 * size + 8) * trace / 2


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("size", [1, 2, 30])
def test_bounds_lie_just_above_the_largest_eigenvalue_of_all(size, dtype):
    matrices = grams(20, size, dtype)
    largest = torch.linalg.eigvalsh(matrices).max().item()
    bound, shift = top_eigenvalue_upper(matrices)
    assert largest * (1 - 1e-15) <= bound <= largest * (1 + 1e-11)
    again, kept = top_eigenvalue_upper(matrices, shift)
    assert kept == shift
    assert again == pytest.approx(bound, rel=1e-13)
    lower, raised = top_eigenvalue_upper(matrices, largest / 2)
    assert largest * (1 - 1e-15) <= lower
    assert raised > largest / 2


@pytest.mark.parametrize("size", [1, 5, 40])
def test_matrices_that_are_not_numbers_are_refused(size):
    matrices = grams(3, size, torch.complex128)
    matrices[1, size // 2, 0] = torch.nan
    matrices[1, 0, size // 2] = torch.nan
    with pytest.raises((ArithmeticError, torch.linalg.LinAlgError)):
        top_eigenvalue_upper(matrices)
    with pytest.raises((ArithmeticError, torch.linalg.LinAlgError)):
        top_eigenvalue_upper(matrices, 10.0)


@pytest.mark.parametrize("groups", [1, 8])
def test_norms_do_not_depend_on_the_number_of_threads(groups):
    weight = torch.randn(8, 8 // groups, 3, 3, generator=torch.Generator().manual_seed(0))
    found = set()
    before = torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.add(conv2d_norm(weight, 64, groups=groups).value)
    torch.set_num_threads(before)
    assert len(found) == 1


def test_groups_and_kernels_within_their_stride_agree_with_dense_matrices():
    weight = torch.randn(6, 2, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    convolution = torch.nn.Conv2d(6, 6, (1, 2), stride=(3, 2), groups=3, bias=False).double()
    convolution.weight.data.copy_(weight)
    images = torch.eye(6 * 8 * 8, dtype=torch.float64).view(-1, 6, 8, 8)
    dense = torch.linalg.matrix_norm(convolution(images).detach().flatten(1), 2).item()
    bound = conv2d_norm(weight, 8, stride=(3, 2), groups=3).value
    assert dense <= bound <= dense * (1 + 1e-11)


@pytest.mark.parametrize("scale", [1.0, 1e-161, 1e-170, 1e150, 5e-324])
@pytest.mark.parametrize("dtype", COMPLEX)
def test_sums_of_squares_are_upper_bounds_where_squares_underflow_too(scale, dtype):
    entries = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=dtype) * scale
    exact = sum(Fraction(part) ** 2 for part in torch.view_as_real(entries + 0j).flatten().tolist())
    bound = squared_frobenius_upper(entries)
    assert exact <= Fraction(bound)
    assert Fraction(bound) <= exact * (1 + Fraction(1, 10**11)) + 3000 * Fraction(2.0**-1074)
