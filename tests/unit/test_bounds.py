import copy
import math

import pytest
import torch
from torch import nn

from lipbounds import LayerConstant
from lipbounds.bounds import UnknownLayerError, lower_bound, register_rule, upper_bound
from lipbounds.operator_norm import OperatorNorm
from lipbounds.operators import table
from nets.models.fcn import seeded_fcn


def test_lower_bound_summarises_the_jacobian_norms():
    model, x = seeded_fcn(0, 40, [30], 10), torch.randn(50, 40)
    from lipbounds.jacobian import jacobian_norms

    norms, bound = jacobian_norms(model, x), lower_bound(model, x)
    assert bound.max == norms.max()
    assert norms[bound.argmax] == bound.max
    assert bound.mean == pytest.approx(norms.mean().item())
    assert bound.rms == pytest.approx(norms.square().mean().sqrt().item())


@pytest.mark.parametrize("hidden", [[16], [256], [40, 40, 40]])
@pytest.mark.parametrize("ord", [1, 2, math.inf])
def test_bounds_are_ordered(hidden, ord):
    model, x = seeded_fcn(0, 40, hidden, 10), torch.randn(300, 40)
    subset, whole = lower_bound(model, x[:100], ord=ord), lower_bound(model, x, ord=ord)
    upper = upper_bound(model, (40,), ord=ord)
    assert subset.mean <= subset.rms <= subset.max <= whole.max <= upper.value


def test_single_linear_layer_is_tight():
    model = nn.Sequential(nn.Linear(40, 10))
    lower, upper = lower_bound(model, torch.randn(5, 40)), upper_bound(model, (40,))
    assert lower.max == pytest.approx(upper.value, rel=1e-6)
    assert lower.mean == pytest.approx(lower.max, rel=1e-12)


def test_upper_bound_is_the_product_of_exact_norms():
    model = seeded_fcn(1, 40, [64, 32], 10)
    exact = math.prod(
        torch.linalg.matrix_norm(m.weight.double(), 2).item() for m in model if isinstance(m, nn.Linear)
    )
    bound = upper_bound(model, (40,))
    assert exact <= bound.value * (1 + 1e-14)
    assert bound.value == pytest.approx(exact, rel=1e-10)
    assert bound.log10 == pytest.approx(math.log10(exact), abs=1e-10)
    assert bound.certified
    assert bound.kind == "upper"
    assert [layer.name for layer in bound.layers] == [str(i) for i in range(6)]


def test_logarithm_survives_where_the_value_does_not():
    model = nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(400)])
    for layer in model:
        layer.weight.data.fill_(1e3)
    bound = upper_bound(model, (1,))
    assert bound.value == math.inf
    assert bound.log10 == pytest.approx(1200, abs=1e-6)
    assert bound.log10 >= 1200


def test_leaky_slope_above_one_counts():
    model = nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(3.0))
    assert upper_bound(model, (2,)).layers[1].norm.value == 3


def test_nested_sequentials_and_flatten():
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(12, 4), nn.ReLU()), nn.Dropout()).eval()
    names = [layer.name for layer in upper_bound(model, (3, 4)).layers]
    assert names == ["1.0", "1.1"]


def test_unknown_layers_raise_with_path_type_and_remedy():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.FractionalMaxPool2d(2, 2)))
    message = r"fractional_max_pool.*1\.0 \(FractionalMax.*register_rule\(FractionalMaxPool2d\)"
    with pytest.raises(UnknownLayerError, match=message) as caught:
        upper_bound(model, (1, 4, 4))
    assert caught.value.nodes[0].path == "1.0"


def test_subclasses_of_known_layers_are_looked_into():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 100 * super().forward(x)

    layer = Scaled(3, 3)
    exact = 100 * torch.linalg.matrix_norm(layer.weight.double(), 2).item()
    assert upper_bound(nn.Sequential(layer), (3,)).value == pytest.approx(exact, rel=1e-10)


def test_registered_rules_are_used(monkeypatch):
    class Doubling(nn.Module):
        def forward(self, x):
            return 2 * x

    monkeypatch.setattr(table, "MODULES", dict(table.MODULES))

    @register_rule(Doubling)
    def doubling(module, input_shape, ord):
        assert input_shape == (4,)
        return LayerConstant(OperatorNorm(2.0, "estimate", certified=False), "by definition")

    bound = upper_bound(nn.Sequential(Doubling(), Doubling()), (4,))
    assert bound.value == pytest.approx(4)
    assert not bound.certified
    assert bound.kind == "estimate"


def test_a_layer_that_occurs_twice_counts_twice():
    shared, relu = nn.Linear(2, 2, bias=False), nn.ReLU()
    shared.weight.data = 2 * torch.eye(2)
    model = nn.Sequential(shared, relu, shared, relu)
    bound = upper_bound(model, (2,))
    assert bound.value >= 4
    assert len(bound.layers) == 4
    assert lower_bound(model, torch.ones(1, 2)).max <= bound.value


@pytest.mark.parametrize("where", [0, None])
def test_hooks_are_part_of_the_model(where):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    before = upper_bound(model, (2,)).value
    hooked = model if where is None else model[where]
    hooked.register_forward_hook(lambda module, args, output: 5 * output)
    assert upper_bound(model, (2,)).value == pytest.approx(5 * before, rel=1e-6)


def test_order_without_rules_is_refused():
    with pytest.raises(ValueError, match="ord must be"):
        upper_bound(nn.ReLU(), (3,), ord=3)


def test_wrong_input_shape_names_the_layer():
    with pytest.raises(ValueError, match=r"layer 2 \(Linear\) rejects an input of shape \(1, 5\)"):
        upper_bound(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(4, 2)), (3,))


def test_weights_that_are_not_finite_are_refused():
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        upper_bound(model, (3,))


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="known: autolip"):
        upper_bound(nn.Sequential(nn.Linear(3, 3)), (3,), method="power")
    with pytest.raises(ValueError, match="2-norm only"):
        upper_bound(nn.Sequential(nn.Linear(3, 3)), (3,), method="best", ord=1)


def test_model_is_left_as_it_was():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)]
    model = nn.Sequential(*layers)
    model.eval()[0].train()
    model[0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    state, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    upper_bound(model, (3, 4, 4), method="best")
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 5]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
