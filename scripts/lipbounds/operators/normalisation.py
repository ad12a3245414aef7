"""Normalisation by stored statistics, which is affine, and by those of the input, which is not."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lipbounds.graph import Node
from lipbounds.maps import Scaling, certified
from lipbounds.operators.table import Affine, Behaviour, LayerConstant, Range, operators, weight_of
from lipbounds.rounding import UNIT_ROUNDOFF, product_up, quotient_up, sqrt_up, sum_up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis


@operators(
    "_native_batch_norm_legit_no_training.default", "batch_norm.default", "native_batch_norm.default",
    constant="max |gamma| / sqrt(var + eps), merged into the neighbouring layer",
    source="eval mode is affine",
    tightness="exact",
)  # fmt: skip
def _batch_norm(
    q: "Analysis",
    node: Node,
    input: Node,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
    training: bool = False,
    cudnn_enabled: bool = False,
) -> Behaviour:
    _refuse_statistics(node)
    if training or running_var is None:
        raise ValueError("takes its statistics from the batch; samples must not mix")
    if any(isinstance(value, Node) for value in (weight, bias, running_mean, running_var)):
        raise ValueError("its statistics or weights depend on the input")
    scale = (weight_of(running_var, "running_var") + eps).rsqrt()
    if not scale.isfinite().all():
        norm = certified(math.inf, "running_var + eps is 0 or less")
        return LayerConstant(norm, norm.how, input)
    if weight is not None:
        scale = scale * weight_of(weight)
    rounding = 8 * UNIT_ROUNDOFF * scale.abs().max().item()
    factors = scale.view(-1, *[1] * (len(input.shape) - 2))
    return Affine([(input, (Scaling(factors, rounding, "largest |gamma| / sqrt(var + eps)"),))])


_STATISTICS: dict[str, Any] = {
    "constant": "max |gamma| / sqrt(eps)",
    "source": "J = (I - 1 1^T / n - z z^T / n) / sqrt(var + eps)",
    "tightness": "attained at constant inputs",
}


@operators("layer_norm.default", "native_layer_norm.default", **_STATISTICS)
def _layer_norm(
    q: "Analysis",
    node: Node,
    input: Node,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Behaviour:
    axes = len(normalized_shape)
    return _normalised(q, node, input, weight, bias, eps, math.prod(normalized_shape), tokens=axes == 1)


@operators("rms_norm.default", "_fused_rms_norm.default", **_STATISTICS)
def _rms_norm(
    q: "Analysis",
    node: Node,
    input: Node,
    normalized_shape: Sequence[int],
    weight: Any,
    eps: float,
) -> Behaviour:
    count = math.prod(normalized_shape)
    return _normalised(q, node, input, weight, None, eps, count, tokens=len(normalized_shape) == 1)


@operators("group_norm.default", **_STATISTICS)
def _group_norm(
    q: "Analysis",
    node: Node,
    input: Node,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Behaviour:
    count = math.prod(input.shape[1:]) // num_groups
    return _normalised(q, node, input, weight, bias, eps, count, tokens=False)


@operators("instance_norm.default", **_STATISTICS)
def _instance_norm(
    q: "Analysis",
    node: Node,
    input: Node,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Behaviour:
    if not use_input_stats:
        return _batch_norm(q, node, input, weight, bias, running_mean, running_var, momentum, eps)
    return _normalised(q, node, input, weight, bias, eps, math.prod(input.shape[2:]), tokens=False)


@operators("_native_batch_norm_legit.no_stats", **_STATISTICS)
def _batch_statistics(
    q: "Analysis",
    node: Node,
    input: Node,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Behaviour:
    count = input.shape[0] * math.prod(input.shape[2:])
    return _normalised(q, node, input, weight, bias, eps, count, tokens=False)


def _refuse_statistics(node: Node) -> None:
    if node.output:
        raise ValueError("returns the statistics as well, whose constants are not known")


def _normalised(
    q: "Analysis",
    node: Node,
    source: Node,
    weight: Any,
    bias: Any,
    eps: float,
    count: int,
    *,
    tokens: bool,
) -> LayerConstant:
    """Groups of ``count`` entries over their own deviation. With ``tokens`` each is a token."""
    _refuse_statistics(node)
    if q.ord != 2:
        raise ValueError(f"the constant is known for ord=2 only, not {q.ord}")
    if isinstance(weight, Node) or isinstance(bias, Node):
        raise ValueError("its weight or bias depends on the input")
    gain = 1.0 if weight is None else weight_of(weight).abs().max().item()
    shift = 0.0 if bias is None else weight_of(bias, "the bias").abs().max().item()
    length = 0.0 if bias is None else weight_of(bias, "the bias").norm().item() * (1 + 1e-9)
    value = product_up([gain, quotient_up(1.0, math.sqrt(eps)) * (1 + 1e-15)]) if eps > 0 else math.inf
    peak = sum_up([product_up([gain, sqrt_up(count)]), shift])
    token = sum_up([product_up([gain, sqrt_up(count)]), length]) if tokens else math.inf
    how = "largest |gamma| / sqrt(eps)"
    return LayerConstant(certified(value, how), how, source, Range(-peak, peak), token)
