import dataclasses
import math
from itertools import product

import pytest
import torch
from torch.nn import functional

from lipbounds.operator_norm import OperatorNorm
from lipbounds.operator_norm.competitors import (
    COMPETITORS,
    araujo,
    farnia_ryu,
    grishina,
    reshaped_power,
    sedghi,
    senderovich,
    singla_feizi,
    trivial,
)

SHAPES = [(2, 3, 3, 3), (3, 2, 3, 3), (2, 2, 5, 5), (2, 1, 5, 1), (1, 2, 2, 4), (4, 3, 1, 1)]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sigma(matrix):
    return torch.linalg.matrix_norm(matrix, 2).item()


def padded_norm(kernel, size, padding, stride=1):
    basis = torch.eye(kernel.shape[1] * size**2, dtype=kernel.dtype)
    basis = basis.reshape(-1, kernel.shape[1], size, size)
    return sigma(functional.conv2d(basis, kernel, padding=padding, stride=stride).flatten(1))


def circular_norm(kernel, size, stride=1):
    basis = torch.eye(kernel.shape[1] * size**2, dtype=kernel.dtype)
    basis = basis.reshape(-1, kernel.shape[1], size, size)
    image = 0
    for row, column in product(*map(range, kernel.shape[2:])):
        shifted = basis.roll((-row, -column), (2, 3))
        image = image + torch.einsum("oi,bihw->bohw", kernel[:, :, row, column], shifted)
    return sigma(image[:, :, ::stride, ::stride].flatten(1))


def supremum(kernel):
    """S, from a fine grid: below by less than 2e-4 relative for kernels of up to 5 taps a side."""
    symbols = torch.fft.fft2(kernel, s=(160, 160)).movedim((2, 3), (0, 1))
    return torch.linalg.svdvals(symbols).max().item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [2, 4, 5])
def test_sedghi_is_exact_for_circular_padding(shape, size):
    kernel = normal(*shape)
    assert sedghi(kernel, size).value == pytest.approx(circular_norm(kernel, size), rel=1e-12)


def test_sedghi_wraps_long_kernels_and_survives_zero_symbols():
    assert sedghi(torch.ones(1, 1, 5, 5), 2).value == pytest.approx(25)
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    assert sedghi(laplacian, 8).value == pytest.approx(8)
    assert sedghi(normal(2, 2, 3, 3), (4, 7)).kind == "upper"


@pytest.mark.parametrize(
    ("length", "stride", "size"),
    [(3, 2, 8), (5, 2, 8), (7, 2, 8), (3, 3, 9), (1, 2, 8), (11, 4, 12), (3, 1, 5)],
)
def test_senderovich_is_exact_for_strided_circular_padding(length, stride, size):
    kernel = normal(2, 2, length, length)
    exact = circular_norm(kernel, size, stride)
    assert senderovich(kernel, size, stride=stride).value == pytest.approx(exact, rel=1e-12)
    assert exact <= sedghi(kernel, size).value * (1 + 1e-12)


@pytest.mark.parametrize(("padding", "stride"), [(0, 1), (1, 1), (2, 1), (1, 2), (2, 3)])
def test_farnia_ryu_converges_from_below_to_the_layer_as_it_is(padding, stride):
    kernel = normal(3, 2, 3, 3)
    exact = padded_norm(kernel, 7, padding, stride)
    for steps in (1, 5, 2000):
        result = farnia_ryu(kernel, 7, padding=padding, stride=stride, steps=steps)
        assert result.kind == "lower"
        assert result.value <= exact * (1 + 1e-13)
    assert result.value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("length", [1, 5, 7])
def test_farnia_ryu_pads_by_half_the_kernel(length):
    kernel = normal(2, 2, length, length)
    exact = padded_norm(kernel, 8, length // 2)
    value = farnia_ryu(kernel, 8, steps=1000).value
    assert exact * (1 - 1e-4) <= value <= exact * (1 + 1e-13)


def test_farnia_ryu_is_a_lower_bound_in_single_precision():
    kernel = normal(4, 4, 3, 3, dtype=torch.float32)
    exact = padded_norm(kernel.double(), 6, 1)
    assert exact * (1 - 1e-3) <= farnia_ryu(kernel, 6, steps=500).value <= exact * (1 + 1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_upper_bounds_for_any_size_are_at_least_the_supremum(shape):
    for seed in range(3):
        kernel = normal(*shape, seed=seed)
        least = supremum(kernel) * (1 - 1e-13)
        for function, options in (
            (singla_feizi, {}),
            (araujo, {"samples": 6}),
            (araujo, {"samples": 50}),
            (araujo, {"samples": 20, "variant": "rows"}),
            (trivial, {}),
        ):
            result = function(kernel, 5, **options)
            assert result.kind == "upper"
            assert result.value >= least
        assert least >= padded_norm(kernel, 5, 2) * (1 - 2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_grishina_with_many_starts_reaches_the_supremum(shape):
    kernel = normal(*shape)
    result = grishina(kernel, 5, steps=200, starts=20)
    assert result.kind == "estimate"
    assert result.value >= supremum(kernel) * (1 - 1e-10)
    assert result.value <= math.prod(shape[2:]) ** 0.5 * kernel.norm().item()


def test_grishina_of_a_rank_one_kernel_is_its_norm():
    factors = [normal(size, seed=size) for size in (3, 4, 5, 2)]
    kernel = torch.einsum("o,i,h,w->oihw", *factors)
    expected = math.sqrt(10) * math.prod(factor.norm().item() for factor in factors)
    assert grishina(kernel, 5).value == pytest.approx(expected, rel=1e-12)


def test_grishina_with_a_stride_bounds_the_strided_layer():
    kernel = normal(2, 2, 5, 5)
    value = grishina(kernel, 8, stride=2, starts=20).value
    assert circular_norm(kernel, 8, 2) <= value <= grishina(kernel, 8, starts=20).value


def test_reshaped_power_is_below_the_operator_and_within_the_root_of_the_taps():
    kernel = normal(3, 2, 3, 3)
    result = reshaped_power(kernel, 6, steps=500)
    assert result.value == pytest.approx(sigma(kernel.flatten(1)), rel=1e-9)
    for norm in (padded_norm(kernel, 6, 1), padded_norm(kernel, 6, 0), circular_norm(kernel, 6)):
        assert result.value <= norm <= 3 * result.value * (1 + 1e-9)
    assert (result.kind, reshaped_power(kernel, 2).kind) == ("lower", "estimate")


def test_singla_with_power_iteration_is_an_estimate_that_can_fall_below():
    kernel = normal(6, 6, 1, 1)
    few = singla_feizi(kernel, 4, steps=2)
    assert few.kind == "estimate"
    assert few.value < sedghi(kernel, 4).value <= singla_feizi(kernel, 4).value * (1 + 1e-12)
    assert singla_feizi(kernel, 4, steps=5000).value == pytest.approx(singla_feizi(kernel, 4).value)


def test_known_values():
    ones = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    assert reshaped_power(ones, 5).value == pytest.approx(3)
    for function in (sedghi, senderovich, singla_feizi, grishina, trivial):
        assert function(ones, 5).value == pytest.approx(9)
    assert araujo(ones, 5, samples=4).value == pytest.approx(18)
    alternating = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    kernel = torch.outer(alternating, alternating)[None, None]
    assert sedghi(kernel, 3).value == pytest.approx(4)
    assert farnia_ryu(kernel, 3).value == pytest.approx(5.828, abs=1e-3)
    assert sedghi(kernel, 9).value == pytest.approx(8.291, abs=1e-3)
    assert farnia_ryu(kernel, 9).value == pytest.approx(8.422, abs=1e-3)


def test_values_of_a_published_comparison():
    kernel = normal(64, 64, 3, 3, dtype=torch.float32) / 24
    assert sedghi(kernel, 32).value == pytest.approx(2.029383, rel=1e-6)
    assert singla_feizi(kernel, 32, steps=50).value == pytest.approx(3.4240, rel=1e-4)
    assert araujo(kernel, 32, samples=20).value == pytest.approx(9.01, abs=5e-3)
    assert araujo(kernel, 32, samples=50).value == pytest.approx(8.45, abs=5e-3)


def test_araujo_of_pointwise_kernels_is_the_frobenius_norm():
    kernel = normal(4, 5, 1, 1)
    assert araujo(kernel, 3, samples=1).value == pytest.approx(kernel.norm().item())


@pytest.mark.parametrize(("length", "samples"), [(3, 1), (3, 2), (5, 3), (5, 4), (4, 4)])
def test_araujo_refuses_grids_that_say_nothing(length, samples):
    with pytest.raises(ValueError, match="too coarse"):
        araujo(normal(2, 2, length, length), 8, samples=samples)


def test_registry():
    kernel = normal(2, 3, 3, 3)
    operator = {"circular": circular_norm(kernel, 6), "zero padding": padded_norm(kernel, 6, 1)}
    for name, entry in COMPETITORS.items():
        result = entry.function(kernel, 6)
        assert isinstance(result, OperatorNorm)
        assert entry.function.__name__ == name
        assert not result.certified
        assert result.how
        assert entry.remark.endswith(".")
        if entry.sound:
            assert result.kind == "upper"
            exact = operator.get(entry.operator, max(operator.values()))
            assert result.value >= exact * (1 - 1e-12) or entry.operator == "circular, strided"
    with pytest.raises(dataclasses.FrozenInstanceError):
        COMPETITORS["sedghi"].sound = False


@pytest.mark.parametrize("name", COMPETITORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_kernels_and_reproducible_values(name, dtype):
    function = COMPETITORS[name].function
    assert function(torch.zeros(2, 3, 3, 3, dtype=dtype), 4).value == 0
    kernel = normal(2, 3, 3, 3, dtype=dtype).requires_grad_()
    assert function(kernel, 4) == function(kernel, 4)


@pytest.mark.parametrize("name", COMPETITORS)
def test_bad_arguments(name):
    function = COMPETITORS[name].function
    for kernel, size in (
        (torch.ones(3, 3), 4),
        (torch.ones(0, 1, 3, 3), 4),
        (torch.ones(1, 1, 3, 3, dtype=torch.int64), 4),
        (torch.ones(1, 1, 3, 3), 0),
        (torch.ones(1, 1, 3, 3), (4, 4, 4)),
    ):
        with pytest.raises(ValueError, match=r"kernel must|at least|unpack"):
            function(kernel, size)


@pytest.mark.parametrize(
    "call",
    [
        lambda k: farnia_ryu(k, 4, stride=0),
        lambda k: farnia_ryu(k, 4, padding=-1),
        lambda k: farnia_ryu(k, 2, padding=0),
        lambda k: farnia_ryu(k, 4, steps=0),
        lambda k: senderovich(k, 4, stride=0),
        lambda k: senderovich(k, 4, stride=3),
        lambda k: grishina(k, 4, stride=0),
        lambda k: grishina(k, 4, starts=0),
        lambda k: singla_feizi(k, 4, steps=0),
        lambda k: araujo(k, 4, variant="columns"),
    ],
)
def test_bad_options(call):
    with pytest.raises(ValueError, match=r"at least|positive|divide|fit|variant"):
        call(torch.ones(1, 1, 3, 3))
