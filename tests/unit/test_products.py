import pytest
import torch

from lipbounds import products
from lipbounds.products import takes_onednn, times_transposed

LARGE = (400, 100, 300)
"""Enough multiplications for oneDNN, where torch has it."""


def operands(rows, summed, columns, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(rows, summed, generator=generator, dtype=dtype),
        torch.randn(columns, summed, generator=generator, dtype=dtype),
    )


def transposed_in_memory(matrix):
    return matrix.T.contiguous().T


@pytest.mark.parametrize("shape", [LARGE, (3, 4, 5), (1, 40, 7), (5000, 1, 1000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products(shape, dtype):
    left, right = operands(*shape, dtype)
    exact = left.double() @ right.double().T
    found = times_transposed(left, right)
    assert found.dtype == dtype
    scale = left.double().abs() @ right.double().T.abs()
    bound = shape[1] * torch.finfo(dtype).eps * scale
    assert ((found - exact).abs() <= bound).all()


@pytest.mark.parametrize("left_has_gaps", [False, True])
def test_operands_that_onednn_reads_slowly_are_not_given_to_it(left_has_gaps):
    left, right = operands(*LARGE)
    exact = left @ right.T
    if left_has_gaps:
        left = transposed_in_memory(left)
    else:
        right = transposed_in_memory(right)
    assert not takes_onednn(left, right)
    assert torch.allclose(times_transposed(left, right), exact, atol=1e-4)


def test_small_and_wide_products_are_not_given_to_onednn():
    assert not takes_onednn(*operands(3, 4, 5))
    assert not takes_onednn(*operands(*LARGE, torch.float64))


def test_large_products_are_given_to_onednn_where_torch_has_it():
    assert takes_onednn(*operands(*LARGE)) == products.onednn_is_there()


def test_without_onednn(monkeypatch):
    left, right = operands(*LARGE)
    before = times_transposed(left, right)
    monkeypatch.setattr(products, "onednn_is_there", lambda: False)
    assert torch.allclose(times_transposed(left, right), before, atol=1e-4)


def test_operands_are_left_as_they_were():
    left, right = operands(*LARGE)
    copies = left.clone(), right.clone()
    times_transposed(left, right)
    assert torch.equal(left, copies[0])
    assert torch.equal(right, copies[1])
