"""AutoLip and SeqLip: bounds of fully connected nets by norms, and by vertices."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from lipbounds.bounds import upper_bound
from lipbounds.bounds.chain import Chain, product
from lipbounds.bounds.seqlip import (
    exact_pair_factor,
    greedy_pair_factor,
    seqlip,
    seqlip_theorem_bound,
)
from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import linear_norm
from papers.beyond.bound_claims.evidence import (
    T_INTERVAL,
    THIS_PROJECT,
    VIRMAUX_SCAMAN_2018,
    Evidence,
    claim,
    universal,
    within,
)
from papers.beyond.bound_claims.instances import ROUNDING, chains, normal
from pipeline.measuring.chain_methods import as_module, exact_maximum

if TYPE_CHECKING:
    from pipeline.claims.findings import Verdict

RELU = (0.0, 1.0)
"""Least and largest slope."""


@claim(
    "A1",
    VIRMAUX_SCAMAN_2018,
    "AutoLip of a chain is the product of the layers' norms, and above all Jacobian norms",
    figure="tightness",
)
def autolip_is_a_bound(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net AutoLip equals the product of the layers' norms to rounding and
    is at least the Jacobian norm at each of 200 normal points."""
    violated = []
    for chain in chains(instances, generator):
        model = as_module(chain)
        points = normal(generator, 200, chain.weights[0].shape[1])
        value = upper_bound(model, (points.shape[1],)).value
        norms = math.prod(linear_norm(weight).value for weight in chain.weights)
        reached = jacobian_norms(model, points).max().item()
        violated.append(abs(value / norms - 1) > ROUNDING or reached > value)
    return universal(violated)


@claim(
    "A2",
    VIRMAUX_SCAMAN_2018,
    "The largest norm over slopes in [0, 1] is attained with slopes 0 and 1",
    figure="tightness",
)
def maximum_is_at_a_vertex(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random pair of matrices no one of 500 uniform diagonals in [0, 1] gives a
    norm above the largest vertex."""
    violated = []
    for _ in range(instances):
        left, right = normal(generator, 4, 6), normal(generator, 6, 3)
        inside = torch.rand(500, 6, dtype=torch.float64, generator=generator)
        norms = torch.linalg.matrix_norm((left * inside[:, None]) @ right, 2)
        violated.append(norms.max().item() > exact_pair_factor(left, right, RELU).value)
    return universal(violated)


@claim(
    "A3",
    VIRMAUX_SCAMAN_2018,
    "SeqLip lies between the exact maximum over slopes and AutoLip",
    figure="tightness",
)
def seqlip_lies_between(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net exact SeqLip is at least the largest norm over all activation
    patterns, and at most AutoLip."""
    violated = []
    for chain in chains(instances, generator):
        bound = seqlip(chain, pairs="exact").value
        below = exact_maximum(chain).value * (1 - ROUNDING) > bound
        violated.append(below or bound > product(chain).value)
    return universal(violated)


@claim(
    "A4",
    VIRMAUX_SCAMAN_2018,
    "SeqLip is at most the closed form in ratios of singular values and overlaps",
    figure="seqlip_ideal",
)
def theorem_is_a_bound(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net, half of them with one dominant singular value per layer, exact
    SeqLip is at most the closed form of the theorem."""
    violated = []
    for index, chain in enumerate(chains(instances, generator)):
        tried = _dominated(chain) if index % 2 else chain
        bound = seqlip_theorem_bound(tried).value
        violated.append(seqlip(tried, pairs="exact").value > bound * (1 + ROUNDING))
    return universal(violated)


@claim(
    "A5",
    VIRMAUX_SCAMAN_2018,
    "SeqLip / AutoLip tends to 1/pi per activation for dominant random directions",
    figure="seqlip_ideal",
    since="2026-11-28",
    changes=T_INTERVAL,
)
def one_over_pi(instances: int, generator: torch.Generator) -> Evidence:
    """The pair factor of uniform directions is taken at widths 400 and 1600 and extrapolated to
    infinite width, where its error of order 1/sqrt(width) vanishes. Estimate: the mean, times pi.
    Holds if its interval lies in [0.95, 1.05]."""
    limits = []
    for _ in range(instances):
        narrow, wide = (_mean_pair_factor(width, generator) for width in (400, 1600))
        limits.append(math.pi * (2 * wide - narrow))
    return within(limits, 0.95, 1.05, "mean factor of an activation, times pi")


@claim(
    "A6",
    THIS_PROJECT,
    "Greedy SeqLip is no upper bound: never above SeqLip, and sometimes strictly below",
    figure="seqlip_mlp",
)
def greedy_is_below(instances: int, generator: torch.Generator) -> Evidence:
    """On random pairs of matrices, greedy search against enumeration. Holds if greedy is never above
    the maximum and below it by more than rounding on some. Estimate: the share where it is below."""
    above, below = [], []
    for _ in range(instances):
        left, right = normal(generator, 8, 10), normal(generator, 10, 8)
        exact = exact_pair_factor(left, right, RELU).value
        greedy = greedy_pair_factor(left, right, RELU).value
        above.append(greedy > exact)
        below.append(greedy < exact * (1 - 1e-6))
    found = universal(below)
    verdict: Verdict = "does not hold" if any(above) else "holds" if any(below) else "holds in part"
    return replace(
        found, violations=sum(above), verdict=verdict, unit="share where greedy search is below"
    )


def _dominated(chain: Chain) -> Chain:
    """The chain with all singular values but the largest of each layer divided by twenty."""
    weights = []
    for weight in chain.weights:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        values[1:] /= 20
        weights.append((left * values) @ right)
    return Chain(tuple(weights), chain.slopes)


def _mean_pair_factor(width: int, generator: torch.Generator) -> float:
    """Mean over 50 pairs of the maximum of |<D u, v>| over vertices D, for uniform directions."""
    directions = nn.functional.normalize(normal(generator, 2, 50, width), dim=2)
    terms = directions[0] * directions[1]
    return torch.maximum(terms.clamp_min(0).sum(1), -terms.clamp_max(0).sum(1)).mean().item()
