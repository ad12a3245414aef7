import math
from itertools import pairwise, product

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lipbounds.operator_norm.gram import (
    certified_gram_norm,
    conv_gram_enclosure,
    conv_gram_norm,
    conv_spectral_rescaling,
    gram_enclosure,
    gram_norm,
    spectral_rescaling,
    toeplitz_gram_norm,
)

DOUBLE = torch.float64
LAPLACIAN = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=DOUBLE)[None, None]


def normal(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sigma(matrix):
    return torch.linalg.matrix_norm(matrix.double(), 2).item()


def circular_matrix(kernel, size):
    """The convolution on a torus, tap by tap, applied to a basis; kernels may wrap."""
    axes = kernel.dim() - 2
    basis = torch.eye(kernel.shape[1] * size**axes, dtype=kernel.dtype)
    basis = basis.reshape(-1, kernel.shape[1], *[size] * axes)
    image = 0
    for tap in product(*map(range, kernel.shape[2:])):
        shifted = basis.roll([-t for t in tap], tuple(range(2, 2 + axes)))
        image = image + torch.einsum("oi,bi...->bo...", kernel[(..., *tap)], shifted)
    return image.flatten(1).T


def padded_matrix(kernel, size, padding):
    basis = torch.eye(kernel.shape[1] * size**2, dtype=kernel.dtype)
    image = functional.conv2d(basis.reshape(-1, kernel.shape[1], size, size), kernel, padding=padding)
    return image.flatten(1).T


def exact_spectral_norm(matrix):
    """Largest singular value in 50-digit arithmetic."""
    with mpmath.workdps(50):
        rows = mpmath.matrix([[mpmath.mpf(v) for v in row] for row in matrix.double().tolist()])
        return max(mpmath.svd_r(rows, compute_uv=False))


def schatten(matrix, steps):
    """The Schatten norm of order 2^(steps + 1), from singular values."""
    values = torch.linalg.svdvals(matrix)
    order = 2.0 ** (steps + 1)
    return (values.max() * (values / values.max()).pow(order).sum() ** (1 / order)).item()


def assert_gradient_matches_differences(function, *shape, seed=0):
    point = normal(*shape, seed=seed).requires_grad_()
    assert torch.autograd.gradcheck(function, point, atol=1e-7, rtol=1e-5)


# matrices


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 6), (6, 1), (1, 1), (30, 30)])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 9, 14])
def test_value_is_the_schatten_norm(shape, steps):
    weight = normal(*shape)
    assert gram_norm(weight, steps=steps).item() == pytest.approx(schatten(weight, steps), rel=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_values_fall_towards_the_norm_from_above(dtype):
    weight = normal(20, 33, dtype=dtype)
    values = [gram_norm(weight, steps=steps).item() for steps in range(16)]
    slack = 20 * torch.finfo(dtype).eps
    assert all(later <= earlier * (1 + slack) for earlier, later in pairwise(values))
    assert all(value >= sigma(weight) * (1 - slack) for value in values)
    assert values[-1] == pytest.approx(sigma(weight), rel=slack)


def test_repeated_top_value_halves_the_error():
    errors = [gram_norm(torch.eye(64, dtype=DOUBLE), steps=steps).item() - 1 for steps in range(11)]
    published = [7.0, 1.8, 0.68, 0.30, 0.14, 0.067, 0.033, 0.016, 0.0082, 0.0041, 0.0020]
    assert errors == pytest.approx(published, rel=0.03)
    assert [a / b for a, b in pairwise(errors[6:])] == pytest.approx([2] * 4, rel=0.02)


@pytest.mark.parametrize("steps", range(9))
def test_enclosure(steps):
    for weight in (normal(6, 9), normal(9, 6), torch.eye(7), normal(8, 2) @ normal(2, 8, seed=1)):
        lower, upper = gram_enclosure(weight, steps=steps)
        assert lower * (1 - 1e-14) <= sigma(weight) <= upper * (1 + 1e-14)
        assert upper == pytest.approx(lower * min(weight.shape) ** (2.0 ** -(steps + 1)))


@pytest.mark.parametrize("steps", range(9))
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (2, 3, 3), (1, 1)])
def test_gradient(steps, shape):
    assert_gradient_matches_differences(lambda w: gram_norm(w, steps=steps), *shape)


def test_gradient_of_complex_matrices():
    weight = torch.complex(normal(3, 4), normal(3, 4, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: gram_norm(w, steps=4), weight, atol=1e-7)
    assert gram_norm(weight, steps=30).item() == pytest.approx(
        torch.linalg.matrix_norm(weight.detach(), 2).item(), rel=1e-13
    )


def test_gradient_tends_to_the_outer_product_of_the_top_vectors():
    weight = normal(5, 8).requires_grad_()
    gram_norm(weight, steps=40).backward()
    left, _, right = torch.linalg.svd(weight.detach())
    assert torch.allclose(weight.grad, torch.outer(left[:, 0], right[0]), atol=1e-13)


def test_batches_hold_independent_matrices():
    batch = torch.stack([normal(4, 5), torch.zeros(4, 5, dtype=DOUBLE), 1e150 * normal(4, 5, seed=1)])
    batch.requires_grad_()
    values = gram_norm(batch, steps=5)
    values.sum().backward()
    for matrix, value, gradient in zip(batch.detach(), values, batch.grad, strict=True):
        single = matrix.clone().requires_grad_()
        gram_norm(single, steps=5).backward()
        assert value.item() == pytest.approx(schatten(matrix, 5) if matrix.any() else 0)
        assert torch.allclose(gradient, single.grad, rtol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 6, 25])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, DOUBLE])
def test_zero_matrices(steps, dtype):
    weight = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    value = gram_norm(weight, steps=steps)
    value.backward()
    assert value.dtype == dtype
    assert value == 0
    assert weight.grad.eq(0).all()


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_scales_leave_gradient_and_relative_value_alone(scale):
    weight = normal(5, 6).requires_grad_()
    value = gram_norm(weight * scale, steps=7)
    (gradient,) = torch.autograd.grad(value / scale, weight)
    reference = gram_norm(weight, steps=7)
    assert value.item() == pytest.approx(reference.item() * scale, rel=1e-13)
    assert torch.allclose(gradient, torch.autograd.grad(reference, weight)[0], rtol=1e-11)


def test_values_next_to_the_largest_float_do_not_overflow():
    weight = 1e308 * torch.eye(4, dtype=DOUBLE)
    assert gram_norm(weight, steps=30).item() == pytest.approx(1e308)
    assert gram_norm(weight, steps=0).item() == math.inf


def test_single_precision_at_its_extremes():
    for scale in (1e-44, 1e-30, 1e30):
        weight = torch.full((4, 9), scale)
        assert gram_norm(weight).item() == pytest.approx(6 * weight[0, 0].item(), rel=1e-5)


def test_autocast_does_not_lower_the_precision():
    weight = normal(30, 40, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = gram_norm(weight, steps=8)
        (gradient,) = torch.autograd.grad(value, weight)
        convolved = conv_gram_norm(weight.reshape(30, 10, 2, 2), 4)
    assert value.item() == pytest.approx(schatten(weight.double(), 8), rel=1e-6)
    assert torch.equal(gradient, torch.autograd.grad(gram_norm(weight, steps=8), weight)[0])
    assert torch.equal(convolved, conv_gram_norm(weight.reshape(30, 10, 2, 2), 4))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_not_hidden(bad):
    weight = torch.ones(1, 1, 3, 3)
    weight[0, 0, 1, 1] = bad
    assert gram_norm(weight[0, 0]).isnan()
    assert conv_gram_norm(weight, 4).isnan()
    assert toeplitz_gram_norm(weight).isnan()
    with pytest.raises(ValueError, match="NaN"):
        certified_gram_norm(weight[0, 0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: gram_norm(torch.ones(3)),
        lambda: gram_norm(torch.ones(3, 0)),
        lambda: gram_norm(torch.ones(3, 3, dtype=torch.int64)),
        lambda: gram_norm(torch.ones(3, 3), steps=-1),
        lambda: gram_enclosure(torch.ones(2, 3, 3), steps=1),
        lambda: gram_enclosure(torch.ones(3, 3, dtype=torch.int64), steps=1),
        lambda: conv_gram_enclosure(torch.ones(1, 1, 3, 3, dtype=torch.int64), 4, steps=1),
        lambda: certified_gram_norm(torch.ones(2, 3, 3)),
        lambda: certified_gram_norm(torch.ones(3, 3), steps=-1),
        lambda: certified_gram_norm(torch.ones(3, 3, dtype=torch.complex64)),
        lambda: conv_gram_norm(torch.ones(3, 3), 4),
        lambda: conv_gram_norm(torch.ones(3, 3, 3, 3), (4, 4, 4)),
        lambda: conv_gram_norm(torch.ones(3, 3, 3, 3), 0),
        lambda: conv_gram_norm(torch.ones(3, 0, 3, 3), 3),
        lambda: conv_gram_norm(torch.ones(3, 3, 3, 3), 3, steps=-1),
        lambda: toeplitz_gram_norm(torch.ones(3, 3, 3, 3), steps=0),
        lambda: spectral_rescaling(torch.ones(3, 3), steps=0),
        lambda: spectral_rescaling(torch.ones(3), steps=1),
        lambda: conv_spectral_rescaling(torch.ones(3, 3), steps=1),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError, match="must be"):
        call()


# certificates


@st.composite
def matrices(draw):
    """Small matrices of widely different scales, with dependent, repeated and zero rows."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    matrix = normal(rows, columns, seed=draw(st.integers(0, 10**6)))
    if draw(st.booleans()):
        matrix[-1] = matrix[0]
    if draw(st.booleans()):
        matrix[0] = 0
    scales = draw(st.lists(st.integers(-200, 200), min_size=rows, max_size=rows))
    if draw(st.booleans()):
        scales = [scales[0]] * rows
    return matrix * 10.0 ** torch.tensor(scales, dtype=DOUBLE).unsqueeze(1)


@settings(max_examples=80, deadline=None)
@given(matrices(), st.integers(0, 14))
def test_certified_encloses_the_truth(matrix, steps):
    bound, exact = certified_gram_norm(matrix, steps=steps), exact_spectral_norm(matrix)
    spread = mpmath.mpf(min(matrix.shape)) ** (2.0 ** -(steps + 1))
    assert exact <= bound <= exact * spread * (1 + mpmath.mpf(1e-13))


@pytest.mark.parametrize("size", [1, 4, 12])
def test_certified_with_repeated_singular_values(size):
    orthogonal, _ = torch.linalg.qr(normal(size, size))
    for matrix in (3 * orthogonal, orthogonal[:, : size // 2 + 1]):
        assert exact_spectral_norm(matrix) <= certified_gram_norm(matrix, steps=20)
        assert certified_gram_norm(matrix, steps=30) <= sigma(matrix) * (1 + 1e-8)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1e200, 1e308])
def test_certified_at_extreme_scales(scale):
    matrix = torch.diag(torch.tensor([scale, scale / 2, 0], dtype=DOUBLE))
    assert scale <= certified_gram_norm(matrix) <= scale * (1 + 1e-12) + 1e-323
    mixed = torch.tensor([[scale, 1.0], [1.0, -scale]], dtype=DOUBLE)
    assert exact_spectral_norm(mixed) <= certified_gram_norm(mixed)


def test_certified_beyond_the_largest_float_is_infinite():
    assert certified_gram_norm(torch.full((3, 3), 1.7e308, dtype=DOUBLE)) == math.inf


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.1, 1.3, 1.7, 1.9])
def test_certified_counts_the_rounding_of_long_sums(value):
    with mpmath.workdps(50):
        exact = mpmath.sqrt(200_000) * mpmath.mpf(value)
    assert exact <= certified_gram_norm(torch.full((200_000, 1), value, dtype=DOUBLE), steps=1)


def test_certified_is_close_at_the_sizes_of_layers():
    for shape in ((150, 100), (10, 2000)):
        weight = normal(*shape, dtype=torch.float32)
        bound = certified_gram_norm(weight, steps=18)
        assert sigma(weight) * (1 - 1e-14) <= bound <= sigma(weight) * (1 + 1e-11)
    assert certified_gram_norm(torch.zeros(3, 5)) == 0


# circular padding


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 3, 3, 3), 5),
        ((3, 2, 3, 3), 6),
        ((2, 2, 5, 5), 3),
        ((2, 2, 3, 1), 4),
        ((4, 1, 1, 1), 3),
        ((2, 3, 3), 7),
        ((3, 2, 4), 2),
        ((2, 2, 2, 3, 2), 3),
    ],
)
def test_conv_against_the_dense_matrix(shape, size):
    kernel = normal(*shape)
    exact = sigma(circular_matrix(kernel, size))
    assert conv_gram_norm(kernel, size, steps=40).item() == pytest.approx(exact, rel=1e-12)
    values = [conv_gram_norm(kernel, size, steps=steps).item() for steps in (0, 1, 2, 4, 8, 12)]
    assert all(exact * (1 - 1e-13) <= value for value in values)
    assert all(b <= a * (1 + 1e-13) for a, b in pairwise(values))
    for steps in (0, 1, 3, 6):
        lower, upper = conv_gram_enclosure(kernel, size, steps=steps)
        assert lower * (1 - 1e-13) <= exact <= upper * (1 + 1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_no_frequency_is_dropped_too_early(seed):
    kernel = normal(6, 7, 3, 3, seed=seed)
    symbols = torch.fft.rfft2(kernel, s=(8, 8)).movedim((2, 3), (0, 1)).flatten(0, 1)
    for steps in range(7):
        exact = max(schatten(symbol, steps) for symbol in symbols)
        assert conv_gram_norm(kernel, 8, steps=steps).item() == pytest.approx(exact, rel=1e-12)


def test_conv_of_different_sizes_along_the_axes():
    kernel = normal(2, 2, 3, 5)
    stacked = torch.fft.fft2(kernel, s=(7, 6)).movedim((2, 3), (0, 1))
    exact = torch.linalg.svdvals(stacked).max().item()
    assert conv_gram_norm(kernel, (7, 6), steps=40).item() == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("steps", [0, 1, 6, 10])
def test_conv_with_zero_symbols(dtype, steps):
    for kernel, size, exact in (
        (LAPLACIAN, 8, 8),
        (LAPLACIAN, 2, 8),
        (torch.ones(1, 1, 5, 5), 2, 25),
        (torch.ones(1, 1, 3, 3), 3, 9),
        (torch.tensor([[[1.0, -1.0]]]), 4, 2),
        (torch.tensor([[[1.0, -1.0]]]), 1, 0),
        (torch.zeros(2, 3, 3, 3), 4, 0),
    ):
        kernel = kernel.detach().clone().to(dtype).requires_grad_()
        value = conv_gram_norm(kernel, size, steps=steps)
        value.backward()
        assert value.item() == pytest.approx(exact, rel=1e-6)
        assert kernel.grad.isfinite().all()


@pytest.mark.parametrize("steps", range(9))
@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (3, 2, 3, 1), (2, 2, 5), (1, 2, 2, 1, 2)])
def test_conv_gradient(steps, shape):
    assert_gradient_matches_differences(lambda k: conv_gram_norm(k, 4, steps=steps), *shape)


def test_conv_in_single_precision_and_many_frequencies():
    kernel = normal(16, 3, 5, 5, dtype=torch.float32)
    symbols = torch.fft.rfft2(kernel.double(), s=(40, 40)).movedim((2, 3), (0, 1))
    exact = torch.linalg.svdvals(symbols).max().item()
    value = conv_gram_norm(kernel, 40, steps=12)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact, rel=1e-5)
    half = conv_gram_norm(kernel.half(), 40, steps=12)
    assert half.dtype == torch.float16
    assert half.item() == pytest.approx(exact, rel=1e-2)


def test_values_of_a_published_comparison():
    kernel = normal(64, 64, 3, 3, dtype=torch.float32) / 24
    circular = [conv_gram_norm(kernel, 32, steps=steps).item() for steps in (3, 5, 7)]
    assert circular == pytest.approx([2.1019, 2.02972, 2.029383], rel=5e-5)
    padded = [toeplitz_gram_norm(kernel, steps=steps).item() for steps in (1, 2, 3)]
    assert padded == pytest.approx([5.82, 3.36, 2.54], abs=6e-3)


def test_conv_takes_its_frequencies_in_parts(monkeypatch):
    kernel = normal(3, 2, 3, 3)
    whole = conv_gram_norm(kernel, 9, steps=5)
    monkeypatch.setattr("lipbounds.operator_norm.gram._CHUNK", 40)
    assert conv_gram_norm(kernel, 9, steps=5).item() == pytest.approx(whole.item(), rel=1e-14)


def test_circular_is_no_bound_for_zero_padding():
    kernel = torch.outer(*[torch.tensor([1.0, -1.0, 1.0], dtype=DOUBLE)] * 2)[None, None]
    for size, circular, padded in ((3, 4.0, 5.828), (9, 8.291, 8.422)):
        assert conv_gram_norm(kernel, size, steps=20).item() == pytest.approx(circular, abs=1e-3)
        assert sigma(padded_matrix(kernel, size, 1)) == pytest.approx(padded, abs=1e-3)
        assert toeplitz_gram_norm(kernel).item() >= padded


# zero padding


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (3, 2, 3, 3), (2, 2, 5, 1), (2, 1, 2, 4)])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_toeplitz_bounds_zero_padding(shape, steps):
    for seed in range(3):
        kernel = normal(*shape, seed=seed)
        bound = toeplitz_gram_norm(kernel, steps=steps).item()
        for size, padding in ((5, 0), (4, 2), (7, 1)):
            assert bound >= sigma(padded_matrix(kernel, size, padding)) * (1 - 1e-13)
        assert bound >= conv_gram_enclosure(kernel, 16, steps=20)[0] * (1 - 1e-13)


@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (3, 2, 1, 3), (2, 2, 3)])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_toeplitz_against_repeated_autocorrelation(shape, steps):
    kernel = normal(*shape)
    if shape[0] > shape[1]:
        kernel = kernel.transpose(0, 1)
    convolve = functional.conv2d if kernel.dim() == 4 else functional.conv1d
    power = convolve(kernel, kernel, padding=[k - 1 for k in kernel.shape[2:]])
    for _ in range(steps - 1):
        power = convolve(power, power, padding=[k - 1 for k in power.shape[2:]])
    direct = power.abs().flatten(2).sum((1, 2)).max() ** 2.0**-steps
    assert toeplitz_gram_norm(kernel, steps=steps).item() == pytest.approx(direct.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("shape", [(1, 1, 5, 1), (1, 1, 1, 5), (1, 1, 5)])
def test_toeplitz_of_long_thin_kernels(shape, dtype):
    values = [toeplitz_gram_norm(torch.ones(shape, dtype=dtype), steps=t).item() for t in range(1, 7)]
    assert values == pytest.approx([5] * 6, rel=1e-5)


def test_toeplitz_converges_and_pointwise_kernels_are_matrices():
    kernel = normal(4, 4, 3, 3)
    supremum = conv_gram_norm(kernel, 128, steps=20).item()
    errors = [toeplitz_gram_norm(kernel, steps=t).item() / supremum - 1 for t in range(1, 6)]
    assert all(0 < b < 0.6 * a for a, b in pairwise(errors))
    pointwise = normal(5, 7, 1, 1)
    assert toeplitz_gram_norm(pointwise, steps=12).item() == pytest.approx(
        sigma(pointwise[:, :, 0, 0]), rel=1e-3
    )


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_toeplitz_and_rescaling_at_extreme_scales(scale):
    kernel = normal(2, 2, 3, 3)
    value = toeplitz_gram_norm(kernel * scale, steps=4).item()
    assert value == pytest.approx(toeplitz_gram_norm(kernel, steps=4).item() * scale, rel=1e-14)
    factors = conv_spectral_rescaling(kernel * scale, steps=3)
    assert torch.allclose(factors / scale, conv_spectral_rescaling(kernel, steps=3), rtol=1e-14)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_toeplitz_and_rescaling_gradients(steps):
    assert_gradient_matches_differences(lambda k: toeplitz_gram_norm(k, steps=steps), 2, 3, 2, 2)
    assert_gradient_matches_differences(lambda k: conv_spectral_rescaling(k, steps=steps), 3, 2, 2, 2)
    assert_gradient_matches_differences(lambda w: spectral_rescaling(w, steps=steps), 3, 4)


def test_toeplitz_of_a_zero_kernel():
    kernel = torch.zeros(2, 3, 3, 3, requires_grad=True)
    value = toeplitz_gram_norm(kernel)
    value.backward()
    assert value == 0
    assert kernel.grad.eq(0).all()


# rescaling


@pytest.mark.parametrize("steps", range(1, 13))
@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 4), (20, 20)])
def test_rescaled_matrices_are_contractions(steps, shape):
    weight = normal(*shape) * 10.0 ** torch.linspace(-3, 3, shape[0], dtype=DOUBLE)[:, None]
    for matrix in (weight, normal(*shape), 1e200 * normal(*shape)):
        rescaled = matrix / spectral_rescaling(matrix, steps=steps)[:, None]
        assert sigma(rescaled) <= 1 + 1e-13
    assert steps < 8 or sigma(rescaled) > 0.98


def test_rescaling_of_one_step_is_the_almost_orthogonal_layer():
    weight = normal(4, 6)
    expected = (weight @ weight.T).abs().sum(1).sqrt()
    assert torch.allclose(spectral_rescaling(weight, steps=1), expected, rtol=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 3, 1, 4)])
def test_rescaled_convolutions_are_contractions(steps, shape):
    kernel = normal(*shape)
    kernel[0] *= 1e-3
    rescaled = kernel / conv_spectral_rescaling(kernel, steps=steps)[:, None, None, None]
    for matrix in (circular_matrix(rescaled, 6), padded_matrix(rescaled, 6, 1)):
        assert 0.4 < sigma(matrix) <= 1 + 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_rescaling_of_rows_that_vanish(dtype, steps):
    weight = normal(4, 5, dtype=dtype)
    weight[1] = 0
    weight[2] *= torch.finfo(dtype).tiny
    weight.requires_grad_()
    factors = spectral_rescaling(weight, steps=steps)
    rescaled = weight / factors[:, None]
    rescaled.sum().backward()
    assert factors.gt(0).all()
    assert rescaled[1].eq(0).all()
    assert sigma(rescaled.detach()) <= 1 + 10 * torch.finfo(dtype).eps
    assert weight.grad.isfinite().all()
    kernel = weight.detach().reshape(4, 5, 1, 1).repeat(1, 1, 2, 2)
    factors = conv_spectral_rescaling(kernel, steps=min(steps, 4))
    assert (kernel / factors[:, None, None, None]).isfinite().all()
    assert spectral_rescaling(torch.zeros(2, 2), steps=steps).gt(0).all()
