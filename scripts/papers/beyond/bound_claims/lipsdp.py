"""LipSDP against the bounds of fully connected nets that need no solver."""

import torch

from lipbounds.bounds.chain import product
from lipbounds.bounds.liplt import liplt
from lipbounds.bounds.lipsdp import eclipse_fast, lipsdp_neuron
from lipbounds.bounds.seqlip import seqlip
from papers.beyond.bound_claims.evidence import NOT_TESTED, SEVERAL, Evidence, claim, universal
from papers.beyond.bound_claims.instances import SIZES, chains
from pipeline.measuring.chain_methods import has_solver


@claim(
    "X1",
    SEVERAL,
    "LipSDP is at most ECLipsE-Fast and LipLT, and these are at most AutoLip",
    figure="tightness",
)
def order_of_bounds(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net LipSDP by a solver is at most ECLipsE-Fast and at most LipLT, both
    at most AutoLip, to a relative 1e-6. Not tested without a solver."""
    if not has_solver():
        return NOT_TESTED
    violated = []
    for chain in chains(instances, generator):
        least = lipsdp_neuron(chain).value * (1 - 1e-6)
        middle = [eclipse_fast(chain, search=False).value, liplt(chain).value]
        violated.append(least > min(middle) or max(middle) > product(chain).value)
    return universal(violated)


@claim(
    "X2",
    SEVERAL,
    "LipSDP is at most SeqLip for three layers and more",
    figure="tightness",
    kind="empirical",
)
def lipsdp_below_seqlip(instances: int, generator: torch.Generator) -> Evidence:
    """Holds if on every random net of three or four layers LipSDP by a solver is at most exact
    SeqLip, to a relative 1e-6. Not tested without a solver."""
    if not has_solver():
        return NOT_TESTED
    violated = []
    for chain in chains(instances, generator, SIZES[1:]):
        bound = lipsdp_neuron(chain).value * (1 - 1e-6)
        violated.append(bound > seqlip(chain, pairs="exact").value)
    return universal(violated)
