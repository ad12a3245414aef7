"""Growth of the bounds of convolutional nets."""

import numpy as np
import pytest

from papers.khromov_singh_2024.evolution_signals import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.training_tables import context, growing
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("evolution_signals")


def nets(power=0.3, fits=100):
    """Bounds that grow with the epoch; half of the points are wrong before ``fits``."""
    table = growing(power=power)
    return {
        "evolution_signals_epochs": table.assign(train_error=np.where(table["epoch"] < fits, 0.5, 0.01))
    }


def test_slopes_are_those_of_the_epochs_at_which_the_nets_fit():
    facts, _ = measured_and_drawn(room, nets(), CONTEXT)
    assert facts["from"] == 100
    assert facts["epochs_of_the_fit"] == [100, 300, 1000, 3000, 10000]
    assert facts["slopes"]["c_lower"]["slope"] == pytest.approx(0.3, abs=0.002)
    assert facts["slopes_of_the_paper"]["c_lower"] == 0.29


def test_growth_of_one_kind_of_nets_holds_in_part():
    finding = judged(room, "C3", nets(), CONTEXT)
    assert finding.verdict == "holds in part", finding
    assert finding.part.endswith(", CNN")
    assert finding.reason.count(": holds 0.3") + finding.reason.count(": holds 0.299") == 3
    assert "ResNet-50: not tested (needs ImageNet)" in finding.reason


def test_bounds_that_fall_speak_against_it():
    finding = judged(room, "C3", nets(power=-0.2), CONTEXT)
    assert finding.verdict == "does not hold", finding


@pytest.mark.parametrize("fits", [3000, 10**9])
def test_nets_that_do_not_fit_are_not_judged(fits):
    finding = judged(room, "C3", nets(fits=fits), CONTEXT)
    assert finding.verdict == "not tested"
    assert "too few values" in finding.reason
    measured_and_drawn(room, nets(fits=fits), CONTEXT)


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C3", nets(), CONTEXT)
    check_one_seed(room, "C3", nets(), CONTEXT)
