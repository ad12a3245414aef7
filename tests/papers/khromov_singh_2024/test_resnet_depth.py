"""Bounds of ResNets at initialisation."""

import math

import numpy as np
import pytest
import torch

from papers.khromov_singh_2024.resnet_depth import figure as room
from papers.khromov_singh_2024.resnet_depth import study
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.pretrained import torchvision_model
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import grid

SETTINGS = study.Settings(depths=(18,), seeds=1, image_size=32, points=1, seed=0)
CONTEXT = job_context("resnet_depth", SETTINGS)


def test_the_bounds_are_those_of_the_net_on_either_side_of_a_difference():
    table = study.study(SETTINGS, {})
    (row,) = table.to_dict("records")
    assert row["upper_certified"]
    assert row["parameters"] == 11_689_512
    assert row["c_avg"] <= row["c_lower"] < 10 ** row["log10_c_upper"]
    net = torchvision_model("resnet18", None, derive_seed(0, "resnet", depth=18, net=0)).model
    noise = torch.Generator().manual_seed(derive_seed(0, "noise", depth=18, net=0))
    points = torch.randn(1, 3, 32, 32, generator=noise)
    step = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    step *= 1e-3 / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        ratio = (net(points + step) - net(points)).norm(dim=1) / 1e-3
    assert 0 < ratio.max() <= row["c_lower"]


def gaps(decades):
    """Gaps by depth that differ by hundredths between seeds; C_lower is 10 everywhere."""
    table = grid(depth=list(decades), seed=range(3))
    gap = table["depth"].map(decades) + 0.01 * table["seed"]
    return table.assign(log10_c_upper=1 + gap, upper_certified=True, c_lower=10.0, c_avg=5.0)


def verdict(table):
    facts, _ = measured_and_drawn(room, {"resnet_depth": table}, CONTEXT)
    return judged(room.grows_with_depth, "resnet_depth", facts)


def test_a_gap_that_grows_by_decades_explodes():
    finding = verdict(gaps({18: 7, 34: 14, 50: 24, 101: 48}))
    assert finding.verdict == "holds", finding
    assert finding.part == "ResNet-50"
    assert finding.estimate == pytest.approx(24.01)
    assert "added from 18 to 34 layers: holds 7 " in finding.reason


def test_a_gap_that_does_not_grow_does_not_explode():
    finding = verdict(gaps({18: 7, 34: 7.2, 50: 7.4}))
    assert finding.verdict == "does not hold", finding


def test_a_gap_that_grows_to_less_than_half_of_the_papers_holds_in_part():
    finding = verdict(gaps({18: 7, 34: 9, 50: 12}))
    assert finding.verdict == "holds in part", finding
    assert "ResNet-50: does not hold 12" in finding.reason


def test_seeds_and_a_resnet_50_are_needed():
    assert "ResNet-50: not tested (no ResNet-50)" in verdict(gaps({18: 7, 34: 14})).reason
    table = gaps({18: 7, 34: 14, 50: 24})
    assert verdict(table[table["seed"] == 0]).verdict == "not tested"


def test_gaps_are_of_the_same_net():
    data = room.prepared(gaps({18: 7}).assign(c_lower=[1.0, 10.0, 100.0]))
    assert np.allclose(data["decades"], [8, 7.01, 6.02])
    assert math.isclose(data["log10_c_avg"].iloc[0], math.log10(5))
