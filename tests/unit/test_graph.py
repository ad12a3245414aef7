"""AutoLip on computation graphs, against Jacobians, dense matrices and closed forms."""

import itertools
import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from lipbounds import LayerConstant, OperatorNorm, register_rule
from lipbounds.bounds import UnknownLayerError, lower_bound, upper_bound
from lipbounds.graph import Node, export, plain
from lipbounds.jacobian import jacobian_norms
from lipbounds.operators import MODULES, OPERATORS, Analysis

pytestmark = pytest.mark.usefixtures("single_threaded")

F64 = {"dtype": torch.float64}

ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.LeakyReLU(-0.5), nn.LeakyReLU(3.0), nn.PReLU(), nn.RReLU(),
    nn.ELU(), nn.ELU(2.5), nn.ELU(-1.0), nn.CELU(), nn.CELU(0.3), nn.SELU(), nn.GELU(), nn.GELU("tanh"),
    nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Tanh(), nn.Hardtanh(),
    nn.Tanhshrink(), nn.Softplus(), nn.Softplus(-2.0), nn.Softplus(3.0, 30.0), nn.Softsign(),
    nn.Softshrink(), nn.Hardshrink(), nn.LogSigmoid(), nn.Threshold(0.5, 0.5), nn.Threshold(0.5, 2.0),
    nn.CELU(-1.0), nn.Softplus(10.0, 0.4),
]  # fmt: skip
"""With options of odd sign; the last ones jump or grow exponentially."""


class Function(nn.Module):
    """A module that computes ``function(modules, x)``."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def bound(function, shape, **modules):
    return upper_bound(Function(function, **modules).double().eval(), shape)


def add_halves(module, x):
    first, second = x.chunk(2, dim=1)
    return first + second


def slopes_of(module):
    """What the rule of an activation says, on the whole line."""
    graph, _ = export(module.double().eval(), (3,))
    analysis = Analysis(graph)
    analysis.run()
    return analysis.behaviours[graph.outputs[0]].slopes


def norm(weight):
    return torch.linalg.matrix_norm(weight.detach().double(), 2).item()


def dense(layer, shape):
    """Matrix of the linear part of a layer."""
    basis = torch.eye(math.prod(shape), **F64).view(-1, *shape)
    with torch.no_grad():
        return (layer(basis) - layer(torch.zeros(1, *shape, **F64))).flatten(1).T


# The graph


@pytest.mark.parametrize("w", [0.3, -2.0])
def test_worked_example_of_virmaux_and_scaman(w):
    """f(x) = ln(1 + e^(x/2)) + |x/2 - w sin x| has AutoLip bound 1 + |w|."""
    model = Function(lambda m, x: functional.softplus(x / 2) + torch.abs(x / 2 - w * torch.sin(x)))
    assert upper_bound(model, (1,)).value == pytest.approx(1 + abs(w), rel=1e-12)


def test_equal_branches_cancel():
    assert bound(lambda m, x: x - x, (3,)).value == 0
    assert bound(lambda m, x: torch.relu(x) - torch.relu(x), (3,)).value == 0
    same = bound(lambda m, x: m.a(x) - m.a(x), (4,), a=nn.Linear(4, 3))
    assert same.value == 0
    twice = bound(lambda m, x: m.a(x) + m.b(x), (4,), a=nn.Linear(4, 3), b=nn.Linear(4, 3))
    assert twice.certified


def written_into_a_transposed_view(m, x):
    y = 1.0 * x
    y.movedim(-1, 1).zero_()
    return y.square().view(y.size(0), -1).relu()


def test_views_do_not_depend_on_how_values_lie_in_memory():
    assert bound(written_into_a_transposed_view, (4, 4)).value == 0
    for flat in (nn.Flatten(), Function(lambda m, x: x.flatten(1))):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), flat, nn.Linear(144, 2)).eval()
        expected = upper_bound(model, (3, 8, 8)).value
        found = upper_bound(model.to(memory_format=torch.channels_last), (3, 8, 8)).value
        assert found == pytest.approx(expected)


def test_parallel_linear_branches_merge():
    torch.manual_seed(0)
    a, b = nn.Linear(5, 4).double(), nn.Linear(5, 4).double()
    merged = bound(lambda m, x: m.a(x) + m.b(x), (5,), a=a, b=b).value
    assert merged == pytest.approx(norm(a.weight + b.weight), rel=1e-10)
    square = nn.Linear(5, 5).double()
    residual = bound(lambda m, x: x + m.a(x), (5,), a=square).value
    assert residual == pytest.approx(norm(torch.eye(5) + square.weight), rel=1e-10)


@pytest.mark.parametrize(("kernel", "padding", "dilation"), [(3, 1, 1), (1, 0, 1), (5, 2, 1), (3, 2, 2)])
def test_convolutional_branches_merge_into_one_kernel(kernel, padding, dilation):
    torch.manual_seed(0)
    a = nn.Conv2d(3, 3, kernel, padding=padding, dilation=dilation, groups=3).double()
    b = nn.Conv2d(3, 3, 3, padding=1).double()

    def run(m, x):
        return x + m.a(x) - 0.5 * m.b(x)

    model = Function(run, a=a, b=b)
    exact = norm(dense(model, (3, 12, 12)))
    found = upper_bound(model, (3, 12, 12))
    assert exact <= found.value <= 1.1 * exact
    assert len(found.layers) == 1


def test_residual_blocks_add_the_skip():
    torch.manual_seed(0)
    a, b = nn.Linear(6, 8).double(), nn.Linear(8, 6).double()
    found = bound(lambda m, x: x + m.b(torch.relu(m.a(x))), (6,), a=a, b=b)
    assert found.value == pytest.approx(1 + norm(a.weight) * norm(b.weight), rel=1e-9)


def test_joins_parts_and_reductions():
    torch.manual_seed(0)
    a, b = nn.Linear(6, 3).double(), nn.Linear(6, 5).double()
    joined = bound(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), (6,), a=a, b=b).value
    assert joined == pytest.approx(math.hypot(norm(a.weight), norm(b.weight)), rel=1e-9)
    halves = bound(add_halves, (6,))
    assert math.sqrt(2) <= halves.value <= 2
    assert bound(lambda m, x: x.mean((2, 3)), (3, 4, 5)).value == pytest.approx(20**-0.5, rel=1e-12)
    assert bound(lambda m, x: x.sum(1), (9,)).value == pytest.approx(3, rel=1e-12)
    assert bound(lambda m, x: x.amax(1), (9,)).value == 1


def test_shared_modules_and_calls_of_functions():
    torch.manual_seed(0)
    a = nn.Linear(4, 4).double()
    once = norm(a.weight)
    found = bound(lambda m, x: m.a(functional.relu(m.a(torch.tanh(x.view(x.size(0), -1))))), (2, 2), a=a)
    assert found.value == pytest.approx(once**2, rel=1e-9)
    scaled = bound(lambda m, x: 3 * functional.leaky_relu(x, 2.0) / 4 + 1, (4,))
    assert scaled.value == pytest.approx(1.5, rel=1e-12)


def test_constant_nodes_count_nothing():
    model = Function(lambda m, x: x + m.a(torch.ones(1, 3, **F64)), a=nn.Linear(3, 3)).double()
    assert upper_bound(model, (3,)).value == 1
    assert (
        upper_bound(Function(lambda m, x: m.a.weight.sum() + 0 * x, a=nn.Linear(3, 3)), (3,)).value == 0
    )


def test_constant_tensors_scale_and_multiply():
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), **F64)
    model = Function(lambda m, x: (x @ m.matrix) * m.gain)
    model.register_buffer("matrix", weight.T)
    model.register_buffer("gain", torch.tensor([1.0, -2.0, 0.5], **F64))
    found = upper_bound(model, (4,)).value
    assert norm(torch.diag(model.gain) @ weight) <= found <= 2 * norm(weight) * (1 + 1e-9)


def test_batch_norm_folds_into_its_neighbour():
    torch.manual_seed(0)
    convolution, batch = nn.Conv2d(3, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6)
    batch.running_var.uniform_(0.1, 3)
    batch.weight.data.normal_()
    model = nn.Sequential(convolution, batch).double().eval()
    exact = norm(dense(model, (3, 9, 9)))
    found = upper_bound(model, (3, 9, 9))
    assert exact <= found.value <= 1.1 * exact
    assert found.layers[0].name == "0 + 1"
    before = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, groups=3)).double().eval()
    before[0].running_var.uniform_(0.1, 3)
    exact = norm(dense(before, (3, 9, 9)))
    assert exact <= upper_bound(before, (3, 9, 9)).value <= 1.1 * exact
    linear = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double().eval()
    linear[1].running_var.uniform_(0.1, 3)
    assert upper_bound(linear, (4,)).value == pytest.approx(norm(dense(linear, (4,))), rel=1e-9)


@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_orders_of_the_norm_on_a_graph(order):
    torch.manual_seed(0)

    def run(m, x):
        y = torch.relu(m.a(x))
        return m.b(torch.cat([y, x], 1)).flatten(1)

    model = Function(run, a=nn.Conv2d(2, 3, 3, padding=1), b=nn.Conv2d(5, 2, 3, stride=2)).double()
    x = torch.randn(20, 2, 6, 6, **F64)
    upper = upper_bound(model, (2, 6, 6), ord=order)
    assert lower_bound(model, x, ord=order).max <= upper.value


def test_torchvision_resnet():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    blocks = torchvision.models.resnet.BasicBlock
    model = torchvision.models.ResNet(blocks, [1, 1, 1, 1], num_classes=10).eval()
    x = torch.randn(2, 3, 32, 32)
    upper = upper_bound(model, (3, 32, 32), grid=4)
    assert upper.certified
    assert lower_bound(model, x).max <= upper.value < 1e12
    assert {"maxpool", "avgpool"} <= {layer.name for layer in upper.layers}
    assert next(layer.norm.value for layer in upper.layers if layer.name == "maxpool") == 2


class ZeroPaddedSkip(nn.Module):
    """Every second pixel, with zero channels on both sides (shortcut A of He et al., 2016)."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        half = self.channels // 4
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half), "constant", 0)


class CifarBlock(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential() if stride == 1 else ZeroPaddedSkip(channels)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return functional.relu(y)


def cifar_resnet20():
    blocks = [
        CifarBlock(inputs, channels, stride)
        for channels, first in ((16, 16), (32, 16), (64, 32))
        for inputs, stride in ((first, 1 if channels == 16 else 2), (channels, 1), (channels, 1))
    ]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model.eval()


def test_cifar_resnet20_counts_every_residual_stage():
    """The product for this net, with the pool counted 1, is about 2.2e10 for the statistics below."""
    torch.manual_seed(0)
    model = cifar_resnet20()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(0.9 if name == "1" else 0.81)
    found = upper_bound(model, (3, 32, 32))
    assert 1.5e10 < found.value * 8 < 3e10  # the norm of averaging 8 x 8 pixels is 1/8
    assert lower_bound(model, torch.randn(4, 3, 32, 32)).max <= found.value


# Rules


def test_slopes_of_smooth_activations_hold_to_the_last_digit():
    mpmath.mp.dps = 30
    functions = {
        nn.GELU(): lambda x: x * mpmath.ncdf(x),
        nn.GELU("tanh"): lambda x: (
            x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
        ),
        nn.SiLU(): lambda x: x / (1 + mpmath.exp(-x)),
        nn.Mish(): lambda x: x * mpmath.tanh(mpmath.log(1 + mpmath.exp(x))),
    }
    for module, function in functions.items():
        slopes = slopes_of(module)
        grid = [mpmath.mpf(i) / 20 for i in range(-80, 81)]
        for sign, claimed in ((1, slopes.high), (-1, -slopes.low)):
            start = max(grid, key=lambda x, f=function, s=sign: s * mpmath.diff(f, x))
            where = mpmath.findroot(lambda x, f=function: mpmath.diff(f, x, 2), start)
            extreme = sign * mpmath.diff(function, where)
            assert extreme <= claimed <= extreme + mpmath.mpf(1e-9)


@pytest.mark.parametrize("module", ACTIVATIONS, ids=str)
def test_activations_stay_within_their_slopes(module):
    module = module.double().eval()
    slopes = slopes_of(module)
    x = torch.linspace(-12, 12, 100_001, **F64)
    steps = module(x).diff() / x.diff()
    if slopes.high < math.inf:
        assert slopes.low - 1e-7 <= steps.min()
        assert steps.max() <= slopes.high + 1e-7
        tight = max(steps.max().item() - slopes.low, slopes.high - steps.min().item())
        assert tight == pytest.approx(slopes.high - slopes.low, abs=0.3)
    else:
        assert steps.abs().max() > 100
    model = nn.Sequential(nn.Linear(3, 3), module.float())
    assert upper_bound(model, (3,)).layers[1].norm.value == slopes.largest


LINEAR = [
    (nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 9)),
    (nn.Conv3d(1, 2, 2), (1, 4, 3, 4)),
    (nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding="same"), (4, 6, 6)),
    (nn.Conv2d(2, 3, (3, 1), padding=(1, 0), padding_mode="reflect"), (2, 6, 5)),
    (nn.ConvTranspose1d(3, 2, 4, stride=3, padding=1, output_padding=1), (3, 6)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 5, 5)),
    (nn.ConvTranspose3d(2, 1, 2, stride=2), (2, 2, 3, 2)),
    (nn.AvgPool1d(3, 2, 1), (2, 9)),
    (nn.AvgPool2d(2), (2, 6, 6)),
    (nn.AvgPool2d(3), (1, 6, 6)),
    (nn.AvgPool2d(3, 2, 1), (1, 6, 6)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (1, 6, 5)),
    (nn.AvgPool2d(2, divisor_override=3), (1, 4, 4)),
    (nn.AvgPool3d(2), (1, 4, 4, 2)),
    (nn.AdaptiveAvgPool2d((3, 1)), (2, 7, 5)),
    (nn.AdaptiveAvgPool1d(4), (2, 6)),
    (nn.ZeroPad2d(2), (1, 3, 3)),
    (nn.ConstantPad1d(1, 5.0), (1, 3)),
    (nn.ReplicationPad2d(2), (1, 6, 6)),
    (nn.ReflectionPad2d((2, 1, 0, 2)), (1, 6, 6)),
    (nn.CircularPad2d(1), (1, 4, 4)),
    (nn.Upsample(scale_factor=2), (1, 3, 3)),
    (nn.Upsample(size=(5, 7), mode="bilinear"), (1, 6, 4)),
    (nn.Upsample(scale_factor=2, mode="linear", align_corners=True), (2, 5)),
    (nn.UpsamplingBilinear2d(scale_factor=2), (1, 6, 6)),
    (nn.PixelShuffle(2), (4, 3, 3)),
    (nn.Flatten(), (2, 3)),
    (nn.BatchNorm2d(3), (3, 2, 2)),
    (nn.Linear(4, 3), (5, 4)),
]


@pytest.mark.parametrize(
    ("layer", "shape"), LINEAR, ids=lambda v: str(v) if isinstance(v, nn.Module) else ""
)
@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_linear_layers_against_their_dense_matrix(layer, shape, order):
    layer = layer.double().eval()
    exact = torch.linalg.matrix_norm(dense(layer, shape), order).item()
    found = upper_bound(layer, shape, ord=order)
    assert found.certified
    assert exact * (1 - 1e-12) <= found.value <= exact * 2.1
    if not isinstance(
        layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d
    ):
        assert found.value == pytest.approx(
            exact, rel=0.35 if isinstance(layer, nn.ConvTranspose3d) else 1e-9
        )


@pytest.mark.parametrize(
    ("pool", "shape", "constant"),
    [
        (nn.MaxPool2d(2), (1, 6, 6), 1),
        (nn.MaxPool2d(3, 2), (1, 7, 7), 2),
        (nn.MaxPool2d(3, 2, 1), (1, 8, 8), 2),
        (nn.MaxPool2d(3, 1), (1, 6, 6), 3),
        (nn.MaxPool1d(3, 2, dilation=2), (1, 9), 3**0.5),
        (nn.MaxPool3d(2), (1, 4, 4, 4), 1),
        (nn.AdaptiveMaxPool2d(4), (1, 6, 6), 2),
        (nn.AdaptiveMaxPool1d(3), (1, 6), 1),
    ],
)
def test_max_pooling_counts_overlapping_windows(pool, shape, constant):
    found = upper_bound(pool, shape).value
    assert found == pytest.approx(constant, rel=1e-12)
    # attained: one large entry that all its windows pick
    spikes = torch.eye(math.prod(shape)).view(-1, *shape) * 10
    attained = (pool(spikes).flatten(1).norm(dim=1) / 10).max().item()
    assert attained == pytest.approx(constant, rel=1e-6)


def test_normalisations_at_their_worst_point():
    for layer in (nn.LayerNorm(8), nn.GroupNorm(1, 8), nn.RMSNorm(8, eps=1e-4)):
        layer = layer.double()
        layer.weight.data.uniform_(0.5, 2)
        found = upper_bound(layer, (8,)).value
        largest = layer.weight.abs().max().item()
        assert found == pytest.approx(largest / layer.eps**0.5, rel=1e-9)
        near = jacobian_norms(layer, 1e-6 * torch.randn(50, 8, **F64)).max().item()
        assert 0.5 * found <= near <= found
    with pytest.raises(ValueError, match="ord=2 only"):
        upper_bound(nn.LayerNorm(8), (8,), ord=1)


def test_softmax_and_log_softmax():
    assert upper_bound(nn.Softmax(1), (5,)).value == 0.5
    worst = torch.tensor([[0.0, 0.0, -60, -60, -60]], **F64)
    assert jacobian_norms(nn.Softmax(1), worst).item() == pytest.approx(0.5)
    assert upper_bound(nn.LogSoftmax(1), (5,)).value == pytest.approx(5**0.5, rel=1e-12)
    peak = torch.tensor([[60.0, 0, 0, 0, 0]], **F64)
    assert jacobian_norms(nn.LogSoftmax(1), peak).item() == pytest.approx(5**0.5)


def test_parametrized_weights_are_taken_as_they_are():
    torch.manual_seed(0)
    layer = parametrizations.weight_norm(nn.Linear(4, 3)).eval()
    assert upper_bound(nn.Sequential(layer, nn.ReLU()), (4,)).value == pytest.approx(
        norm(layer.weight), rel=1e-9
    )
    with pytest.raises(ValueError, match=r"train mode.*call model\.eval"):
        upper_bound(parametrizations.spectral_norm(nn.Linear(4, 3)), (4,))


# Attention and products: Lipschitz on bounded sets only


def test_self_attention_needs_a_radius():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, batch_first=True).double().eval()
    model = Function(lambda m, x: m.a(x, x, x, need_weights=False)[0].flatten(1), a=attention)
    assert upper_bound(model, (4, 6)).value == math.inf
    x = torch.randn(30, 4, 6, **F64)
    x = 2 * x / x.flatten(1).norm(dim=1).view(-1, 1, 1)
    found = upper_bound(model, (4, 6), radius=2.0)
    assert found.kind == "upper"
    assert not found.certified
    assert lower_bound(model, x).max <= found.value < 100
    with pytest.raises(ValueError, match="a: two samples at once"):
        upper_bound(Function(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(6, 2)).eval(), (4, 6))


def test_layer_norm_bounds_the_tokens_of_attention():
    encoder = Function(
        lambda m, x: x + m.a(m.n(x), m.n(x), m.n(x))[0],
        n=nn.LayerNorm(6),
        a=nn.MultiheadAttention(6, 1, batch_first=True),
    )
    apart = encoder.double().eval()
    assert (
        lower_bound(apart, torch.randn(10, 4, 6, **F64)).max
        <= upper_bound(apart, (4, 6)).value
        < math.inf
    )

    def run(m, x):
        y = m.n(x)
        return x + m.a(y, y, y)[0]

    model = Function(run, n=nn.LayerNorm(6), a=encoder.a).double().eval()
    found = upper_bound(model, (4, 6))
    assert lower_bound(model, torch.randn(10, 4, 6, **F64)).max <= found.value < math.inf


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 3))
def test_products_and_attention_on_a_ball(seed, radius):
    torch.manual_seed(seed)

    def run(m, x):
        q, k, v = m.q(x), m.k(x), torch.sigmoid(m.v(x)) * x
        return functional.scaled_dot_product_attention(q, k, v).flatten(1)

    model = Function(run, q=nn.Linear(3, 3), k=nn.Linear(3, 3), v=nn.Linear(3, 3)).double()
    x = torch.randn(20, 5, 3, **F64)
    x = radius * x / x.flatten(1).norm(dim=1).view(-1, 1, 1)
    assert lower_bound(model, x).max <= upper_bound(model, (5, 3), radius=radius).value
    assert upper_bound(model, (5, 3)).value == math.inf


CHAINS = {
    "dense": (
        (2, 3),
        lambda: [nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3), nn.Tanh()],
    ),
    "normalised": ((4,), lambda: [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Sigmoid(), nn.Identity()]),
    "signals": (
        (26,),
        lambda: [
            nn.Unflatten(1, (2, 13)),
            nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, bias=False),
            nn.BatchNorm1d(4, affine=False, momentum=None),
            nn.MaxPool1d(3, 2, padding=1, ceil_mode=True),
            nn.AvgPool1d(2, 1, padding=1, count_include_pad=False),
            nn.Flatten(),
            nn.Linear(20, 3),
        ],
    ),
    "images": (
        (2, 9, 8),
        lambda: [
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), groups=2),
            nn.BatchNorm2d(4),
            nn.MaxPool2d((2, 3), stride=1, dilation=(1, 2)),
            nn.AvgPool2d(2, 1, divisor_override=3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 2),
        ],
    ),
    "volumes": (
        (1, 4, 4, 4),
        lambda: [nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2, eps=0.1), nn.MaxPool3d(2), nn.AvgPool3d(1)],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_plain_nets_have_the_graph_that_is_exported(name):
    torch.manual_seed(0)
    shape, layers = CHAINS[name]
    model = nn.Sequential(*layers())
    model.load_state_dict(
        {k: torch.rand_like(v) if v.ndim else v for k, v in model.state_dict().items()}
    )
    model.eval()
    short, (long, _) = plain(model, shape), export(model, shape, OPERATORS.__contains__)
    for one, other in zip(list(short)[1:], list(long)[1:], strict=True):
        for field in ("operator", "path", "layer", "shape", "dtype", "output"):
            assert getattr(one, field) == getattr(other, field)
        for argument, value in other.arguments.items():
            same = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
            found = one.arguments[argument]
            assert same(found, value) if not isinstance(value, Node) else isinstance(found, Node)
    x = torch.randn(1, *shape)
    assert torch.equal(short.run(x)[short.outputs[0]], long.run(x)[long.outputs[0]])
    assert torch.equal(short.run(x)[short.outputs[0]], model(x))
    model[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    assert plain(model, shape) is None


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(6, 5), nn.Linear(4, 3)], (6,)),
        ([nn.Linear(6, 5), nn.Linear(5, 3).double()], (6,)),
        ([nn.Linear(6, 5), nn.Dropout()], (6,)),
        ([nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")], (1, 5, 5)),
        ([nn.Conv2d(1, 2, 3, padding="same")], (1, 5, 5)),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)], (1, 5, 5)),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False).eval()], (1, 5, 5)),
        ([nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, return_indices=True)], (1, 5, 5)),
        ([nn.Conv2d(1, 2, 3)], (5, 5)),
        ([nn.Linear(6, 5), nn.Unflatten(1, (5, -1))], (6,)),
        ([nn.Conv1d(1, 2, 3), nn.GELU()], (1, 5)),
    ],
)
def test_other_chains_are_left_to_the_export(layers, shape):
    assert plain(nn.Sequential(*layers), shape) is None


def test_a_layer_of_a_plain_net_with_a_rule_of_its_own_is_bounded_by_it():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval()
    before = upper_bound(model, (3,)).value

    @register_rule(nn.ReLU)
    def rule(module, input_shape, ord):
        return LayerConstant(OperatorNorm(0.5, "upper", certified=True), "half")

    try:
        assert upper_bound(model, (3,)).value == pytest.approx(before / 2)
    finally:
        del MODULES[nn.ReLU]


# All methods on random nets


@st.composite
def nets(draw):
    """Small chains of linear layers and any activation, with or without convolution and skip."""
    torch.manual_seed(draw(st.integers(0, 10**6)))
    # torch computes the derivative of Hardsigmoid with 1/6 in single precision
    kinds = [
        k for k in ACTIVATIONS[:-2] if not isinstance(k, nn.Hardshrink | nn.Threshold | nn.Hardsigmoid)
    ]
    picked = draw(st.sampled_from(kinds))
    activation = lambda: picked  # noqa: E731
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    layers = []
    if draw(st.booleans()):
        layers += [nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2), activation(), nn.Flatten()]
        widths = [8, *widths]
    else:
        layers += [nn.Flatten()]
        widths = [4, *widths]
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1] if draw(st.booleans()) else layers).double().eval()


@settings(max_examples=25, deadline=None)
@given(nets(), st.sampled_from(["autolip", "liplt", "eclipse", "seqlip", "best", "descent"]))
def test_certified_bounds_hold_on_random_nets(model, method):
    x = 3 * torch.randn(64, 1, 4, **F64)
    lower = jacobian_norms(model, x).max().item()
    upper = upper_bound(model, (1, 4), method=method)
    assert upper.certified
    assert lower <= upper.value * (1 + 1e-12)
    assert upper.value <= upper_bound(model, (1, 4)).value * (1 + 1e-9)


class RandomGraph(nn.Module):
    """Ten random layers and functions, each of any earlier value, of samples (2, 6, 6)."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers, self.steps = nn.ModuleList(), []
        kinds = list(self.functions())
        for place in range(1, 11):
            picked = torch.randint(0, 10**6, (3,)).tolist()
            self.layers.append(self.layer(picked[0]))
            inputs = picked[1] % place, picked[2] % place
            self.steps.append((kinds[torch.randint(len(kinds), ()).item()], *inputs))

    @staticmethod
    def layer(number):
        mode = ("zeros", "circular", "reflect", "replicate")[number % 4]
        batch = nn.BatchNorm2d(2)
        batch.running_var.uniform_(0.2, 3)
        batch.weight.data.normal_()
        choices = [
            nn.Conv2d(2, 2, 3, padding=1, padding_mode=mode),
            nn.ConvTranspose2d(2, 2, 3, padding=1),
            nn.Conv2d(2, 2, 1, groups=2),
            batch,
            nn.MaxPool2d(3, 1, 1),
            nn.AvgPool2d(3, 1, 1),
            nn.GELU(),
            nn.ReLU(),
        ]
        return choices[number % len(choices)]

    @staticmethod
    def functions():
        return {
            "layer": lambda layer, a, b: layer(a),
            "sum": lambda layer, a, b: a + 0.3 * layer(b),
            "difference": lambda layer, a, b: layer(a) - b,
            "join": lambda layer, a, b: torch.cat([a[:, :1], layer(b)[:, 1:]], 1),
            "larger": lambda layer, a, b: torch.maximum(a, b),
            "shift": lambda layer, a, b: -2.5 * functional.pad(a, (0, 1, 1, 0))[:, :, :6, 1:],
        }

    def forward(self, x):
        values, functions = [x], self.functions()
        for layer, (kind, first, second) in zip(self.layers, self.steps, strict=True):
            values.append(functions[kind](layer, values[first], values[second]))
        return torch.flatten(values[-1], 1)


@pytest.mark.parametrize("seed", range(25))
def test_certified_bounds_hold_on_random_graphs(seed):
    model = RandomGraph(seed).double().eval()
    upper = upper_bound(model, (2, 6, 6))
    assert upper.certified
    lower = jacobian_norms(model, 2 * torch.randn(8, 2, 6, 6, **F64)).max().item()
    assert lower <= upper.value * (1 + 1e-12)


def test_best_is_far_below_the_product_on_deep_nets():
    torch.manual_seed(0)
    for sizes, factor in (([10, *[40] * 5, 5], 3.5), ([10, *[80] * 20, 5], 100)):
        layers = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
            layers[-2].weight.data.normal_(0, 1 / math.sqrt(a))
        model = nn.Sequential(*layers[:-1])
        product, best = upper_bound(model, (10,)), upper_bound(model, (10,), method="best")
        assert best.value * factor <= product.value
        assert best.certified
        assert lower_bound(model, torch.randn(100, 10)).max <= best.value


def test_tighter_methods_reach_into_residual_nets():
    torch.manual_seed(0)

    def run(m, x):
        return m.c(torch.relu(x + m.b(torch.relu(m.a(x)))))

    model = Function(run, a=nn.Linear(8, 30), b=nn.Linear(30, 8), c=nn.Linear(8, 3))
    assert upper_bound(model, (8,), method="best").value <= upper_bound(model, (8,)).value


# Bad input


def test_arguments_of_modules_by_keyword_are_known():
    up = nn.ConvTranspose1d(2, 2, 3, stride=2).double()
    found = bound(lambda m, x: m.up(input=x, output_size=[8]), (2, 3), up=up)
    exact = norm(dense(Function(lambda m, x: m.up(x, output_size=[8]), up=up), (2, 3)))
    assert exact <= found.value <= 1.5 * exact


def test_attention_with_shared_heads_is_refused():
    def run(m, x):
        q, k = x.view(1, 4, 3, 2), x.view(1, 4, 3, 2)[:, :2]
        return functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    with pytest.raises(ValueError, match="shared heads"):
        upper_bound(Function(run), (4, 3, 2), radius=1.0)
    attention = nn.MultiheadAttention(4, 1, dropout=0.5, batch_first=True)
    with pytest.raises(ValueError, match="train mode"):
        upper_bound(Function(lambda m, x: m.a(x, x, x)[0], a=attention), (3, 4))


def test_train_mode_and_dropout_are_refused():
    for module in (nn.BatchNorm1d(3), nn.Dropout(0.3)):
        model = nn.Sequential(nn.Linear(3, 3), module)
        with pytest.raises(ValueError, match=rf"1 \({type(module).__name__}\) is in train mode"):
            upper_bound(model, (3,))
    with pytest.raises(UnknownLayerError, match="random"):
        upper_bound(Function(lambda m, x: functional.dropout(x, 0.5, training=True)), (3,))


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: 2 * m.a(x) if m.training else m.a(x),
        lambda m, x: functional.dropout(m.a(x), 0.5, training=m.training),
        lambda m, x: functional.batch_norm(m.a(x), torch.zeros(3), torch.ones(3), training=m.training),
        lambda m, x: (m.a(x), x) if m.training else m.a(x),
    ],
    ids=["factor", "dropout", "statistics", "another result"],
)
def test_models_that_ask_for_their_mode_are_refused_in_train_mode(run):
    torch.manual_seed(0)
    model = Function(run, a=nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"is in train mode.*call model\.eval"):
        upper_bound(model, (3,))
    assert all(module.training for module in model.modules())
    found = upper_bound(model.eval(), (3,))
    assert found.value == pytest.approx(norm(model.a.weight), rel=1e-4)


def test_a_mode_that_changes_nothing_is_no_reason_to_refuse():
    model = nn.Sequential(nn.Linear(3, 3), Function(lambda m, x: x.tanh()), nn.ReLU())
    assert model.training
    assert upper_bound(model, (3,)).value == pytest.approx(norm(model[0].weight), rel=1e-9)


def test_control_flow_is_refused_with_a_way_out():
    model = Function(lambda m, x: x if x.sum() > 0 else -x)
    with pytest.raises(ValueError, match=r"cannot be traced: .*test_graph.py:\d+\).*register_rule"):
        upper_bound(model, (3,))


@pytest.mark.parametrize(
    ("function", "shape", "error", "message"),
    [
        (lambda m, x: torch.erfinv(x), (3,), UnknownLayerError, r"erfinv.*module of its own"),
        (
            lambda m, x: x.sign() * torch.lgamma(x),
            (3,),
            UnknownLayerError,
            r"sign.*jumps.*; aten.lgamma",
        ),
        (lambda m, x: x * x.sum().item(), (3,), UnknownLayerError, "a number taken out of a tensor"),
        (lambda m, x: x + torch.randn_like(x), (3,), UnknownLayerError, "random"),
        (lambda m, x: x.argmax(1), (3,), UnknownLayerError, "jumps"),
        (lambda m, x: torch.where(x > 0, x, x + 1), (3,), UnknownLayerError, "gt.*jumps"),
        (lambda m, x: x.mean(), (3,), ValueError, "two samples at once"),
        (lambda m, x: x - x.mean(0), (3,), ValueError, "two samples at once"),
        (lambda m, x: x[:1], (3, 3), ValueError, "two samples at once"),
        (lambda m, x: functional.conv2d(x, x[:1]), (1, 3, 3), ValueError, "two samples at once"),
        (lambda m, x: functional.leaky_relu(x, x), (3,), ValueError, "rejects an input"),
        (lambda m, x: x.to(torch.int64), (3,), ValueError, "whole numbers"),
        (lambda m, x: functional.leaky_relu(x, math.nan), (3,), ValueError, "NaN"),
    ],
)
def test_functions_that_cannot_be_bounded(function, shape, error, message):
    with pytest.raises(error, match=message):
        bound(function, shape)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (lambda m, x: torch.exp(x), math.inf),
        (lambda m, x: x**3, math.inf),
        (lambda m, x: x / x, math.inf),
        (lambda m, x: x / (1 + x.abs()), 1),
        (lambda m, x: functional.normalize(x, eps=0.5), 2),
        (lambda m, x: torch.add(x, x, alpha=3), 4),
    ],
)
def test_functions_with_a_constant_on_the_range_of_their_argument(function, value):
    assert bound(function, (3,)).value == pytest.approx(value, rel=1e-9)


def changed_while_aliased(module, x):
    y = x * 1
    y.mul_(2)
    return y - x * 1


def changed_through_a_view(module, x):
    y = 1 * x
    y.view(-1).mul_(3)
    return y


def changed_by_a_module(module, x):
    y = module.a(x)
    return module.b(y) + y


@pytest.mark.parametrize(
    ("function", "value"),
    [(changed_while_aliased, 1), (changed_through_a_view, 3), (changed_by_a_module, 2)],
)
def test_changes_in_place_are_what_they_do(function, value):
    layers = {"a": nn.Identity(), "b": nn.ReLU(inplace=True)}
    assert bound(function, (3,), **layers).value == pytest.approx(value, rel=1e-9)


def test_changes_in_place_that_nobody_else_reads_are_fine():
    def run(module, x):
        y = module.a(x)
        y += 1
        return module.b(y)

    layer = nn.Linear(3, 3).double()
    found = bound(run, (3,), a=layer, b=nn.ReLU(inplace=True)).value
    assert found == pytest.approx(norm(layer.weight), rel=1e-9)


def test_batch_statistics_are_refused():
    layer = nn.BatchNorm2d(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match=r"two samples at once|more than 1 value"):
        upper_bound(nn.Sequential(nn.Conv2d(3, 3, 1), layer), (3, 4, 4))


def test_models_of_two_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(ValueError, match=r"takes several inputs.*'y'"):
        upper_bound(Two(), (3,))


def test_input_shape_that_does_not_fit_names_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(10, 2))
    with pytest.raises(ValueError, match=r"layer 3 \(Linear\) rejects an input of shape \(1, 16\)"):
        upper_bound(model, (3, 4, 4))


def test_every_rule_says_what_it_is():
    for name, rule in OPERATORS.items():
        assert rule.constant, name
        assert rule.source, name
        assert rule.tightness, name


class Chosen(nn.Module):
    """Some of the outputs of a layer, by a mask or by the positions in it."""

    def __init__(self, by_mask):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        mask = torch.tensor([True, False, True, False])
        self.register_buffer("chosen", mask if by_mask else mask.nonzero().squeeze(1))

    def forward(self, x):
        return self.layer(x)[:, self.chosen]


def test_an_index_by_a_mask_is_refused_with_the_way_out_that_works():
    with pytest.raises(ValueError, match=r"mask\.nonzero\(\)\.squeeze\(1\) as a buffer"):
        upper_bound(Chosen(by_mask=True), (4,))
    model = Chosen(by_mask=False)
    weight = model.layer.weight.detach().double()
    chosen, all_of_them = (torch.linalg.matrix_norm(w, 2).item() for w in (weight[[0, 2]], weight))
    assert chosen <= upper_bound(model, (4,)).value <= all_of_them * (1 + 1e-6)


def test_values_in_double_precision_are_those_of_the_same_function():
    """No option of an operator that depends on the dtype, or names one, changes with it."""
    x = torch.tensor([[1e-6, 2e-6, -3e-6]], dtype=torch.float64)
    normed, _ = export(nn.RMSNorm(3), (3,), OPERATORS.__contains__, MODULES)
    step = torch.finfo(torch.float32).eps
    exact = x / (x.square().mean() + step).sqrt()
    torch.testing.assert_close(normed.run(x, wide=True)[normed.outputs[0]], exact, rtol=1e-12, atol=0)

    def summed(m, x):
        return x.sum(1, dtype=torch.bfloat16, keepdim=True)

    thirds = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    graph, _ = export(Function(summed), (3,), OPERATORS.__contains__, MODULES)
    assert graph.run(thirds, wide=True)[graph.outputs[0]].item() == pytest.approx(1, rel=1e-15)
