"""Vision transformers and residual nets: numbers of parameters, what they compute, their bounds."""

import pytest
import torch
from torch import nn

from lipbounds import lower_bound, upper_bound
from nets import parts

CIFAR = (3, 32, 32)


def net_of(family, width, shape=CIFAR, **settings):
    torch.manual_seed(0)
    return parts.load("model", family).Settings(**settings).build(width, shape, 10).eval()


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("width", [3, 5, 8, 20])
def test_transformers_have_the_parameters_of_the_paper(width):
    assert count(net_of("vit", width)) == 48 * width**2 + 9501 * width + 394


def test_the_transformer_of_the_papers_threshold():
    assert count(net_of("vit", 5)) == 49_099


@pytest.mark.parametrize(("blocks", "thousands"), [(3, 270), (5, 464), (7, 659), (9, 853), (18, 1728)])
def test_residual_nets_have_the_parameters_of_he_et_al(blocks, thousands):
    assert round(count(net_of("resnet", 16, blocks=blocks)) / 1000) == thousands


def test_attention_is_that_of_torch():
    block = net_of("vit", 12, heads=3, head_size=4, depth=1)[1]
    x = torch.randn(2, 17, 12)
    other = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        other.in_proj_weight.copy_(block.queries_keys_values.weight)
        other.in_proj_bias.zero_()
        other.out_proj.weight.copy_(block.out.weight)
        other.out_proj.bias.copy_(block.out.bias)
        normed = block.norm(x)
        expected = x + other(normed, normed, normed)[0]
        expected = expected + block.feed_forward(expected)
        assert torch.allclose(block(x), expected, atol=1e-5)


def test_patches_are_tokens_row_by_row():
    tokens = net_of("vit", 4, heads=1, head_size=2, depth=1)[0]
    x = torch.rand(2, *CIFAR)
    with torch.no_grad():
        second = x[:, :, :8, 8:16].permute(0, 2, 3, 1).flatten(1)
        expected = tokens.embedding(second) + tokens.positions[2]
        assert torch.allclose(tokens(x)[:, 2], expected, atol=1e-6)
        assert torch.allclose(tokens(x)[:, 0], (tokens.class_token + tokens.positions[0]).expand(2, -1))


def test_shortcuts_leave_out_pixels_and_add_zeros():
    block = net_of("resnet", 4)[3 + 3]
    x = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        shortcut = torch.zeros(2, 8, 16, 16)
        shortcut[:, 2:6] = x[:, :, ::2, ::2]
        assert torch.equal(block(x), (block.branch(x) + shortcut).relu())


@pytest.mark.parametrize(
    ("family", "settings"),
    [("vit", {"heads": 1, "head_size": 4, "depth": 1}), ("resnet", {"blocks": 1})],
)
def test_they_are_bounded(family, settings):
    net, x = net_of(family, 4, **settings), torch.rand(4, *CIFAR)
    upper = upper_bound(net, CIFAR)
    assert upper.certified
    assert lower_bound(net, x).max < upper.value < float("inf")


@pytest.mark.parametrize("shape", [(40,), (3, 30, 32)])
def test_transformers_refuse_what_patches_do_not_cover(shape):
    with pytest.raises(ValueError, match="patches of 8 x 8"):
        net_of("vit", 4, shape)


def test_residual_nets_refuse_signals():
    with pytest.raises(ValueError, match="resnet is for images"):
        net_of("resnet", 4, (40,))
