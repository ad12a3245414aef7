"""Claims of the paper about nets and data that are not here: no figure can speak against them."""

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError


@claim(
    "C3",
    "They also grow in convolutional nets, ResNet-50 and transformers",
    reported="slopes 0.29 (CNN), 0.49 (ResNet-50)",
    unit="slope of C_lower",
)
def grows_in_other_nets() -> Finding:
    """Not tested: needs convolutional nets, ResNet-50 and transformers on CIFAR-10 and ImageNet."""
    raise UntestedError("needs CIFAR-10 or ImageNet with convolutional nets or transformers, not here")


@claim("C30", "Jacobian norms of ResNets have a long tail")
def long_tails() -> Finding:
    """Not tested: needs ResNet-20 and ResNet-56 trained on CIFAR-10."""
    raise UntestedError("needs ResNets trained on CIFAR-10, not here")
