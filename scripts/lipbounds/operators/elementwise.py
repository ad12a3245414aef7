"""Functions that act on each entry alone: the interval that holds all their slopes.

The extreme slopes of the smooth ones are rounded outward in the last digit given; a test compares
them with 30-digit arithmetic. A formula that holds on part of the line only looks at the range of its
argument, and says infinite outside of it.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from lipbounds.graph import Node
from lipbounds.maps import Scaling
from lipbounds.operators.table import Affine, Behaviour, Elementwise, Range, Slopes, operators
from lipbounds.rounding import up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

_GELU = 1.1289041452
_GELU_TANH = 1.1289930687
_SILU = 1.0998393202
_MISH_LOW, _MISH_HIGH = -0.1125261224, 1.0884981613
_SELU_HIGH = 1.7580993408473773
_ERF = 1.1283791670955129

_LIBRARY = 1e-12
"""Relative error of exp, log and powers, generously."""

Options: TypeAlias = Mapping[str, Any]
"""The arguments of the operator besides the one that varies."""

_EVERYWHERE = Range()

_DERIVATIVE = "derivative, checked in 30-digit arithmetic"


def _entries(
    *names: str,
    slopes: Callable[[Options], Slopes],
    range: Range | Callable[[Options], Range] = _EVERYWHERE,
    constant: str = "largest |slope|",
) -> None:
    """Registers functions whose slopes depend on their options alone."""

    def rule(q: "Analysis", node: Node, **arguments: Any) -> Behaviour:
        x, options = _only_varying(arguments)
        values = range if isinstance(range, Range) else range(options)
        return Elementwise(x, slopes(options), values)

    operators(*names, constant=constant, source=_DERIVATIVE, tightness="exact")(rule)


def _ranged(
    *names: str,
    slopes: Callable[[Options, Range], Slopes],
    range: Range | Callable[[Options], Range] = _EVERYWHERE,
    constant: str,
) -> None:
    """Registers functions whose slopes depend on where their argument lies."""

    def rule(q: "Analysis", node: Node, **arguments: Any) -> Behaviour:
        x, options = _only_varying(arguments)
        domain = q.ranges.of(x)
        values = range if isinstance(range, Range) else range(options)
        return Elementwise(x, _outward(slopes(options, domain)), values, domain)

    source = "derivative on the range of the argument"
    operators(*names, constant=constant, source=source, tightness="exact on the range")(rule)


def _only_varying(arguments: Options) -> tuple[Node, Options]:
    """The argument that depends on the input, and the others."""
    varying = [name for name, value in arguments.items() if isinstance(value, Node)]
    if len(varying) != 1:
        raise ValueError(f"{' and '.join(varying)} depend on the input, where only one may")
    rest = {name: value for name, value in arguments.items() if name != varying[0]}
    return arguments[varying[0]], rest


def _outward(slopes: Slopes) -> Slopes:
    return Slopes(
        slopes.low - _LIBRARY * abs(slopes.low) if math.isfinite(slopes.low) else slopes.low,
        slopes.high + _LIBRARY * abs(slopes.high) if math.isfinite(slopes.high) else slopes.high,
        slopes.how,
    )


def _hull(*slopes: float) -> Slopes:
    if any(map(math.isnan, slopes)):
        raise ValueError("a slope is NaN")
    return Slopes(min(slopes), max(slopes))


_JUMP = Slopes(0.0, math.inf, "jumps")
_UNBOUNDED = Slopes(-math.inf, math.inf, "unbounded slopes; give a radius")
_POSITIVE = Range(0.0, math.inf)


def _elu(options: Options) -> Slopes:
    alpha, scale, inner = (float(options[name]) for name in ("alpha", "scale", "input_scale"))
    if inner < 0:
        return Slopes(-math.inf, math.inf, "grows exponentially for negative input_scale")
    return _outward(_hull(0.0, scale, scale * inner * alpha))


def _celu(options: Options) -> Slopes:
    if options["alpha"] < 0:
        return Slopes(0.0, math.inf, "grows exponentially for negative alpha")
    return Slopes(0.0, 1.0)


def _gelu(options: Options) -> Slopes:
    largest = _GELU_TANH if options["approximate"] == "tanh" else _GELU
    return Slopes(1 - largest - 1e-10, largest)


def _prelu(options: Options) -> Slopes:
    if "weight" not in options:
        raise ValueError("its slopes depend on the input")
    weight = torch.as_tensor(options["weight"]).detach().double()
    if not weight.isfinite().all():
        raise ValueError("a slope is NaN or infinite")
    return _hull(1.0, weight.min().item(), weight.max().item())


def _rrelu(options: Options) -> Slopes:
    if options["training"]:
        raise ValueError("the slope is random in train mode; call model.eval() first")
    slope = (float(options["lower"]) + float(options["upper"])) / 2
    return _hull(1.0, math.nextafter(slope, -math.inf), up(slope))


def _softplus(options: Options) -> Slopes:
    """Above the threshold torch takes the identity: a jump of log(1 + exp(-threshold)) / beta. At 20,
    the default, it is 2e-9, the rounding of a float32; it is counted as rounding from there on."""
    return Slopes(0.0, 1.0) if options["threshold"] >= 20 else _JUMP


def _threshold(options: Options) -> Slopes:
    return Slopes(0.0, 1.0) if options["threshold"] == options["value"] else _JUMP


def _limits(options: Options) -> Range:
    """What a clamp lets through; with limits the wrong way round all is the upper one."""
    low, high = (
        next((float(options[name]) for name in names if options.get(name) is not None), default)
        for names, default in ((("min", "min_val"), -math.inf), (("max", "max_val"), math.inf))
    )
    if math.isnan(low) or math.isnan(high):
        raise ValueError("a limit is NaN")
    return Range(min(low, high), high)


_UNIT = Slopes(0.0, 1.0)
_entries("relu.default", slopes=lambda o: _UNIT, range=_POSITIVE)
_entries("relu6.default", slopes=lambda o: _UNIT, range=Range(0.0, 6.0))
_entries("leaky_relu.default", slopes=lambda o: _hull(1.0, float(o["negative_slope"])))
_entries("prelu.default", "_prelu_kernel.default", slopes=_prelu)
_entries("rrelu.default", slopes=_rrelu)
_entries("elu.default", slopes=_elu)
_entries("celu.default", slopes=_celu)
_entries("selu.default", slopes=lambda o: Slopes(0.0, _SELU_HIGH))
_entries("gelu.default", slopes=_gelu, range=Range(-0.1701, math.inf))
_entries(
    "silu.default", slopes=lambda o: Slopes(1 - _SILU - 1e-10, _SILU), range=Range(-0.2785, math.inf)
)
_entries("mish.default", slopes=lambda o: Slopes(_MISH_LOW, _MISH_HIGH), range=Range(-0.3089, math.inf))
_entries("hardswish.default", slopes=lambda o: Slopes(-0.5, 1.5), range=Range(-0.3751, math.inf))
_entries("sigmoid.default", slopes=lambda o: Slopes(0.0, 0.25), range=Range(0.0, 1.0))
_entries("hardsigmoid.default", slopes=lambda o: Slopes(0.0, up(1 / 6)), range=Range(0.0, 1.0))
_entries("tanh.default", slopes=lambda o: _UNIT, range=Range(-1.0, 1.0))
_entries(
    "hardtanh.default", "clamp.default", "clamp_min.default", "clamp_max.default",
    slopes=lambda o: _UNIT, range=_limits,
)  # fmt: skip
_entries("softplus.default", slopes=_softplus)
_entries("log_sigmoid.default", slopes=lambda o: _UNIT, range=Range(-math.inf, 0.0))
_entries("lipbounds.softsign.default", slopes=lambda o: _UNIT, range=Range(-1.0, 1.0))
_entries("lipbounds.tanhshrink.default", "lipbounds.softshrink.default", slopes=lambda o: _UNIT)
_entries("lipbounds.hardshrink.default", slopes=lambda o: _UNIT if o["lambd"] <= 0 else _JUMP)
_entries("threshold.default", slopes=_threshold)
_entries("sin.default", "cos.default", slopes=lambda o: Slopes(-1.0, 1.0), range=Range(-1.0, 1.0))
_entries("atan.default", slopes=lambda o: _UNIT, range=Range(-1.5708, 1.5708))
_entries("asinh.default", slopes=lambda o: _UNIT)
_entries("erf.default", slopes=lambda o: Slopes(0.0, _ERF), range=Range(-1.0, 1.0))
_entries("erfc.default", slopes=lambda o: Slopes(-_ERF, 0.0), range=Range(0.0, 2.0))
_entries("nan_to_num.default", slopes=lambda o: Slopes(1.0, 1.0))


# On a range


def _power(exponent: float, r: Range) -> Slopes:
    """Slopes of x^p: p x^(p-1) is monotone on each side of 0."""
    p = float(exponent)
    if p == 0:
        return Slopes(0.0, 0.0)
    if p == 1:
        return Slopes(1.0, 1.0)
    whole = p.is_integer()
    touches_zero = r.low <= 0 <= r.high
    if (r.low < 0 and not whole) or (touches_zero and p < 1):
        return Slopes(-math.inf, math.inf, "not Lipschitz where the argument may be 0 or less")
    ends = [r.low, r.high, *([0.0] if touches_zero else [])]
    if not all(map(math.isfinite, ends)):
        finite = [end for end in ends if math.isfinite(end)]
        if p > 1 or not finite:
            return _UNBOUNDED
        return _hull(0.0, *[p * _pow(end, p - 1) for end in finite])
    return _hull(*[p * _pow(end, p - 1) for end in ends])


def _pow(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf


def _cosh(value: float) -> float:
    return math.cosh(value) if abs(value) < 709 else math.inf


def _sinh(value: float) -> float:
    return math.sinh(value) if abs(value) < 709 else math.copysign(math.inf, value)


def _exponential(base: float, r: Range) -> Slopes:
    if not base > 0:
        return Slopes(-math.inf, math.inf, "power of a base that is not positive")
    rate = math.log(base)
    return _hull(0.0, rate * _exp(max(rate * r.low, rate * r.high))) if rate else Slopes(0.0, 0.0)


def _logarithm(shift: float, base: float = math.e) -> Callable[[Options, Range], Slopes]:
    def slopes(options: Options, r: Range) -> Slopes:
        least = r.low + shift
        if not least > 0:
            return Slopes(0.0, math.inf, "not Lipschitz where the argument may be 0 or less")
        return Slopes(0.0, 1 / least / math.log(base))

    return slopes


_ranged("square.default", slopes=lambda o, r: _power(2, r), range=_POSITIVE, constant="2 max |x|")
_ranged(
    "pow.Tensor_Scalar",
    slopes=lambda o, r: _power(o["exponent"], r),
    range=lambda o: _EVERYWHERE if o["exponent"] % 2 == 1 else _POSITIVE,  # or not a number
    constant="|p| max |x|^(p-1)",
)
_ranged("pow.Scalar", slopes=lambda o, r: _exponential(float(o["self"]), r), constant="|log b| max b^x")
_ranged(
    "exp.default", slopes=lambda o, r: Slopes(0.0, _exp(r.high)), range=_POSITIVE, constant="max exp(x)"
)
_ranged("expm1.default", slopes=lambda o, r: Slopes(0.0, _exp(r.high)), constant="max exp(x)")
_ranged("log.default", slopes=_logarithm(0.0), constant="1 / min x")
_ranged("log2.default", slopes=_logarithm(0.0, 2.0), constant="1 / (log 2 min x)")
_ranged("log10.default", slopes=_logarithm(0.0, 10.0), constant="1 / (log 10 min x)")
_ranged(
    "exp2.default", slopes=lambda o, r: _exponential(2.0, r), range=_POSITIVE, constant="log 2 max 2^x"
)
_ranged("sinh.default", slopes=lambda o, r: Slopes(1.0, _cosh(r.peak)), constant="cosh(max |x|)")
_ranged(
    "cosh.default",
    slopes=lambda o, r: Slopes(_sinh(r.low), _sinh(r.high)),
    range=Range(1.0, math.inf),
    constant="sinh(max |x|)",
)
_ranged("log1p.default", slopes=_logarithm(1.0), constant="1 / (1 + min x)")
_ranged(
    "sqrt.default", slopes=lambda o, r: _power(0.5, r), range=_POSITIVE, constant="1 / (2 sqrt(min x))"
)
_ranged(
    "rsqrt.default", slopes=lambda o, r: _power(-0.5, r), range=_POSITIVE, constant="min x^(-3/2) / 2"
)
_ranged("reciprocal.default", slopes=lambda o, r: _power(-1, r), constant="1 / min x^2")


@operators("neg.default", constant="1", source="linear", tightness="exact")
def _neg(q: "Analysis", node: Node, self: Node) -> Behaviour:
    return Affine([(self, (Scaling(torch.full((), -1.0, dtype=torch.float64)),))])
