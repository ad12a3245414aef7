"""Complex numbers, as pairs of real ones: norms are those of the pairs, and known for ord=2 only."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lipbounds.graph import Node
from lipbounds.maps import certified
from lipbounds.operator_norm import linear_norm
from lipbounds.operators.table import (
    Behaviour,
    Elementwise,
    Joined,
    LayerConstant,
    Range,
    Slopes,
    operators,
)
from lipbounds.rounding import gamma, product_up, quotient_up, sqrt_up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

_ANY = Range()


def constant(q: "Analysis", source: Node, value: float, how: str, range: Range = _ANY) -> LayerConstant:
    """A constant in the 2-norm. Raises ``ValueError`` for other norms."""
    if q.ord != 2:
        raise ValueError(f"complex numbers are known for ord=2 only, not {q.ord}")
    return LayerConstant(certified(value, how), how, source, range)


@operators(
    "view_as_complex.default", "view_as_real.default", "_conj.default", "_conj_physical.default",
    constant="1", source="the same numbers", tightness="exact", complex=True,
)  # fmt: skip
def _same_numbers(q: "Analysis", node: Node, self: Node) -> Behaviour:
    return constant(q, self, 1.0, "the same numbers")


@operators(
    "complex.default",
    constant="norm of the vector of both constants",
    source="side by side",
    tightness="exact for parts that depend on different entries",
    complex=True,
)
def _complex(q: "Analysis", node: Node, real: Any, imag: Any) -> Behaviour:
    varying = [part for part in (real, imag) if isinstance(part, Node)]
    if q.ord != 2 or any(part.shape != node.shape for part in varying):
        raise ValueError("complex numbers are known for ord=2 and parts of the same shape only")
    return Joined(varying)


@operators("abs.default", constant="1", source="triangle inequality", tightness="exact", complex=True)
def _abs(q: "Analysis", node: Node, self: Node) -> Behaviour:
    positive = Range(0.0, math.inf)
    if self.dtype.is_complex:
        return constant(q, self, 1.0, "modulus", positive)
    return Elementwise(self, Slopes(-1.0, 1.0), positive)


@operators(
    "_fft_r2c.default", "_fft_c2c.default",
    constant="root of the number of entries that are transformed together, unless normalized",
    source="unitary up to scale",
    tightness="exact",
    complex=True,
)  # fmt: skip
def _fft(
    q: "Analysis", node: Node, self: Node, dim: Sequence[int], normalization: int, **options: Any
) -> Behaviour:
    count = math.prod(self.shape[axis] for axis in dim)
    return constant(q, self, _transform(count, normalization), f"transforms {count} entries")


@operators(
    "_fft_c2r.default",
    constant="root of twice the number of entries that are transformed together, unless normalized",
    source="entries that are left out are those that are there, conjugated",
    tightness="exact for 3 or more entries along the last axis",
    complex=True,
)
def _half_fft(
    q: "Analysis", node: Node, self: Node, dim: Sequence[int], normalization: int, **options: Any
) -> Behaviour:
    count = math.prod(node.shape[axis] for axis in dim)
    value = product_up([math.nextafter(math.sqrt(2), 2), _transform(count, normalization)])
    return constant(q, self, value, f"transforms to {count} entries")


def _transform(count: int, normalization: int) -> float:
    """Norm of a discrete Fourier transform that is not, by the root of, or by ``count`` normalized."""
    return [sqrt_up(count), 1.0, quotient_up(1.0, math.sqrt(count)) * (1 + 1e-15)][normalization]


def wide(factor: Any) -> Tensor:
    """A number or tensor in double precision; numbers of Python would be rounded to single."""
    return torch.as_tensor(factor, dtype=torch.complex128, device="cpu").detach()


def scaled(q: "Analysis", node: Node, x: Node, factor: Any) -> LayerConstant:
    """Products of complex numbers with constants, which may copy entries of x."""
    factors = wide(factor)
    if not torch.view_as_real(factors).isfinite().all():
        raise ValueError("a factor has NaN or infinite entries")
    largest = torch.view_as_real(factors).abs().amax().item()
    if largest == 0:
        return constant(q, x, 0.0, "largest |factor|")
    squares = (factors / largest).abs().square().expand(node.shape)
    copies = squares.numel() // max(1, math.prod(x.shape))
    sums = squares.sum_to_size(x.shape).max().item() * (1 + gamma(copies + 8))
    return constant(q, x, product_up([sqrt_up(sums), largest]), "largest |factor|")


def times(q: "Analysis", node: Node, x: Node, weight: Tensor, count: int) -> LayerConstant:
    """Products with complex matrices (..., n, m), which take ``count`` entries of x, copies included."""
    wide = weight.detach().cpu().to(torch.complex128)
    real, imag = wide.real, wide.imag
    pairs = torch.cat([torch.cat([real, -imag], -1), torch.cat([imag, real], -1)], -2)
    value = (
        max(linear_norm(w).value for w in pairs.flatten(0, -3))
        if pairs.dim() > 2
        else linear_norm(pairs).value
    )
    copies = max(1, count // max(1, math.prod(x.shape)))
    return constant(q, x, product_up([value, sqrt_up(copies)]), "norm of complex matrices")
