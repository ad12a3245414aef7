"""Data-supported lower bounds: the Jacobian norm over a set of points.

Source: Khromov & Singh, ICLR 2024, section 2 (C_lower, the average Jacobian norm C_avg, and the
root mean square that the released code logs beside them).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from lipbounds.jacobian import JacobianNorms, check_arguments
from lipbounds.kinks import norms_beside_kinks
from lipbounds.soundness import refuse_norms
from lipbounds.twin import undisturbed


@dataclass(frozen=True)
class LowerBound:
    """Jacobian norms over a point set: ``mean <= rms <= max <=`` the Lipschitz constant.

    ``max`` is C_lower, ``mean`` is C_avg, ``rms`` is C_rms; ``argmax`` is the index of the point
    that attains the maximum. Units: logits per unit of input. Up to the rounding of the Jacobian
    (relative 1e-7 for float32 models), and 1e-6 where both inputs and outputs are many. A maximum on a
    kink, of which no neighbourhood has the slope, is replaced by what neighbours have.
    """

    max: float
    mean: float
    rms: float
    argmax: int


def lower_bound(
    model: nn.Module, x: Tensor, *, ord: float = 2, batch_size: int | None = None
) -> LowerBound:
    """Lower bound of the Lipschitz constant of ``model`` from the points ``x`` (n, *input).

    Arguments and errors are those of :func:`lipbounds.jacobian.jacobian_norms`.
    """
    check_arguments(x, ord, batch_size)
    with undisturbed(model):
        norms_at = JacobianNorms(model, x)
        norms = norms_beside_kinks(norms_at, x, ord=ord, batch_size=batch_size)
        refuse_norms(norms)
        norms_at.check(x[norms.argmax()])
    return LowerBound(
        max=norms.max().item(),
        mean=norms.mean().item(),
        rms=norms.square().mean().sqrt().item(),
        argmax=int(norms.argmax()),
    )
