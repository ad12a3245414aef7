"""Bounds of nets that are not trained yet, against width."""

import numpy as np
import pytest
import torch

from nets.models.fcn import fcn
from papers.khromov_singh_2024.initialisation import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn


def test_theory_of_initialisation_holds_for_nets():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 40, generator=generator)
    width = 1024
    torch.manual_seed(0)
    norms, products = [], []
    for _ in range(4):
        inner, outer = (w.detach() for w in fcn(40, [width], 10).parameters())
        products.append(float(torch.linalg.matrix_norm(inner, 2) * torch.linalg.matrix_norm(outer, 2)))
        hidden = x @ inner.T
        active = (hidden.relu() @ outer.T) > 0
        for point in range(len(x)):
            jacobian = (outer * (hidden[point] > 0)) @ inner * active[point, :, None]
            norms.append(float(torch.linalg.matrix_norm(jacobian, 2)))
    assert room.upper_by_theory(width) == pytest.approx(np.mean(products), rel=0.03)
    mean = np.mean(norms)
    assert mean < room.average_by_theory() < 1.15 * mean


def test_facts_are_those_of_epoch_0():
    facts = given.as_json(room, {"": given.epochs()}, given.CONTEXT)
    assert facts["at_initialisation"]["c_avg"]["peak_width"] == 16
    assert facts["at_initialisation"]["c_avg"]["peak"] == pytest.approx(
        500 / 16 * (1.01 - 0.01**2 / 3), rel=1e-5
    )  # geometric mean
    assert facts["trained"]["c_avg"]["peak_width"] == 64
    ranks = facts["rank_correlation_with_width_at_initialisation"]
    assert ranks["c_upper"]["estimate"] == pytest.approx(-1)


@pytest.mark.parametrize("lost", [False, True])
def test_it_draws_also_when_every_seed_diverged(lost):
    measured_and_drawn(room, {"": given.epochs(lost)}, given.CONTEXT)


# ---------------------------------------------------------------- claims


def test_bounds_that_grow_with_width_have_no_peak():
    finding = given.judged(room, "C24", {"": given.sweep_epochs()}, given.AT_80)
    assert finding.verdict == "holds", finding
    assert finding.estimate < 0  # the widest nets are above all others


def test_bounds_with_a_peak_have_one():
    rows = given.sweep_epochs()
    peaked = given.bounds(rows, given.peak(rows["width"], 64))
    finding = given.judged(room, "C24", {"": peaked}, given.AT_80)
    assert finding.verdict == "does not hold", finding


def test_the_claim_needs_numbers_and_seeds():
    given.check_degenerate(room, "C24", {"": given.sweep_epochs()}, given.AT_80)
    given.check_one_seed(room, "C24", {"": given.sweep_epochs()}, given.AT_80)
