import pytest
import torch
from torch import nn

from nets.models.fcn import fcn, linear_weights, seeded_fcn


@pytest.mark.parametrize(
    ("hidden", "parameters"),
    [
        ([16], 800),
        ([32], 1_600),
        ([80], 4_000),
        ([256], 12_800),
        ([800], 40_000),
        ([131_072], 6_553_600),
        ([64] * 2, 7_296),
        ([64] * 3, 11_392),
        ([64] * 4, 15_488),
        ([64] * 5, 19_584),
    ],
)
def test_parameter_counts_of_table_s4(hidden, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in fcn(40, hidden, 10).parameters()) == parameters


def test_layers_alternate_without_biases_and_end_in_an_activation():
    model = fcn(40, [8, 6], 10)
    assert [type(m) for m in model] == [nn.Linear, nn.ReLU] * 3
    assert all(m.bias is None for m in model if isinstance(m, nn.Linear))
    assert (model(torch.randn(100, 40)) >= 0).all()


def test_leaky_variant_has_slope_one_hundredth():
    model = seeded_fcn(0, 40, [8], 10, activation_on_output="leaky_relu")
    x = torch.randn(50, 40)
    before = model[:-1](x)
    assert torch.equal(model(x), torch.where(before > 0, before, 0.01 * before))


def test_initialisation_is_uniform_on_the_inverse_root_of_the_fan_in():
    first, second = linear_weights(seeded_fcn(3, 40, [4000], 10))
    for weight, fan_in in ((first, 40), (second, 4000)):
        bound = fan_in**-0.5
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.99 * bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_seed_fixes_the_weights_and_spares_the_global_stream():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (seeded_fcn(seed, 4, [3], 2) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_unknown_output_activation_is_refused():
    with pytest.raises(ValueError, match="softmax"):
        fcn(4, [3], 2, activation_on_output="softmax")
