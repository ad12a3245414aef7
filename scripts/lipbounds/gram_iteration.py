"""Gram iteration of batches of matrices and its gradient, both in closed form.

What :mod:`lipbounds.operator_norm.gram`, which has the theory, and training have in common. It
stands apart so that training does not depend on the code of the bounds. Matrices are (..., m, n),
float32, float64 or complex.
"""

import torch
from torch import Tensor


def gram_norm_and_gradient(weight: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    """The value of ``steps`` Gram products (0 or more) and its gradient, (...) and (..., m, n).

    For training loops that write their own backward pass: nothing is recorded for autograd, which
    for small matrices costs more than the computation.
    """
    with torch.no_grad(), full_precision(weight):
        value, *saved = iterated(weight, steps)
        return value, pulled_back(torch.ones_like(value), *saved)


def iterated(weight: Tensor, steps: int) -> list[Tensor]:
    """The values of matrices (..., m, n) after ``steps`` products, then what ``pulled_back`` needs.

    With ``f_t`` the Frobenius norm that Gram t is divided by, the value is the largest modulus of
    the matrix times ``prod_t f_t^(2^-t)``.
    """
    largest = weight.abs().amax((-2, -1), keepdim=True)
    unit = weight / _positive(largest)
    if steps == 0:
        norm = torch.linalg.matrix_norm(unit, keepdim=True)
        return [(norm * largest).squeeze((-2, -1)), unit, _positive(norm).reciprocal()]
    gram = unit.mH @ unit if unit.shape[-2] > unit.shape[-1] else unit @ unit.mH
    grams: list[Tensor] = []
    norms: list[Tensor] = []
    for step in range(1, steps + 1):
        norms.append(torch.linalg.matrix_norm(gram, keepdim=True))
        grams.append(gram / _positive(norms[-1]))
        if step < steps:
            gram = grams[-1] @ grams[-1]
    logs = nonzero(torch.cat(norms, -1)).log()
    roots = logs.new_tensor([2.0**-step for step in range(1, steps + 1)])
    root = (logs * roots).sum(-1, keepdim=True)
    # of G/s H^(2^T - 1) in terms of the unit and the scaled Grams
    factor = ((logs * (2 * roots - 1)).sum(-1, keepdim=True) - root).exp()
    return [(root.exp() * largest).squeeze((-2, -1)), unit, factor, *grams]


def pulled_back(upstream: Tensor, unit: Tensor, factor: Tensor, *grams: Tensor) -> Tensor:
    """The gradient for ``upstream`` (...), from what ``iterated`` has kept."""
    factor = factor * upstream[..., None, None]
    if not grams:
        return unit * factor
    power = grams[0]
    for gram in grams[1:]:
        power = power @ gram
    power = power * factor
    return unit @ power if unit.shape[-2] > unit.shape[-1] else power @ unit


def _positive(norms: Tensor) -> Tensor:
    """Norms to divide by: what is divided by those that are 0 is 0, so any positive number will do."""
    return norms.clamp_min(torch.finfo(norms.dtype).tiny)


def full_precision(tensor: Tensor) -> torch.autocast:
    """Autocast off: it would form the products in half precision, and the value would be no bound."""
    return torch.autocast(tensor.device.type, enabled=False)


def nonzero(values: Tensor) -> Tensor:
    """The values with 1 for those that are 0."""
    return torch.where(values == 0, 1.0, values)
