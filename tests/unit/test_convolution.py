import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lipbounds.operator_norm import affine_norm, conv2d_norm, conv_norm

pytestmark = pytest.mark.usefixtures("single_threaded")

LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def dense_matrix(function, shape):
    """Matrix of a linear function of inputs of ``shape``, one column per basis vector."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        return (function(basis) - function(torch.zeros_like(basis[:1]))).flatten(1).T


def options(layer):
    return {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "padding_mode": layer.padding_mode,
    }


@st.composite
def layers(draw):
    """A convolution of any option, with an input size that it accepts."""
    axes = draw(st.integers(1, 3))
    sizes = {1: 12, 2: 7, 3: 4}[axes]
    kernel = [draw(st.integers(1, 3 if axes == 3 else 5)) for _ in range(axes)]
    dilation = [draw(st.integers(1, 2)) for _ in range(axes)]
    stride = [draw(st.integers(1, 3)) for _ in range(axes)]
    groups = draw(st.sampled_from([1, 1, 2]))
    mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]))
    size = [
        draw(st.integers(max(2, d * (k - 1) + 1 - 2), sizes + 2))
        for k, d in zip(kernel, dilation, strict=True)
    ]
    limit = min(size) - 1 if mode == "reflect" else min(size)
    padding = [draw(st.integers(0, min(limit, 3))) for _ in range(axes)]
    if mode == "zeros" and set(stride) == {1} and all(k % 2 for k in kernel) and draw(st.booleans()):
        padding = "same"
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]
    torch.manual_seed(draw(st.integers(0, 10**6)))
    layer = LAYERS[axes](
        *channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups,
        padding_mode=mode, bias=False, dtype=torch.float64,
    )  # fmt: skip
    if draw(st.booleans()):
        layer.weight.data.sign_()
    return layer, tuple(size)


@settings(max_examples=200, deadline=None)
@given(layers(), st.sampled_from([2, 2, 2, 1, math.inf]), st.sampled_from([None, 8]))
def test_bounds_the_dense_matrix(case, ord, grid):
    layer, size = case
    try:
        matrix = dense_matrix(layer, (layer.in_channels, *size))
    except RuntimeError:
        with pytest.raises(ValueError, match="smaller than the kernel"):
            conv_norm(layer.weight, size, **options(layer))
        return
    exact = torch.linalg.matrix_norm(matrix, ord).item()
    bound = conv_norm(layer.weight, size, ord=ord, grid=grid, **options(layer))
    assert bound.value >= exact * (1 - 1e-14)
    assert bound.certified
    if ord == 2:
        lower = conv_norm(layer.weight, size, method="lanczos", **options(layer))
        assert lower.kind == "lower"
        assert lower.value <= exact * (1 + 1e-12)
        assert lower.value == pytest.approx(exact, rel=2e-2, abs=1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [(3, 1, 8), (3, 2, 8), (5, 2, 8), (7, 2, 8), (3, 3, 9), (1, 2, 8), (11, 4, 12)],
)  # fmt: skip
def test_circular_is_exact(kernel, stride, size):
    weight = torch.randn(3, 2, kernel, kernel, dtype=torch.float64)
    layer = nn.Conv2d(2, 3, kernel, stride, 0, bias=False, dtype=torch.float64)
    layer.weight.data = weight

    def circular(x):
        tiled = x.repeat(1, 1, 4, 4)[:, :, : size + kernel - 1, : size + kernel - 1]
        return layer(tiled)

    exact = torch.linalg.matrix_norm(dense_matrix(circular, (2, size, size)), 2).item()
    before = (kernel - 1) // 2
    padding = ((before, kernel - 1 - before),) * 2
    bound = conv2d_norm(weight, size, stride=stride, padding=padding, padding_mode="circular")
    assert bound.value == pytest.approx(exact, rel=1e-10)


def test_circular_padding_with_a_stride_that_does_not_divide_the_size():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, 2, 1, padding_mode="circular", bias=False, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(dense_matrix(layer, (2, 9, 8)), 2).item()
    whole = conv2d_norm(layer.weight, (9, 8), padding=1, padding_mode="circular").value
    assert exact <= conv2d_norm(layer.weight, (9, 8), **options(layer)).value <= whole


def test_circular_norm_of_the_same_size_is_no_bound_for_zero_padding():
    q = torch.tensor([1.0, -1, 1], dtype=torch.float64)
    kernel = torch.outer(q, q).view(1, 1, 3, 3)
    assert conv2d_norm(kernel, 3, padding=1, padding_mode="circular").value == pytest.approx(4)
    assert conv2d_norm(kernel, 3, padding=1, method="lanczos").value == pytest.approx(3 + 2 * 2**0.5)
    assert conv2d_norm(kernel, 3, padding=1).value >= 5.828427


def test_kernels_larger_than_the_input_are_wrapped():
    ones = torch.ones(1, 1, 5, 5)
    assert conv2d_norm(ones, 2, padding=2, padding_mode="circular").value == pytest.approx(25)
    assert conv2d_norm(torch.ones(1, 1, 5, 1), None).value >= 5
    assert conv2d_norm(torch.ones(1, 1, 1, 5), 64, padding=(0, 2)).value == pytest.approx(5, rel=0.01)


def test_special_kernels():
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    circular = {"padding": 1, "padding_mode": "circular"}
    assert conv2d_norm(laplacian, 8, **circular).value == pytest.approx(8, rel=1e-12)
    assert conv2d_norm(torch.zeros(2, 2, 3, 3), 8, **circular).value == 0
    assert conv2d_norm(torch.zeros(2, 2, 3, 3), 8, padding=1, method="lanczos").value == 0
    average = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    assert conv2d_norm(average, 6, padding=1, stride=2).value >= 0.4719


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_extreme_scales(scale):
    kernel = torch.randn(3, 3, 3, 3, dtype=torch.float64)
    one = conv2d_norm(kernel, 8, padding=1).value
    assert conv2d_norm(kernel * scale, 8, padding=1).value == pytest.approx(one * scale, rel=1e-12)


def test_coarser_grids_stay_above_and_any_size_is_above_all():
    kernel = torch.randn(4, 3, 3, 3)
    exact = [conv2d_norm(kernel, n, padding=1).value for n in (8, 32, 64)]
    coarse = [conv2d_norm(kernel, 64, padding=1, grid=g).value for g in (8, 16, 32)]
    assert min(coarse) >= exact[-1]
    assert coarse[2] <= exact[-1] * 1.02
    assert conv2d_norm(kernel, None).value >= max(exact)
    coarsest = [conv2d_norm(kernel, 64, padding=1, grid=g).value for g in (1, 2, 4)]
    assert coarsest[0] == coarsest[1] == coarsest[2]


def test_float32_rounding_of_the_symbol_is_covered():
    """Repeated top values at all frequencies: an orthogonal one-tap kernel."""
    orthogonal, _ = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64))
    kernel = torch.zeros(16, 16, 3, 3, dtype=torch.float64)
    kernel[:, :, 1, 1] = orthogonal
    exact = torch.linalg.matrix_norm(orthogonal, 2).item()
    assert exact <= conv2d_norm(kernel, 16, padding=1).value <= 1 + 1e-9


def test_gap_is_small_and_stated_rounding_is_tiny():
    torch.manual_seed(0)
    weight = nn.Conv2d(16, 16, 3).weight.detach().double()
    circular = conv2d_norm(weight, 12, padding=1, padding_mode="circular").value
    symbol = torch.fft.fft2(weight, s=(12, 12)).permute(2, 3, 0, 1)
    exact = torch.linalg.matrix_norm(symbol, 2).max().item()
    assert exact <= circular <= exact * (1 + 1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(0, 3, 3, 3)}, "non-empty"),
        ({"weight": torch.full((2, 2, 3, 3), math.nan)}, "NaN"),
        ({"weight": torch.zeros(2, 2, 3, 3, dtype=torch.int64)}, "floating"),
        ({"weight": torch.zeros(2, 2, 3)}, "height, width"),
        ({"groups": 3}, "groups must divide"),
        ({"input_size": 1}, "smaller than the kernel"),
        ({"padding_mode": "mirror"}, "known: zeros, circular"),
        ({"padding": "full"}, "same, valid"),
        ({"stride": 0}, "positive"),
        ({"method": "magic"}, "certified or lanczos"),
        ({"ord": 3}, "ord must be 1, 2 or inf"),
        ({"input_size": None, "padding_mode": "circular"}, "zeros"),
        ({"method": "lanczos", "ord": 1}, "lanczos needs"),
    ],
)
def test_mistakes_are_explained(change, message):
    arguments = {"weight": torch.ones(2, 2, 3, 3), "input_size": 8} | change
    with pytest.raises(ValueError, match=message):
        conv2d_norm(arguments.pop("weight"), arguments.pop("input_size"), **arguments)


@pytest.mark.parametrize("method", ["power", "lanczos"])
def test_affine_norm_from_code_alone(method):
    torch.manual_seed(1)
    layer = nn.Conv2d(3, 5, 3, padding=1, stride=2, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(dense_matrix(layer, (3, 8, 8)), 2).item()
    values = [affine_norm(layer, (1, 3, 8, 8), method=method, steps=n).value for n in (3, 10, 60)]
    assert values == sorted(values)
    assert values[-1] <= exact * (1 + 1e-12)
    assert values[-1] == pytest.approx(exact, rel=1e-2 if method == "power" else 1e-9)


def test_affine_norm_refuses_what_is_not_affine():
    with pytest.raises(ValueError, match="not affine"):
        affine_norm(torch.relu, (5,))
    with pytest.raises(ValueError, match="power or lanczos"):
        affine_norm(lambda x: x, (5,), method="qr")
    assert affine_norm(lambda x: 0 * x + 1, (5,)).value == 0


def test_norms_leave_random_state_and_threads_alone():
    weight, state, threads = torch.randn(8, 8, 3, 3), torch.get_rng_state(), torch.get_num_threads()
    conv2d_norm(weight, 16, padding=1)
    conv2d_norm(weight, 16, padding=1, method="lanczos")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
