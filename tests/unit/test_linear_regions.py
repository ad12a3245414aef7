"""Linear regions of nets on the plane."""

import pytest
import torch
from torch import nn

from lipbounds.bounds import upper_bound
from lipbounds.jacobian import jacobian_norms
from pipeline.measuring.linear_regions import linear_regions, polygon_area, steepest_region
from pipeline.measuring.small_nets import seeded_mlp

pytestmark = pytest.mark.usefixtures("single_threaded")


def test_regions_of_a_net_that_is_known():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.copy_(torch.tensor([-1.0, 1.0]))
        model[2].weight.copy_(torch.tensor([[3.0, -4.0]]))
    polygons = linear_regions(model, 2.0)
    assert sorted(polygon_area(polygon) for polygon in polygons) == pytest.approx([1, 3, 3, 9])
    found = steepest_region(model, 2.0)
    assert found.value == pytest.approx(5)
    assert found.x > 1
    assert found.y > -1
    assert (found.area, found.regions) == pytest.approx((3, 4))


def test_regions_cover_the_square_and_leave_nothing_steeper():
    model = seeded_mlp([2, 12, 9, 3], 1).double()
    polygons = linear_regions(model, 3.0)
    assert sum(map(polygon_area, polygons)) == pytest.approx(36, rel=1e-12)
    assert len(polygons) > 50
    generator = torch.Generator().manual_seed(0)
    points = 6 * torch.rand(20_000, 2, generator=generator, dtype=torch.float64) - 3
    exact = steepest_region(model, 3.0).value
    norms = jacobian_norms(model, points)
    assert norms.max() <= exact * (1 + 1e-12)
    assert norms.max() >= 0.97 * exact
    assert exact <= upper_bound(model, (2,), method="best").value
    # in its interior the net is affine, so the norm at the corners, pulled inward, is one number
    large = max(polygons, key=polygon_area)
    corners = torch.tensor(large, dtype=torch.float64)
    inside = jacobian_norms(model, corners.mean(0) + 0.999 * (corners - corners.mean(0)))
    torch.testing.assert_close(inside, inside[:1].expand_as(inside), rtol=1e-12, atol=0)
