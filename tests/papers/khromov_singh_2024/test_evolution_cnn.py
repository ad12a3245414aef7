"""Growth of the bounds of convolutional nets on images."""

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.evolution_cnn import figure as room
from papers.khromov_singh_2024.evolution_signals import figure as signals
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.training_tables import growing

CONTEXT = job_context("evolution_cnn", {}, scale="laptop")


def nets(power, fits):
    """Of width 12, beside others that fall; half of the points are wrong before epoch ``fits``."""
    table = growing(power=power).assign(width=12)
    table = pd.concat([table, growing(power=-0.5).assign(width=20)], ignore_index=True)
    return table.assign(train_error=np.where(table["epoch"] < fits, 0.5, 0.01))


def tables(cifar10=0.3, mnist=0.2, fits=100):
    return {"cnn_cifar10_epochs": nets(cifar10, fits), "cnn_mnist_epochs": nets(mnist, fits)}


def judged(again, found):
    claim = again.of(signals.grows_in_other_nets)
    return claim.judged("evolution_cnn", {"evolution_cnn": found})


def test_each_data_set_has_its_slopes_of_the_width_that_is_shown():
    facts, drawing = measured_and_drawn(room, tables(), CONTEXT)
    assert facts["cifar10"]["slopes"]["c_lower"]["slope"] == pytest.approx(0.3, abs=0.002)
    assert facts["mnist"]["slopes"]["c_lower"]["slope"] == pytest.approx(0.2, abs=0.002)
    assert {facts[name]["width"] for name in facts} == {12}
    written = [[text.get_text() for text in axes.texts] for axes in drawing.axes[::2]]
    assert "slope 0.30 (paper 0.29)" in written[0]
    assert "slope 0.20" in written[1]


def test_each_data_set_is_judged_by_the_rule_for_itself():
    facts = room.measure(tables(mnist=-0.2), CONTEXT)
    assert judged(room.ON_CIFAR10, facts).verdict == "holds in part"
    assert judged(room.ON_MNIST, facts).verdict == "does not hold"
    assert (room.ON_CIFAR10.name, room.ON_MNIST.name) == ("C3 CIFAR-10", "C3 MNIST")
    assert "lack 'mnist'" in judged(room.ON_MNIST, {"cifar10": facts["cifar10"]}).reason


def test_nets_that_do_not_fit_are_drawn_and_not_judged():
    facts, _ = measured_and_drawn(room, tables(fits=10**9), CONTEXT)
    assert judged(room.ON_CIFAR10, facts).verdict == "not tested"
