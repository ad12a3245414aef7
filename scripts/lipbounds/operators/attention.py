"""Dot-product attention: Lipschitz only where its tokens are bounded."""

import math
from typing import TYPE_CHECKING, Any

from lipbounds.graph import Node
from lipbounds.operators.table import Behaviour, Bounded, Range, operators
from lipbounds.rounding import Extended, quotient_up, sqrt_up, up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis


@operators(
    "scaled_dot_product_attention.default",
    constant="infinite; on tokens of norm at most Q, K and V see the source",
    source="sqrt(n) |dv| + s V (K |dq| + sqrt(n) Q |dk|) for n queries and logits s q k^T",
    tightness="not tight",
)
def _attention(
    q: "Analysis",
    node: Node,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Behaviour:
    """From the Jacobian: ``do_i = sum_j P_ij dv_j + s Cov_i(v, k) dq_i + s sum_j P_ij (v_j - o_i) q_i .
    dk_j``. |P| <= sqrt(n) as its rows sum to 1, |Cov_i| <= V K, and the last sum has norm at most
    Q (sum_j P_ij |v_j - o_i|^2)^(1/2) <= Q V in each row. A constant mask changes P only.
    """
    parts = (query, key, value)
    if isinstance(attn_mask, Node) or not all(isinstance(part, Node) for part in parts):
        raise ValueError("its mask depends on the input, or a query, key or value does not")
    if dropout_p or enable_gqa or not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        raise ValueError("attention with dropout or shared heads is not supported")
    if q.ord != 2:
        raise ValueError(f"the bound of attention is for ord=2 only, not {q.ord}")
    factor = quotient_up(1.0, math.sqrt(query.shape[-1])) * (1 + 1e-15) if scale is None else abs(scale)
    tokens = [q.ranges.token(part) for part in parts]
    sizes = [Extended.of(token) for token in tokens]
    bounds = [q.bound(part, last=True) for part in parts]
    root = Extended.of(sqrt_up(query.shape[-2]))
    logits = Extended.of(up(factor))
    bound = (
        root * bounds[2]
        + logits * sizes[2] * sizes[1] * bounds[0]
        + logits * root * sizes[2] * sizes[0] * bounds[1]
    )
    how = "local bound on the tokens reached" if bound.value < math.inf else "unbounded; give a radius"
    return Bounded(bound, how, q.ranges.of(value).hull(Range(0.0, 0.0)), tokens[2])
