"""Claims of the paper about nets and data that are not here: no figure can speak against them."""

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError


@claim(
    "C6",
    "The upper bound explodes with depth, to 40 decades above the lower one",
    reported="1e27 for ResNet-50 at initialisation",
    unit="log10 of C_upper / C_lower",
)
def grows_with_depth() -> Finding:
    """Not tested: needs ResNet-50 trained on ImageNet."""
    raise UntestedError("needs ResNet-50 trained on ImageNet, not here; depth of small nets is C23")


@claim("C30", "Jacobian norms of ResNets have a long tail")
def long_tails() -> Finding:
    """Not tested: needs ResNet-20 and ResNet-56 trained on CIFAR-10."""
    raise UntestedError("needs ResNets trained on CIFAR-10, not here")
