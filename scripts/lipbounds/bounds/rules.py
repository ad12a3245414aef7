"""What is known of each layer, by module type.

A rule takes the module and the shape of its input without the batch dimension, and says what the
layer is: a linear map (:mod:`lipbounds.bounds.linear`), elementwise
(:class:`~lipbounds.bounds.activations.Slopes`), something of which only a constant is known
(:class:`LayerConstant`), or something that has a constant only on bounded sets (:class:`Local`).
A type without a rule raises :class:`UnknownLayerError`; it is never counted as 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from lipbounds.bounds.activations import ACTIVATIONS, Slopes
from lipbounds.bounds.linear import Filter, Known, LinearMap, Matrix, Rearrangement, Scaling, Shape
from lipbounds.operator_norm import OperatorNorm, linear_norm
from lipbounds.operator_norm.convolution import Convolution, copies
from lipbounds.rounding import UNIT_ROUNDOFF, product_up, quotient_up, sqrt_up, sum_up, up


@dataclass(frozen=True)
class LayerConstant:
    """A layer's Lipschitz constant and a few words on how it was obtained."""

    norm: OperatorNorm
    how: str


@dataclass(frozen=True)
class Local:
    """A layer that is Lipschitz only where its input is bounded.

    ``constant`` maps the largest 2-norm of a token (a vector along the last axis) to a constant in
    the 2-norm.
    """

    constant: Callable[[float], OperatorNorm]
    how: str


Behaviour: TypeAlias = LinearMap | Slopes | LayerConstant | Local


@dataclass(frozen=True)
class Rule:
    """``behaviour`` and, for the table in the docs, the constant, its source and how tight it is."""

    behaviour: Callable[..., Behaviour]
    constant: str = ""
    source: str = ""
    tightness: str = ""


RULES: dict[type[nn.Module], Rule] = {}

_AnyRule = TypeVar("_AnyRule", bound=Callable[..., Behaviour])


def register_rule(
    *types: type[nn.Module], constant: str = "", source: str = "", tightness: str = ""
) -> Callable[[_AnyRule], _AnyRule]:
    """Decorator that makes a function the rule of the given module types (exact type match).

    The function takes (module, input_shape, ord). The keywords are for the table in the docs.

    Example
    -------
    >>> @register_rule(MyLayer)
    ... def my_layer(module, input_shape, ord):
    ...     return LayerConstant(OperatorNorm(2.0, "upper", certified=True), "|f'| <= 2")
    """

    def register(rule: _AnyRule) -> _AnyRule:
        for module_type in types:
            RULES[module_type] = Rule(rule, constant, source, tightness)
        return rule

    return register


class UnknownLayerError(LookupError):
    """A module or function whose Lipschitz constant is not known."""

    def __init__(self, path: str, layer: nn.Module | str) -> None:
        if isinstance(layer, nn.Module):
            name = type(layer).__qualname__
            advice = f"Register a rule for it: @lipbounds.bounds.register_rule({name})"
        else:
            name = layer
            advice = (
                "Put the call into a module of its own and register a rule for that: "
                "@lipbounds.bounds.register_rule(YourModule)"
            )
        super().__init__(
            f"the Lipschitz constant of {path or 'the model itself'} ({name}) is not known. {advice}"
        )
        self.path = path
        self.layer = layer


def layer_behaviour(path: str, module: nn.Module, input_shape: Shape, ord: float) -> Behaviour:
    """What is known of one layer. Raises :class:`UnknownLayerError` for a type without a rule."""
    rule = RULES.get(type_of(module))
    if rule is None:
        raise UnknownLayerError(path, module)
    return rule.behaviour(module, input_shape, ord)


def type_of(module: nn.Module) -> type[nn.Module]:
    """The module's type; that of the layer itself where its weight is parametrized."""
    return type_before_parametrizations(module) if is_parametrized(module) else type(module)


def certified(value: float, how: str) -> OperatorNorm:
    """An upper bound that is proved."""
    return OperatorNorm(value, "upper", certified=True, how=how)


def weight_of(layer: nn.Module, name: str = "weight") -> Tensor:
    """A parameter as float64 on the CPU. Raises ``ValueError`` for NaN or infinite entries."""
    tensor = getattr(layer, name).detach().cpu().to(torch.float64)
    if not tensor.isfinite().all():
        raise ValueError(f"{name} of {type(layer).__name__} has NaN or infinite entries")
    return tensor


# Activations

for _type in ACTIVATIONS:
    register_rule(
        _type,
        constant="largest |slope|",
        source="derivative, checked in 30-digit arithmetic",
        tightness="exact",
    )(lambda module, input_shape, ord: ACTIVATIONS[type_of(module)](module))


@register_rule(
    nn.Softmax,
    nn.Softmin,
    nn.Softmax2d,
    constant="1/2",
    source="|diag(p) - p p^T| <= 1/2",
    tightness="exact",
)
def _softmax(module: nn.Module, input_shape: Shape, ord: float) -> LayerConstant:
    return LayerConstant(certified(0.5, "1/2"), "1/2")


@register_rule(
    nn.LogSoftmax, constant="sqrt(n)", source="|I - 1 p^T| = sqrt(n) |p|", tightness="exact for n >= 2"
)
def _log_softmax(module: nn.LogSoftmax, input_shape: Shape, ord: float) -> LayerConstant:
    _only_2(ord, module)
    axis = module.dim if module.dim is not None else 1
    size = input_shape[axis if axis < 0 else axis - 1]
    return LayerConstant(certified(sqrt_up(size), "root of the number of classes"), "sqrt(n)")


@register_rule(
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
    nn.ZeroPad3d,
    constant="1",
    source="moves entries, adds zeros, or does nothing in eval mode",
    tightness="exact",
)
def _rearrangement(module: nn.Module, input_shape: Shape, ord: float) -> Rearrangement:
    return Rearrangement(module)


@register_rule(
    nn.ConstantPad1d,
    nn.ConstantPad2d,
    nn.ConstantPad3d,
    constant="1",
    source="affine",
    tightness="exact",
)
def _constant_pad(module: nn.Module, input_shape: Shape, ord: float) -> Rearrangement:
    return Rearrangement(lambda x: functional.pad(x, module.padding))  # type: ignore[arg-type]


# Dense layers and convolutions


@register_rule(
    nn.Linear,
    constant="norm of the weight",
    source="Gram matrix and Cholesky certificate",
    tightness="1e-10",
)
def _linear(module: nn.Linear, input_shape: Shape, ord: float) -> Matrix:
    return Matrix(weight_of(module))


_Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
_TransposedConvolution: TypeAlias = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


@register_rule(
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    constant="largest symbol on a torus of input and padding",
    source="compression of a circular convolution; polyphase for strides",
    tightness="exact for circular padding; 1e-3 or better for zero padding of large inputs",
)
def _convolution(module: _Convolution, input_shape: Shape, ord: float) -> Filter:
    geometry = Convolution.of(
        tuple(module.kernel_size),
        input_shape[1:],
        stride=tuple(module.stride),
        padding=module.padding if isinstance(module.padding, str) else tuple(module.padding),
        dilation=tuple(module.dilation),
        groups=module.groups,
        padding_mode=module.padding_mode,
    )
    return Filter(weight_of(module), geometry)


@register_rule(
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    constant="norm of the convolution that it transposes",
    source="as for convolutions",
    tightness="as for convolutions",
)
def _transposed_convolution(module: _TransposedConvolution, input_shape: Shape, ord: float) -> Filter:
    padding = [int(p) for p in module.padding]
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(
            input_shape[1:],
            module.stride,
            padding,
            module.dilation,
            module.kernel_size,
            module.output_padding,
            strict=True,
        )
    )
    geometry = Convolution.of(
        tuple(module.kernel_size),
        size,
        stride=tuple(module.stride),
        padding=tuple(padding),
        dilation=tuple(module.dilation),
        groups=module.groups,
    )
    return Filter(weight_of(module), geometry, transposed=True)


# Normalisation


@register_rule(
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    constant="max |gamma| / sqrt(var + eps), folded into the neighbouring layer",
    source="eval mode is affine",
    tightness="exact",
)
def _batch_norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, input_shape: Shape, ord: float
) -> Behaviour:
    if module.running_var is None:
        raise ValueError("takes its statistics from the batch also in eval mode; samples must not mix")
    variance = weight_of(module, "running_var")
    scale = (variance + module.eps).rsqrt()
    if not scale.isfinite().all():
        return LayerConstant(certified(math.inf, "running_var + eps is 0 or less"), "unbounded")
    if module.affine:
        scale = scale * weight_of(module)
    rounding = 8 * UNIT_ROUNDOFF * scale.abs().max().item()
    return Scaling(scale, 0, rounding, how="largest |gamma| / sqrt(var + eps)")


@register_rule(
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.RMSNorm,
    constant="max |gamma| / sqrt(eps)",
    source="J = (I - 1 1^T / n - z z^T / n) / sqrt(var + eps)",
    tightness="attained at constant inputs",
)
def _input_statistics(module: nn.Module, input_shape: Shape, ord: float) -> Behaviour:
    if getattr(module, "track_running_stats", False):
        return _batch_norm(module, input_shape, ord)  # type: ignore[arg-type]
    return _instance_statistics(module, ord)


def _instance_statistics(module: Any, ord: float) -> LayerConstant:
    _only_2(ord, module)
    gamma = 1.0
    if getattr(module, "weight", None) is not None:
        gamma = weight_of(module).abs().max().item()
    eps = module.eps
    if eps is None:  # RMSNorm takes the smallest step of the input's dtype
        eps = torch.finfo(module.weight.dtype if module.weight is not None else torch.float32).eps
    value = product_up([gamma, up(quotient_up(1.0, math.sqrt(eps))) if eps > 0 else math.inf])
    return LayerConstant(certified(value, "largest |gamma| / sqrt(eps)"), "largest |gamma| / sqrt(eps)")


def _only_2(ord: float, module: nn.Module) -> None:
    if ord != 2:
        raise ValueError(f"the constant of {type(module).__name__} is known for ord=2 only, not {ord}")


# Pooling, padding and resampling act on each axis alone: norms are products over the axes.


@register_rule(
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    constant="root of the largest number of windows that share an entry",
    source="each output is an entry; overlapping windows repeat it",
    tightness="exact",
)
def _max_pool(module: nn.Module, input_shape: Shape, ord: float) -> LayerConstant:
    axes = int(type(module).__name__[-2])
    names = ("kernel_size", "stride", "padding", "dilation")
    options = [_per_axis(getattr(module, name), axes) for name in names]
    counts = []
    for n, k, s, p, d in zip(input_shape[-axes:], *options, strict=True):
        last = n + 2 * p - d * (k - 1) - 1
        windows = (-(-last // s) if module.ceil_mode else last // s) + 1
        index = (torch.arange(windows) * s).unsqueeze(1) + torch.arange(k) * d - p
        inside = index[(index >= 0) & (index < n)]
        counts.append(int(torch.bincount(inside).max()))
    return _windows(counts, ord)


@register_rule(
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    constant="root of the largest number of windows that share an entry",
    source="as for max pooling",
    tightness="exact",
)
def _adaptive_max_pool(module: nn.Module, input_shape: Shape, ord: float) -> LayerConstant:
    axes = int(type(module).__name__[-2])
    counts = []
    for n, out in zip(input_shape[-axes:], _per_axis(module.output_size, axes), strict=True):
        out = n if out is None else out
        windows = [range(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]
        counts.append(max(sum(j in window for window in windows) for j in range(n)))
    return _windows(counts, ord)


def _windows(counts: list[int], ord: float) -> LayerConstant:
    count = math.prod(counts)
    how = f"an entry is in up to {count} windows" if count > 1 else "windows do not overlap"
    return LayerConstant(certified(_repeated(count, ord).value, how), how)


def _repeated(count: int, ord: float) -> OperatorNorm:
    """Norm of a selection that takes some entry ``count`` times and no two into one output."""
    value = {1: float(count), 2: sqrt_up(count), math.inf: 1.0}[ord]
    return certified(value, "entries repeated")


def _per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,) * axes


@register_rule(
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    constant="product over the axes of the norms of averaging along them",
    source="linear and separable",
    tightness="1e-10",
)
def _average_pool(module: Any, input_shape: Shape, ord: float) -> Known:
    axes = int(type(module).__name__[-2])
    if hasattr(module, "output_size"):
        sizes = _per_axis(module.output_size, axes)
        matrices = [
            functional.adaptive_avg_pool1d(_basis(n), n if out is None else out)[0].T
            for n, out in zip(input_shape[-axes:], sizes, strict=True)
        ]
        return _separable(matrices, module)
    kernel, stride, padding = (
        _per_axis(getattr(module, name), axes) for name in ("kernel_size", "stride", "padding")
    )
    matrices = [
        functional.avg_pool1d(_basis(n), k, s, p, module.ceil_mode, module.count_include_pad)[0].T
        for n, k, s, p in zip(input_shape[-axes:], kernel, stride, padding, strict=True)
    ]
    if getattr(module, "divisor_override", None):
        if module.ceil_mode or not module.count_include_pad:
            raise ValueError("divisor_override with partial windows is not supported")
        matrices[0] = matrices[0] * (math.prod(kernel) / module.divisor_override)
    return _separable(matrices, module)


def _basis(size: int) -> Tensor:
    """The unit vectors of an axis as channels, (1, size, size)."""
    return torch.eye(size, dtype=torch.float64).unsqueeze(0)


def _separable(matrices: list[Tensor], apply: Callable[[Tensor], Tensor]) -> Known:
    """A map that acts by one matrix (out, in) along each spatial axis; entries off by a few u."""

    def norms(ord: float) -> OperatorNorm:
        each = [linear_norm(matrix, ord=ord).value for matrix in matrices]
        return certified(product_up([*each, 1 + 64 * UNIT_ROUNDOFF]), "one axis at a time")

    return Known(norms, apply)


@register_rule(
    nn.ReplicationPad1d,
    nn.ReplicationPad2d,
    nn.ReplicationPad3d,
    nn.ReflectionPad1d,
    nn.ReflectionPad2d,
    nn.ReflectionPad3d,
    nn.CircularPad1d,
    nn.CircularPad2d,
    nn.CircularPad3d,
    constant="root of the largest number of copies of an entry",
    source="A^T A is diagonal",
    tightness="exact",
)
def _padding(module: nn.Module, input_shape: Shape, ord: float) -> Known:
    axes = int(type(module).__name__[-2])
    mode = {"Repl": "replicate", "Refl": "reflect", "Circ": "circular"}[type(module).__name__[:4]]
    padding = _per_axis(module.padding, 2 * axes)
    pairs = [(padding[2 * i], padding[2 * i + 1]) for i in reversed(range(axes))]
    count = math.prod(copies(mode, n, pair) for n, pair in zip(input_shape[-axes:], pairs, strict=True))
    return Known(lambda order: _repeated(count, order), module)


@register_rule(
    nn.Upsample,
    nn.UpsamplingNearest2d,
    nn.UpsamplingBilinear2d,
    constant="product over the axes of the norms of interpolation along them",
    source="linear and separable",
    tightness="1e-10",
)
def _upsample(module: nn.Upsample, input_shape: Shape, ord: float) -> Known:
    modes = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear"}
    if module.mode not in modes:
        raise ValueError(f"upsampling by {module.mode} is not supported; use nearest or linear modes")
    axes = len(input_shape) - 1
    sizes = _per_axis(module.size, axes)
    factors = _per_axis(module.scale_factor, axes)
    matrices = [
        functional.interpolate(
            _basis(n),
            size=size,
            scale_factor=factor if size is None else None,
            mode=modes[module.mode],
            align_corners=module.align_corners,
            recompute_scale_factor=module.recompute_scale_factor if size is None else None,
        )[0].T
        for n, size, factor in zip(input_shape[1:], sizes, factors, strict=True)
    ]
    return _separable(matrices, module)


# Attention


@register_rule(
    nn.MultiheadAttention,
    constant="infinite; on tokens of norm at most R see the source",
    source="|W_O| sqrt(sum over heads of (|V| (sqrt n + |A| R^2 + sqrt n R (|A| R + |c|)))^2)",
    tightness="not tight; ratios to sampled Jacobians of 0.2 to 0.5",
)
def _attention(module: nn.MultiheadAttention, input_shape: Shape, ord: float) -> Local:
    """Self-attention with logits x^T A y / sqrt(d) + c^T y, from its Jacobian

    (P x I) dv + blkdiag(Cov_i A^T) dx + M dx: |P| <= sqrt n, |Cov_i| <= R^2, and the rows of M have
    norm at most R (|A| R + |c|).
    """
    _only_2(ord, module)
    if not module.batch_first:
        raise ValueError("needs batch_first=True, or samples and tokens cannot be told apart")
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise ValueError("only self-attention with one embedding size and no extra tokens is supported")
    size, heads = module.embed_dim, module.num_heads
    query, key, value = weight_of(module, "in_proj_weight").view(3, heads, size // heads, size)
    bias = torch.zeros(heads, size // heads, dtype=torch.float64)
    if module.in_proj_bias is not None:
        bias = weight_of(module, "in_proj_bias").view(3, heads, -1)[0]
    scale = quotient_up(1.0, math.sqrt(size // heads))
    margin = scale * (1 + 1e-12)
    logits = [up(linear_norm(q.T @ k).value * margin) for q, k in zip(query, key, strict=True)]
    offsets = [up((k.T @ b).norm().item() * margin) for k, b in zip(key, bias, strict=True)]
    values = [linear_norm(v).value for v in value]
    out = linear_norm(weight_of(module.out_proj)).value
    tokens = sqrt_up(input_shape[-2])

    def constant(radius: float) -> OperatorNorm:
        if radius == math.inf:
            return certified(math.inf, "unbounded on the whole space")
        heads_squared = []
        for v, a, c in zip(values, logits, offsets, strict=True):
            row = product_up([radius, sum_up([product_up([a, radius]), c])])
            inner = sum_up([tokens, product_up([a, radius, radius]), product_up([tokens, row])])
            heads_squared.append(product_up([v, v, inner, inner]))
        bound = product_up([out, sqrt_up(sum_up(heads_squared))])
        # norms of products q^T k and of offsets are rounded, which the margins above only estimate
        return OperatorNorm(bound, "upper", certified=False, how=f"tokens of norm <= {radius:.4g}")

    return Local(constant, "self-attention")
