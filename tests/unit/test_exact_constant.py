"""The exact constant of narrow nets against brute force over points and over all patterns."""

from itertools import product

import numpy as np
import pytest
import torch

from lipbounds.bounds.seqlip import seqlip
from lipbounds.jacobian import jacobian_norms
from nets.models.fcn import seeded_fcn
from pipeline.measuring.chain_methods import relu_chain
from pipeline.measuring.exact_constant import exact_constant

pytestmark = pytest.mark.usefixtures("single_threaded")


def weights(seed, inputs=6, hidden=4, outputs=3):
    net = seeded_fcn(seed, inputs, [hidden], outputs).double()
    return net, net[0].weight.detach(), net[2].weight.detach()


def steepest_of_many(net, first):
    """At points that reach every positive hidden vector: f depends on W1 x alone, which is onto."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(20_000, len(first), dtype=torch.float64, generator=generator)
    # also vectors that are close to the axes, which normal ones seldom are
    hidden *= torch.rand(hidden.shape, dtype=torch.float64, generator=generator) ** 6
    return jacobian_norms(net, hidden @ torch.linalg.pinv(first).T).max().item()


@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_many_points_come_to(seed):
    net, first, second = weights(seed)
    assert exact_constant(first, second, 0.0, 0.0) == pytest.approx(
        steepest_of_many(net, first), rel=1e-9
    )


def test_outputs_that_cannot_be_on_together_are_told_apart():
    # one hidden neuron, and outputs of opposite sign: only one of them is ever on
    first = torch.tensor([[3.0, 0.0], [0.0, 0.001]])
    second = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
    assert exact_constant(first, second, 0.0, 0.0) == pytest.approx(3)
    assert exact_constant(first, second, 1.0, 0.0) == pytest.approx(3 * 5**0.5)
    assert exact_constant(first, second, 0.1, 0.0) == pytest.approx(3 * (1 + 0.2**2) ** 0.5)


def test_linear_outputs_need_no_decision():
    _, first, second = weights(3)
    patterns = (torch.tensor(p, dtype=torch.float64) for p in product((0, 1), repeat=len(first)))
    largest = max(np.linalg.norm((second * p @ first).numpy(), 2) for p in patterns)
    assert exact_constant(first, second, 1.0, 0.0) == pytest.approx(largest)


def test_it_is_below_the_certified_bound_and_never_below_what_is_known():
    _, first, second = weights(5, inputs=8, hidden=6, outputs=4)
    value = exact_constant(first, second, 0.0, 0.0)
    assert value <= seqlip(relu_chain([first, second])).value
    assert exact_constant(first, second, 0.0, 0.9 * value) == pytest.approx(value)
    assert exact_constant(first, second, 0.0, 2 * value) == 2 * value


def test_dependent_rows_are_refused():
    with pytest.raises(ValueError, match="linearly dependent"):
        exact_constant(torch.ones(2, 3), torch.ones(2, 2), 0.0, 0.0)
