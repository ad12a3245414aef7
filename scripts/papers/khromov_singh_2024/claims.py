"""Claims of the paper about nets and data that are not here: no figure can speak against them."""

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError


@claim(
    "C30",
    "Jacobian norms of ResNets have a long tail",
    refuted="The largest norms are no further from the mean than those of a normal distribution.",
    untested="Always, here: it needs ResNets trained on images.",
    since="2026-11-21",
)
def long_tails() -> Finding:
    """Not tested: needs ResNet-20 and ResNet-56 trained on CIFAR-10."""
    raise UntestedError("needs ResNets trained on CIFAR-10, not here")
