"""Parts of a graph as matrices: exact norms where they are small, and never more than the budget."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lipbounds.bounds import segments, upper_bound

pytestmark = pytest.mark.usefixtures("single_threaded")


def averaging_net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 10)).double().eval()


def dense_norm(model, shape):
    """Of a linear model, by its matrix."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        matrix = (model(units) - model(torch.zeros_like(units))).flatten(1)
    return torch.linalg.matrix_norm(matrix, 2).item()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(2, 3, 3, stride=2, padding=2, dilation=2),
        nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2, 4, 3)),
    ],
)
def test_a_linear_part_alone_is_one_matrix(layer):
    layer = layer.double()
    exact = dense_norm(layer, (2, 8, 8))
    model = nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(2)).eval()
    found = upper_bound(model, (2, 8, 8), method="best")
    assert found.certified
    assert exact <= found.value <= exact * (1 + 1e-9)
    assert "one matrix" in found.method


def test_layers_that_are_exact_already_stay_as_they_are():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.MaxPool1d(2)).eval()
    assert upper_bound(model, (5,), method="best").method == "best"


def test_what_is_too_much_at_once_is_done_part_by_part():
    model = averaging_net()
    alone = [
        dense_norm(model[:1], (1, 14, 14)),
        dense_norm(model[2:4], (4, 12, 12)),
        dense_norm(model[5:], (6, 6, 6)),
    ]
    whole = upper_bound(model, (1, 14, 14), method="best")
    apart = upper_bound(model, (1, 14, 14), method="best", budget=1.3e8)
    assert len([row for row in whole.layers if row.kind == "chain"]) == 1
    assert len([row for row in apart.layers if row.kind == "chain"]) > 1
    assert whole.value < apart.value <= math.prod(alone) * (1 + 1e-9)


@pytest.mark.parametrize("budget", [0, 1e5, 1e6, 1e7, 1e8, 1e9])
def test_the_budget_is_kept(budget, monkeypatch):
    spent = []
    make = segments.segment_of

    def counting(parts):
        spent.append(segments._cost(parts))
        assert sum(spent) <= budget  # before any matrix is made
        return make(parts)

    monkeypatch.setattr(segments, "segment_of", counting)
    model = averaging_net()
    plain = _multiplications(model, method="autolip")
    # the search of eclipse among small matrices takes more than the norms that are counted
    assert _multiplications(model, method="best", budget=budget) - plain <= 6 * budget


def _multiplications(model, **options):
    with FlopCounterMode(display=False) as counter:
        upper_bound(model, (1, 14, 14), **options)
    return counter.get_total_flops() / 2


def test_without_a_budget_there_is_the_product_alone():
    model = averaging_net()
    found = upper_bound(model, (1, 14, 14), method="best", budget=0)
    assert found.value == upper_bound(model, (1, 14, 14)).value
    assert any("given up" in row.how for row in found.layers)
