"""Layers that are Lipschitz by construction: norms, gradients, and their rules."""

import math

import pytest
import torch
from torch import nn

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.jacobian import jacobian_norms
from lipbounds.layers import L2SelfAttention, SpectralRescaledConv2d, SpectralRescaledLinear

F64 = {"dtype": torch.float64}


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


def dense(layer, shape):
    """Matrix of the linear part of a layer."""
    dtype = layer.weight.dtype
    basis = torch.eye(math.prod(shape), dtype=dtype).view(-1, *shape)
    with torch.no_grad():
        return (layer(basis) - layer(torch.zeros(1, *shape, dtype=dtype))).flatten(1).T.double()


def norm(matrix):
    return torch.linalg.matrix_norm(matrix.detach().double(), 2).item()


# Rescaled layers


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("sizes", [(20, 30), (30, 20), (12, 12)])
def test_linear_layers_come_up_to_one_with_more_steps(sizes, scale):
    norms = []
    for steps in (1, 3, 8):
        layer = seeded(lambda n=steps: SpectralRescaledLinear(*sizes, steps=n))
        layer.weight.data *= scale
        norms.append(norm(layer.rescaled_weight()))
    assert norms[0] < norms[1] < norms[2] <= 1 + 1e-5
    assert norms[2] > 0.97


def test_orthogonal_weights_stay_as_they_are():
    layer = SpectralRescaledLinear(16, 16, steps=6).double()
    layer.weight.data = torch.linalg.qr(layer.weight.data).Q * 7
    with torch.no_grad():
        assert torch.allclose(layer.rescaled_weight(), layer.weight / 7, atol=1e-12)


CONVOLUTIONS = [
    {"stride": 1, "padding": 1},
    {"stride": 2, "padding": 1, "padding_mode": "circular"},
    {"stride": (1, 2), "padding": (2, 0), "dilation": 2, "bias": False},
    {"stride": 1, "padding": 0},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_convolutions_are_those_of_torch_with_the_rescaled_kernel(options):
    layer = seeded(lambda: SpectralRescaledConv2d(3, 5, 3, **options).double())
    plain = nn.Conv2d(3, 5, 3, **options).double()
    plain.weight.data, plain.bias = layer.rescaled_weight().detach(), layer.bias
    x = torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(1), **F64)
    assert torch.allclose(layer(x), plain(x), atol=1e-12)
    exact = norm(dense(layer, (3, 8, 10)))
    assert exact <= 1 + 1e-10
    found = upper_bound(layer, (3, 8, 10))
    assert found.certified
    assert exact <= found.value <= 1 + 1e-5
    assert found.value == pytest.approx(upper_bound(plain, (3, 8, 10)).value, rel=1e-12)


def test_bound_of_a_linear_layer_is_computed_and_not_assumed():
    layer = seeded(lambda: SpectralRescaledLinear(6, 9, steps=1))
    found = upper_bound(layer, (6,))
    assert found.certified
    assert found.value == pytest.approx(norm(layer.rescaled_weight()), rel=1e-9)
    assert found.value < 0.99
    assert found.layers[0].kind == "linear"
    assert upper_bound(layer, (6,), ord=math.inf).value == pytest.approx(
        layer.rescaled_weight().abs().sum(1).max().item(), rel=1e-6
    )


def test_a_net_of_rescaled_layers_is_1_lipschitz_and_stays_so_in_training():
    net = seeded(
        lambda: nn.Sequential(
            SpectralRescaledConv2d(1, 8, 3, padding=1, steps=2),
            nn.ReLU(),
            nn.Flatten(),
            SpectralRescaledLinear(8 * 36, 4),
        )
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 6, 6, generator=generator)
    y = torch.randint(0, 4, (64,), generator=generator)
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    found = upper_bound(net, (1, 6, 6))
    assert found.certified
    assert lower_bound(net, x).max <= found.value <= 1 + 1e-4


def test_gradients_reach_the_weights():
    layer = seeded(lambda: SpectralRescaledLinear(3, 4, steps=2).double())
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), **F64)

    def run(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(run, layer.weight.detach().requires_grad_())


def test_rescaled_layers_are_printed_saved_and_refused_sensibly():
    layer = SpectralRescaledConv2d(2, 3, (3, 1), padding=(1, 0))
    assert "steps=3" in repr(layer)
    assert "kernel_size=(3, 1)" in repr(layer)
    assert "4, 2, bias=False" in repr(SpectralRescaledLinear(4, 2, bias=False))
    other = SpectralRescaledConv2d(2, 3, (3, 1), padding=(1, 0))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.rescaled_weight(), layer.rescaled_weight())
    with pytest.raises(ValueError, match="zeros or circular"):
        SpectralRescaledConv2d(2, 3, 3, padding=1, padding_mode="reflect")
    with pytest.raises(ValueError, match="repeat entries"):
        SpectralRescaledConv2d(2, 3, 3, padding=2, padding_mode="circular")
    with pytest.raises(ValueError, match="in numbers"):
        SpectralRescaledConv2d(2, 3, 3, padding="same")
    with pytest.raises(ValueError, match="at least 1"):
        SpectralRescaledLinear(2, 3, steps=0)
    layer.weight.data[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        upper_bound(layer, (2, 5, 5))


# Attention


def reference_attention(layer, x):
    """One sample (tokens, size), from the definition."""
    heads = []
    for query, value in zip(layer.query_weight, layer.value_weight, strict=True):
        root = math.sqrt(query.shape[1])
        projected = x @ query
        distances = (projected.unsqueeze(1) - projected.unsqueeze(0)).square().sum(-1)
        weights = torch.softmax(-distances / root, 1)
        heads.append(weights @ x @ (query @ query.T / root) @ value)
    return layer.output(torch.cat(heads, 1))


def test_attention_follows_its_definition():
    layer = seeded(lambda: L2SelfAttention(6, 3).double())
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0), **F64)
    expected = torch.stack([reference_attention(layer, one) for one in x])
    assert torch.allclose(layer(x), expected, atol=1e-12)


@pytest.mark.parametrize(("size", "heads", "tokens"), [(4, 1, 2), (6, 2, 5), (3, 3, 1), (8, 2, 12)])
@pytest.mark.parametrize("gain", [0.5, 1.0, 20.0])
def test_constant_of_attention_is_never_exceeded(size, heads, tokens, gain):
    layer = seeded(lambda: L2SelfAttention(size, heads).double())
    layer.query_weight.data *= gain
    found = upper_bound(layer, (tokens, size))
    assert found.certified
    assert found.kind == "upper"
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-2, 1.5, 40, **F64).view(-1, 1, 1) / gain
    x = spread * torch.randn(40, tokens, size, generator=generator, **F64)
    assert jacobian_norms(layer, x).max() <= found.value


def test_constant_of_attention_grows_with_the_square_of_the_queries():
    """Jacobian norms do: f(x; c Q) = c f(c x; Q)."""
    layer = seeded(lambda: L2SelfAttention(4).double())
    x = torch.randn(30, 3, 4, generator=torch.Generator().manual_seed(0), **F64)
    sampled, constant = jacobian_norms(layer, 10 * x), upper_bound(layer, (3, 4)).value
    layer.query_weight.data *= 10
    assert torch.allclose(jacobian_norms(layer, x), 100 * sampled, rtol=1e-9)
    assert upper_bound(layer, (3, 4)).value == pytest.approx(100 * constant, rel=1e-9)


def test_constant_of_attention_is_the_closed_form():
    layer = seeded(lambda: L2SelfAttention(6, 2).double())
    tokens = 7
    low, high = 0.0, 10.0
    for _ in range(80):
        g = (low + high) / 2
        low, high = (g, high) if g * math.exp(g + 1) < tokens - 1 else (low, g)
    kappa = math.sqrt(tokens) + 2 * (math.sqrt(tokens) + 1) * g
    parts = [
        (norm(q) ** 2 * norm(v)) ** 2
        for q, v in zip(layer.query_weight, layer.value_weight, strict=True)
    ]
    expected = norm(layer.output.weight) * math.sqrt(sum(parts)) * kappa / math.sqrt(3)
    assert upper_bound(layer, (tokens, 6)).value == pytest.approx(expected, rel=1e-9)


def test_one_token_attends_to_itself():
    """Then the layer is linear, and the constant is the product of the norms of its factors."""
    layer = seeded(lambda: L2SelfAttention(3).double())
    query, value = layer.query_weight[0], layer.value_weight[0]
    linear = layer.output.weight @ (query @ query.T / math.sqrt(3) @ value).T
    found = jacobian_norms(layer, torch.ones(1, 1, 3, **F64)).item()
    assert found == pytest.approx(norm(linear), rel=1e-9)
    product = norm(layer.output.weight) * norm(query) ** 2 * norm(value) / math.sqrt(3)
    assert upper_bound(layer, (1, 3)).value == pytest.approx(product, rel=1e-9)


def test_attention_is_refused_sensibly():
    with pytest.raises(ValueError, match="must divide embed_dim"):
        L2SelfAttention(6, 4)
    with pytest.raises(ValueError, match="ord=2 only"):
        upper_bound(L2SelfAttention(6, 2), (3, 6), ord=1)
    assert "6, num_heads=2" in repr(L2SelfAttention(6, 2))


def test_attention_in_a_residual_net_is_bounded_on_the_whole_space():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = L2SelfAttention(4, 2)
            self.head = SpectralRescaledLinear(4, 2)

        def forward(self, x):
            return self.head(torch.relu(x + self.attention(x)))

    block = seeded(Block)
    found = upper_bound(block, (5, 4))
    assert found.certified
    assert math.isfinite(found.value)
    x = torch.randn(50, 5, 4, generator=torch.Generator().manual_seed(0))
    assert lower_bound(block, x).max <= found.value
