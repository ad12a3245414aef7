"""AutoLip on the computation graph: bounds of every node from the rules of layers and functions.

A node is held as a sum of linear images of *bases*: the input, and the outputs of everything that
is not linear. Linear neighbours merge before norms are taken (a batch normalisation into its
convolution, parallel branches of the same input into one map), and a nonlinear node costs its
constant times the bound of its argument. For a chain of layers that is the product of their norms.

Source: Virmaux & Scaman, NeurIPS 2018, algorithm 1; constant nodes count 0.
"""

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lipbounds.bounds.activations import Slopes
from lipbounds.bounds.functions import MODULES, SLOPE_BOUNDED
from lipbounds.bounds.linear import (
    Filter,
    Known,
    LinearMap,
    Matrix,
    Rearrangement,
    Scaling,
    Shape,
    add,
    apply,
    compose,
    is_zero,
)
from lipbounds.bounds.rules import (
    LayerConstant,
    Local,
    UnknownLayerError,
    certified,
    layer_behaviour,
)
from lipbounds.bounds.tracing import Trace, path_of
from lipbounds.operator_norm import Kind, OperatorNorm, affine_norm
from lipbounds.operator_norm.convolution import Convolution
from lipbounds.rounding import UNIT_ROUNDOFF, Extended, product_up, quotient_up, sqrt_up, sum_up, up


@dataclass(frozen=True)
class Layer:
    """A row of the table: module path or paths, type, norm, how it was obtained, and seconds spent.

    ``lower`` approaches the same norm from below, where that was asked for and the layer is linear.
    """

    name: str
    kind: str
    norm: OperatorNorm
    how: str
    seconds: float = 0.0
    lower: float | None = None


@dataclass(frozen=True)
class Step:
    """A linear map on the way from a base, with the path and type of its layer and its input shape."""

    map: LinearMap
    name: str
    kind: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Base:
    """The input, or the output of something nonlinear.

    ``bound`` is a Lipschitz constant from the input; ``peak`` and ``token`` bound the moduli and
    the norms along the last axis wherever they are bounded on the whole space. For an elementwise
    function ``argument`` and ``slopes`` say what of.
    """

    bound: Extended
    shape: Shape
    peak: float = math.inf
    token: float = math.inf
    argument: "Expression | None" = None
    slopes: Slopes | None = None


@dataclass(frozen=True)
class Term:
    """The image of a base under linear steps, first step first."""

    base: Base
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Expression:
    """A sum of terms plus a constant. ``node`` is where its probe is found."""

    terms: tuple[Term, ...]
    shape: Shape
    node: fx.Node


Value: TypeAlias = Any
"""Expression, a constant (tensor or number), or a list of values."""

_ONE = Scaling(torch.ones((), dtype=torch.float64))
_MINUS = Scaling(-torch.ones((), dtype=torch.float64))

_SILENT = ("minus", "identity")
"""Kinds of steps that are no layers of the model."""

Tighten: TypeAlias = Callable[["Analysis", Expression], Extended | None]


@dataclass
class Analysis:
    """Bounds of a traced model. ``ord`` is the norm; inputs lie within ``radius`` of zero."""

    trace: Trace
    ord: float = 2
    radius: float = math.inf
    grid: int | None = None
    tighten: Tighten | None = None
    gaps: bool = False
    layers: list[Layer] = field(default_factory=list)
    kind: Kind = "upper"
    certified: bool = True
    _norms: dict[tuple[int, ...], tuple[Any, Extended]] = field(default_factory=dict)

    def run(self) -> Extended:
        """The Lipschitz bound of the model's output."""
        values: dict[fx.Node, Value] = {}
        for node in self.trace.nodes:
            if node.op == "output":
                return self.bound(self._output(node, values), last=True)
            values[node] = self._value(node, values)
        raise ValueError("the model returns nothing")

    def _output(self, node: fx.Node, values: dict[fx.Node, Value]) -> Expression:
        value = fx.node.map_arg(node.args[0], lambda n: values[n])
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            return self._joined([v for v in value if isinstance(v, Expression)], node)
        if not isinstance(value, Expression):
            return Expression((), (), node)
        return value

    # Values of nodes

    def _value(self, node: fx.Node, values: dict[fx.Node, Value]) -> Value:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "get_attr":
            return _attribute(self.trace.model, str(node.target))
        arguments: Any = fx.node.map_arg(node.args, lambda n: values[n])
        options: Any = fx.node.map_arg(node.kwargs, lambda n: values[n])
        if not _depends_on_input([*arguments, *options.values()]):
            return self._constant(node, arguments, options)
        if node.op == "call_module":
            module = self.trace.model.get_submodule(str(node.target))
            masks = isinstance(module, nn.MultiheadAttention) and not _depends_on_input(
                [*options.values()]
            )
            if not arguments or (options and not masks):
                raise UnknownLayerError(path_of(self.trace, node), module)
            return self._module(node, module, *arguments)
        return self._call(node, arguments, options)

    def _input(self, node: fx.Node) -> Value:
        if node.args:
            return node.args[0]
        shape = self.trace.probes[node].shape
        base = Base(Extended.of(1.0), shape, peak=self.radius, token=self.radius)
        return Expression((Term(base),), shape, node)

    def _constant(self, node: fx.Node, arguments: Any, options: Any) -> Value:
        with torch.no_grad():
            if node.op == "call_module":
                return self.trace.model.get_submodule(str(node.target))(*arguments, **options)
            if node.op == "call_method":
                return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
            return node.target(*arguments, **options)  # type: ignore[operator]

    def _module(self, node: fx.Node, module: nn.Module, x: Expression, *others: Any) -> Value:
        path = path_of(self.trace, node)
        if others and not isinstance(module, nn.MultiheadAttention):
            raise UnknownLayerError(path, module)
        if isinstance(module, nn.MultiheadAttention) and not all(o is x for o in others[:2]):
            raise ValueError(f"{path}: only self-attention is supported, of one tensor three times")
        started = time.perf_counter()
        try:
            behaviour = layer_behaviour(path, module, x.shape, self.ord)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"layer {path or 'model'} ({type(module).__name__}): {error}") from error
        return self._apply(node, behaviour, x, path, module, started)

    def _apply(
        self, node: fx.Node, behaviour: Any, x: Expression, path: str, module: nn.Module, started: float
    ) -> Value:
        """The value of a layer of known behaviour at ``x``."""
        kind = type(module).__name__
        if isinstance(behaviour, Slopes):
            return self._elementwise(node, behaviour, x, path, kind, module)
        if isinstance(behaviour, LayerConstant):
            return self._opaque(node, behaviour.norm, x, path, kind, started, module=module)
        if isinstance(behaviour, Local):
            norm = behaviour.constant(self.largest_token(x))
            value = self._opaque(node, norm, x, path, kind, started)
            # attention returns its weights as well
            return [value, None] if isinstance(module, nn.MultiheadAttention) else value
        if isinstance(behaviour, Filter) and self.grid is not None:
            behaviour = replace(behaviour, grid=self.grid)
        return self._linear(node, behaviour, x, path, kind)

    def _linear(self, node: fx.Node, map_: LinearMap, x: Expression, path: str, kind: str) -> Expression:
        step = Step(map_, path, kind, x.shape)
        return Expression(_extended(x, step), self.trace.probes[node].shape, node)

    def _elementwise(
        self,
        node: fx.Node,
        slopes: Slopes,
        x: Expression,
        path: str,
        kind: str,
        module: nn.Module | None,
    ) -> Expression:
        norm = certified(slopes.largest, slopes.how)
        bound = self.bound(x) * Extended.of(norm.value)
        self._row(path, kind, norm, slopes.how, 0.0)
        peak, token = _range_of(module, x.shape)
        base = Base(bound, x.shape, peak, token, argument=x, slopes=slopes)
        return Expression((Term(base),), x.shape, node)

    def _opaque(
        self,
        node: fx.Node,
        norm: OperatorNorm,
        x: Expression,
        path: str,
        kind: str,
        started: float,
        module: nn.Module | None = None,
    ) -> Expression:
        bound = self.bound(x, last=True) * Extended.of(norm.value)
        self._row(path, kind, norm, norm.how, time.perf_counter() - started)
        shape = self.trace.probes[node].shape
        peak, token = _range_of(module, x.shape)
        return Expression((Term(Base(bound, shape, peak, token)),), shape, node)

    def _row(
        self,
        name: str,
        kind: str,
        norm: OperatorNorm,
        how: str,
        seconds: float,
        lower: float | None = None,
    ) -> None:
        self.layers.append(Layer(name, kind, norm, how, seconds, lower))
        self.certified &= norm.certified and norm.kind == "upper"
        if norm.kind != "upper":
            self.kind = "estimate"

    # Functions and methods

    def _call(self, node: fx.Node, arguments: tuple[Any, ...], options: dict[str, Any]) -> Value:
        target = node.target
        handler = HANDLERS.get(target)
        if _name(target).endswith(".stochastic_depth") and False in [*arguments[3:], *options.values()]:
            return arguments[0]  # of torchvision: nothing in eval mode
        if handler is not None:
            try:
                return handler(self, node, *arguments, **options)
            except TypeError as error:
                raise UnknownLayerError(node.name, f"{_name(target)} with these arguments") from error
        x = arguments[0] if arguments else None
        if _depends_on_input([*arguments[1:], *options.values()]):
            raise UnknownLayerError(node.name, f"{_name(target)} of several varying arguments")
        if isinstance(x, Expression) and target in MODULES:
            module = MODULES[target](*arguments[1:], **options)
            if module.training and isinstance(module, nn.Dropout) and module.p > 0:
                raise ValueError(f"{node.name}: dropout is in train mode; call model.eval() first")
            behaviour = layer_behaviour(node.name, module, x.shape, self.ord)
            return self._apply(node, behaviour, x, node.name, module, time.perf_counter())
        if isinstance(x, Expression) and target in SLOPE_BOUNDED:
            if self.trace.probes[node].shape != x.shape:
                raise UnknownLayerError(node.name, f"{_name(target)} that broadcasts its argument")
            slopes = Slopes(*SLOPE_BOUNDED[target])
            return self._elementwise(node, slopes, x, node.name, _name(target), None)
        raise UnknownLayerError(node.name, _name(target))

    # Bounds

    def bound(self, x: Expression, *, last: bool = False) -> Extended:
        """Lipschitz constant of an expression from the input.

        ``last`` says that no activation follows, so that tighter bounds of the chain of layers
        behind it may be tried.
        """
        product = self._sum_over_bases(x)
        if last and self.tighten is not None:
            better = self.tighten(self, x)
            if better is not None and better < product:
                return better
        return product

    def _sum_over_bases(self, x: Expression) -> Extended:
        total = Extended.of(0.0)
        for base in dict.fromkeys(term.base for term in x.terms):
            # the norms come first, so that rows stand in order of execution
            norm = self.norm_of_sum([t.steps for t in x.terms if t.base is base], base.shape)
            total = total + base.bound * norm
        return total

    def norm_of_sum(self, ways: list[tuple[Step, ...]], shape: Shape) -> Extended:
        """Norm of the sum of several ways from a base of ``shape``, merged where possible."""
        merged = self._merged_sum(ways, shape)
        if merged is not None:
            return Extended.of(0.0) if is_zero(merged.map) else self._norm((merged,))
        total = Extended.of(0.0)
        for steps in ways:
            total = total + self._norm(steps)
        return total

    def _merged_sum(self, ways: list[tuple[Step, ...]], shape: Shape) -> Step | None:
        if len(ways) == 1 or any(len(steps) > 1 for steps in ways):
            return None
        steps = [s[0] if s else Step(_ONE, "", "identity", shape) for s in ways]
        total: LinearMap = steps[0].map
        for step in steps[1:]:
            together = add(total, step.map, shape)
            if together is None:
                return None
            total = together
        name = " + ".join(step.name or "skip" for step in steps)
        return Step(total, name, "merged branches", shape)

    def _norm(self, steps: tuple[Step, ...]) -> Extended:
        product = Extended.of(1.0)
        for step in steps:
            product = product * self._step_norm(step)
        return product

    def _step_norm(self, step: Step) -> Extended:
        key = (id(step.map),)
        if key not in self._norms:
            started = time.perf_counter()
            try:
                norm = step.map.norm(self.ord)
            except (ValueError, ArithmeticError) as error:
                raise ValueError(f"layer {step.name} ({step.kind}): {error}") from error
            if step.kind not in _SILENT:
                spent = time.perf_counter() - started
                lower = self._from_below(step) if self.gaps else None
                self._row(step.name, step.kind, norm, norm.how, spent, lower)
            # the map is kept so that its id is not given to another
            self._norms[key] = (step.map, Extended.of(norm.value))
        return self._norms[key][1]

    def _from_below(self, step: Step) -> float | None:
        """The norm of a linear layer by Lanczos, None where the map is not known as a function."""
        if self.ord != 2 or apply(step.map, torch.zeros(1, *step.shape, dtype=torch.float64)) is None:
            return None

        def run(x: Tensor) -> Tensor:
            image = apply(step.map, x)
            assert image is not None
            return image

        return affine_norm(run, (1, *step.shape)).value

    # Ranges

    def largest_entry(self, x: Expression) -> float:
        """Bound of the modulus of every entry, inf where there is none."""
        if len(x.terms) == 1 and not x.terms[0].steps and x.terms[0].base.peak < math.inf:
            return x.terms[0].base.peak
        return self._from_center(x, self.trace.probes[x.node].peak)

    def largest_token(self, x: Expression) -> float:
        """Bound of the 2-norm of every vector along the last axis, inf where there is none."""
        if len(x.terms) == 1 and not x.terms[0].steps and x.terms[0].base.token < math.inf:
            return x.terms[0].base.token
        return self._from_center(x, self.trace.probes[x.node].token)

    def _from_center(self, x: Expression, center: float) -> float:
        if self.radius == math.inf:
            return math.inf
        self.certified = False  # the value at zero was computed in the model's own precision
        return sum_up([center, product_up([self.bound(x).value, self.radius])])

    # Sums, joins and products

    def _joined(self, parts: list[Expression], node: fx.Node) -> Expression:
        """Side by side: the norm of the vector of bounds."""
        bounds = [self.bound(part, last=True) for part in parts]
        total = Extended.of(0.0)
        for bound in bounds:
            if self.ord == math.inf:
                total = max(total, bound)
            else:
                total = total + (bound * bound if self.ord == 2 else bound)
        total = total.sqrt() if self.ord == 2 else total
        probe = self.trace.probes.get(node)
        shape = probe.shape if probe else ()
        return Expression((Term(Base(total, shape)),), shape, node)

    def sum(self, node: fx.Node, a: Value, b: Value, sign: int = 1) -> Expression:
        """a + b or a - b; constants do not count."""
        shape = self.trace.probes[node].shape
        terms: list[Term] = []
        for part, factor in ((a, 1), (b, sign)):
            if not isinstance(part, Expression):
                continue
            part = self._broadcast(node, part, shape)
            minus = Step(_MINUS, "", "minus", part.shape)
            terms += part.terms if factor == 1 else _extended(part, minus)
        return Expression(tuple(terms), shape, node)

    def _broadcast(self, node: fx.Node, x: Expression, shape: Shape) -> Expression:
        copies = math.prod(shape) // max(1, math.prod(x.shape))
        if copies <= 1:
            return x
        value = {1: float(copies), 2: up(math.sqrt(copies)), math.inf: 1.0}[self.ord]
        known = Known(lambda ord: certified(value, "copies"))
        step = Step(known, node.name, "broadcast", x.shape)
        return Expression(_extended(x, step), shape, node)

    def product(self, node: fx.Node, a: Value, b: Value) -> Expression:
        """Elementwise product."""
        if isinstance(a, Expression) and isinstance(b, Expression):
            return self._product_of_two(node, a, b)
        x, factor = (a, b) if isinstance(a, Expression) else (b, a)
        return self.scaled(node, x, torch.as_tensor(factor, dtype=torch.float64), 0.0)

    def scaled(self, node: fx.Node, x: Expression, factor: Tensor, deviation: float) -> Expression:
        """``factor * x``; ``deviation`` bounds the error of the factors."""
        factor = factor.detach().cpu()
        if not factor.isfinite().all():
            raise ValueError(f"{node.name}: a constant factor is NaN or infinite")
        x = self._broadcast(node, x, self.trace.probes[node].shape)
        if factor.numel() == 1:
            map_: LinearMap = Scaling(factor.reshape(()), None, deviation)
        else:
            value = sum_up([factor.abs().max().item(), deviation])
            map_ = Known(lambda ord: certified(value, "largest factor"))
        return self._linear(node, map_, x, node.name, "constant factor")

    def _product_of_two(self, node: fx.Node, a: Expression, b: Expression) -> Expression:
        sizes = self.largest_entry(a), self.largest_entry(b)
        bound = Extended.of(sizes[1]) * self.bound(a, last=True)
        bound = bound + Extended.of(sizes[0]) * self.bound(b, last=True)
        shape = self.trace.probes[node].shape
        copies = max(math.prod(shape) // max(1, math.prod(part.shape)) for part in (a, b))
        bound = bound * Extended.of(up(math.sqrt(copies)) if copies > 1 else 1.0)
        how = "product of two varying nodes" + ("" if bound.value < math.inf else "; give a radius")
        self._row(node.name, "product", certified(1.0, how), how, 0.0)
        return Expression((Term(Base(bound, shape)),), shape, node)


def _extended(x: Expression, step: Step) -> tuple[Term, ...]:
    return tuple(Term(term.base, _appended(term.steps, step)) for term in x.terms)


def _appended(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """The steps with one more, merged into the last one where the two merge."""
    if not steps:
        return (step,)
    before = steps[-1]
    merged = compose(before.map, step.map, step.shape)
    if merged is None:
        return (*steps, step)
    names = [name for name in (before.name, step.name) if name]
    kinds = [s.kind for s in (before, step) if s.kind not in _SILENT]
    return (*steps[:-1], Step(merged, " + ".join(names), " + ".join(kinds) or "minus", before.shape))


def _depends_on_input(values: list[Any]) -> bool:
    for value in values:
        if isinstance(value, Expression):
            return True
        if isinstance(value, list | tuple) and _depends_on_input(list(value)):
            return True
    return False


def _attribute(model: nn.Module, target: str) -> Any:
    *path, name = target.split(".")
    value = getattr(model.get_submodule(".".join(path)), name)
    return value.detach() if isinstance(value, Tensor) else value


def _name(target: Any) -> str:
    if isinstance(target, str):
        return f"Tensor.{target}"
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}".lstrip(".")


def _range_of(module: nn.Module | None, shape: Shape) -> tuple[float, float]:
    """Bounds of modulus and token norm that hold on the whole space, for some modules."""
    last = math.sqrt(shape[-1]) if shape else 1.0
    if isinstance(module, nn.Sigmoid | nn.Tanh | nn.Hardsigmoid | nn.Softsign):
        return 1.0, up(last)
    if isinstance(module, nn.Softmax | nn.Softmin):
        return 1.0, 1.0 if module.dim in (-1, len(shape)) else up(last)
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        gain = module.weight.abs().max().item() if module.weight is not None else 1.0
        shift = module.bias.double().norm().item() if module.bias is not None else 0.0
        token = sum_up([product_up([gain, up(last)]), shift * (1 + 1e-12)])
        return token, token
    return math.inf, math.inf


# Functions with a meaning of their own. Each handler takes (analysis, node, *arguments, **options).

Handler: TypeAlias = Callable[..., Value]
HANDLERS: dict[Any, Handler] = {}
"""What functions and methods mean, by function or name of the method."""


def _handles(*targets: Any) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for target in targets:
            HANDLERS[target] = handler
        return handler

    return register


@_handles(operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__radd__")
def _add(analysis: Analysis, node: fx.Node, a: Value, b: Value, *, alpha: float = 1) -> Value:
    if alpha != 1:
        raise UnknownLayerError(node.name, "torch.add with alpha")
    return analysis.sum(node, a, b)


@_handles(operator.sub, operator.isub, torch.sub, "sub", "sub_")
def _sub(analysis: Analysis, node: fx.Node, a: Value, b: Value, *, alpha: float = 1) -> Value:
    if alpha != 1:
        raise UnknownLayerError(node.name, "torch.sub with alpha")
    return analysis.sum(node, a, b, -1)


@_handles(operator.neg, torch.neg, "neg")
def _neg(analysis: Analysis, node: fx.Node, x: Expression) -> Value:
    return analysis.sum(node, 0.0, x, -1)


@_handles(operator.mul, operator.imul, torch.mul, "mul", "mul_")
def _mul(analysis: Analysis, node: fx.Node, a: Value, b: Value) -> Value:
    return analysis.product(node, a, b)


@_handles(operator.truediv, operator.itruediv, torch.div, "div", "div_")
def _div(analysis: Analysis, node: fx.Node, a: Value, b: Value) -> Value:
    if isinstance(b, Expression):
        raise UnknownLayerError(node.name, "division by a node that depends on the input")
    factor = 1 / torch.as_tensor(b, dtype=torch.float64)
    return analysis.scaled(node, a, factor, 2 * UNIT_ROUNDOFF * factor.abs().max().item())


@_handles(operator.matmul, torch.matmul, torch.mm, "matmul", "mm", functional.linear)
def _matmul(analysis: Analysis, node: fx.Node, a: Value, b: Value, bias: Any = None) -> Value:
    plain = isinstance(a, Expression) and isinstance(b, Tensor) and b.dim() == 2
    if not plain or isinstance(bias, Expression):
        raise UnknownLayerError(node.name, "matrix product other than x @ constant matrix")
    weight = b if node.target is functional.linear else b.T
    return analysis._linear(node, Matrix(_finite(node, weight)), a, node.name, "matrix product")


@_handles(torch.conv1d, torch.conv2d, torch.conv3d)
def _conv(
    analysis: Analysis,
    node: fx.Node,
    x: Value,
    weight: Value,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    if not isinstance(weight, Tensor) or isinstance(bias, Expression):
        raise UnknownLayerError(node.name, "convolution by a kernel or bias that depends on the input")
    geometry = Convolution.of(
        tuple(weight.shape[2:]),
        x.shape[1:],
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    map_ = Filter(_finite(node, weight), geometry, grid=analysis.grid)
    return analysis._linear(node, map_, x, node.name, "convolution")


def _finite(node: fx.Node, weight: Tensor) -> Tensor:
    wide = weight.detach().cpu().double()
    if not wide.isfinite().all():
        raise ValueError(f"{node.name}: a weight has NaN or infinite entries")
    return wide


@_handles(torch.cat, torch.concat, torch.stack)
def _cat(analysis: Analysis, node: fx.Node, tensors: Any, dim: int = 0) -> Value:
    rank = len(analysis.trace.probes[node].shape) + 1
    if dim % rank == 0:
        raise ValueError(f"{node.name}: joins along the batch dimension; samples must not mix")
    return analysis._joined([t for t in tensors if isinstance(t, Expression)], node)


@_handles(
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze,
    torch.swapaxes, torch.moveaxis, "flatten", "reshape", "view", "permute", "transpose", "squeeze",
    "unsqueeze", "contiguous", "view_as", "reshape_as", "swapaxes", "movedim", "to", "float",
)  # fmt: skip
def _rearrange(analysis: Analysis, node: fx.Node, x: Expression, *rest: Any, **options: Any) -> Value:
    shape = analysis.trace.probes[node].shape
    types = [a for a in (*rest, *options.values()) if isinstance(a, torch.dtype)]
    if not all(kind.is_floating_point for kind in types):
        raise UnknownLayerError(node.name, "conversion to whole numbers")
    if math.prod(shape) != math.prod(x.shape):
        raise ValueError(
            f"{node.name}: turns samples of shape {x.shape} into {shape}, so the batch dimension is "
            "not kept; flatten from dimension 1 on, or keep x.size(0) in front"
        )
    map_ = Rearrangement(_replay(node, rest, options))
    return analysis._linear(node, map_, x, node.name, "reshape")


def _replay(node: fx.Node, rest: tuple[Any, ...], options: Any) -> Callable[[Tensor], Tensor]:
    """The call for batches of any size, whatever the size that it was traced with."""

    def apply(batch: Tensor) -> Tensor:
        one_by_one = [_called(node.target, sample.unsqueeze(0), *rest, **options) for sample in batch]
        return torch.cat(one_by_one)

    return apply


def _called(target: Any, x: Tensor, *rest: Any, **options: Any) -> Any:
    """A function, or a method by its name."""
    if isinstance(target, str):
        return getattr(x, target)(*rest, **options)
    return target(x, *rest, **options)


@_handles(operator.getitem)
def _getitem(analysis: Analysis, node: fx.Node, x: Value, index: Any) -> Value:
    if isinstance(x, list | tuple):
        return x[index]
    first = index[0] if isinstance(index, tuple) else index
    if first not in (slice(None), Ellipsis):
        raise ValueError(f"{node.name}: indexes the batch dimension; samples must not mix")
    plain = all(isinstance(i, int | slice | type(Ellipsis) | None) for i in index)
    if not plain:
        raise UnknownLayerError(node.name, "indexing by a tensor")
    return analysis._linear(node, Rearrangement(lambda b: b[index]), x, node.name, "slice")


@_handles(getattr)
def _getattr(analysis: Analysis, node: fx.Node, x: Expression, name: str) -> Value:
    if name == "shape":
        return [1, *x.shape]
    if name in ("dtype", "device"):
        first = next(analysis.trace.model.parameters(), torch.empty(0))
        return getattr(first, name)
    raise UnknownLayerError(node.name, f"Tensor.{name}")


@_handles("size")
def _size(analysis: Analysis, node: fx.Node, x: Expression, dim: int | None = None) -> Value:
    sizes = [1, *x.shape]
    return sizes if dim is None else sizes[dim]


@_handles("dim", "ndimension")
def _dim(analysis: Analysis, node: fx.Node, x: Expression) -> Value:
    return len(x.shape) + 1


@_handles("chunk", torch.chunk, "split", torch.split, "unbind", torch.unbind)
def _parts(
    analysis: Analysis, node: fx.Node, x: Expression, *rest: Any, dim: int = 0, **options: Any
) -> Value:
    axis = rest[-1] if len(rest) > 1 or node.target in ("unbind", torch.unbind) else dim
    if axis % (len(x.shape) + 1) == 0:
        raise ValueError(f"{node.name}: splits the batch dimension; samples must not mix")
    with torch.no_grad():
        keywords = {"dim": dim} if dim != 0 else {}
        pieces = _called(node.target, torch.empty(1, *x.shape), *rest, **keywords, **options)
        shapes = [tuple(piece.shape[1:]) for piece in pieces]
    parts = []
    for i, shape in enumerate(shapes):
        step = Step(Rearrangement(), f"{node.name}[{i}]", "part", x.shape)
        parts.append(Expression(_extended(x, step), shape, x.node))
    return parts


@_handles("mean", torch.mean, "sum", torch.sum)
def _reduce(
    analysis: Analysis, node: fx.Node, x: Expression, dim: Any = None, keepdim: bool = False
) -> Value:
    rank = len(x.shape) + 1
    axes = [d % rank for d in ((dim,) if isinstance(dim, int) else dim or ())]
    if not axes or 0 in axes:
        raise ValueError(f"{node.name}: reduces the batch dimension; name the other dimensions")
    count = math.prod(x.shape[a - 1] for a in axes)
    mean = node.target in ("mean", torch.mean)
    values = {1: 1.0, 2: sqrt_up(count), math.inf: float(count)}
    if mean:
        values = {order: quotient_up(value, count) for order, value in values.items()}
    apply = torch.mean if mean else torch.sum
    known = Known(
        lambda ord: certified(values[ord], f"over {count} entries"), lambda b: apply(b, axes, keepdim)
    )
    return analysis._linear(node, known, x, node.name, _name(node.target))


@_handles("amax", torch.amax, "amin", torch.amin)
def _extreme(
    analysis: Analysis, node: fx.Node, x: Expression, dim: Any = (), keepdim: bool = False
) -> Value:
    axes = [dim] if isinstance(dim, int) else list(dim)
    if not axes or 0 in [a % (len(x.shape) + 1) for a in axes]:
        raise ValueError(f"{node.name}: reduces the batch dimension; name the other dimensions")
    norm = certified(1.0, "each output is an entry")
    return analysis._opaque(node, norm, x, node.name, _name(node.target), time.perf_counter())


@_handles(functional.layer_norm)
def _layer_norm(
    analysis: Analysis,
    node: fx.Node,
    x: Expression,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Value:
    module = nn.LayerNorm(normalized_shape, eps, elementwise_affine=weight is not None)
    if weight is not None:
        module.weight = nn.Parameter(weight)
        module.bias = nn.Parameter(torch.zeros_like(weight) if bias is None else bias)
    return analysis._module(node, module, x)


@_handles(functional.pad)
def _pad(
    analysis: Analysis, node: fx.Node, x: Expression, pad: Any, mode: str = "constant", value: Any = None
) -> Value:
    if mode != "constant":
        raise UnknownLayerError(node.name, f"torch.nn.functional.pad(mode={mode!r})")
    if min(pad) < 0 or len(pad) // 2 > len(x.shape):
        raise UnknownLayerError(node.name, "negative padding, or padding of the batch dimension")
    return analysis._linear(
        node, Rearrangement(lambda b: functional.pad(b, pad)), x, node.name, "padding"
    )


@_handles(torch.maximum, torch.minimum)
def _larger(analysis: Analysis, node: fx.Node, a: Value, b: Value) -> Value:
    """Each entry is one of two, so the vector of both, whose norm is that of a join, bounds it."""
    shape = analysis.trace.probes[node].shape
    if any(isinstance(v, Expression) and v.shape != shape for v in (a, b)):
        raise UnknownLayerError(node.name, "maximum of tensors of different shapes")
    return analysis._joined([v for v in (a, b) if isinstance(v, Expression)], node)


@_handles(torch.square, "square")
def _square(analysis: Analysis, node: fx.Node, x: Expression) -> Value:
    return analysis.product(node, x, x)


@_handles(operator.pow, torch.pow, "pow")
def _pow(analysis: Analysis, node: fx.Node, x: Expression, exponent: Any) -> Value:
    if exponent != 2:
        raise UnknownLayerError(node.name, f"power {exponent}")
    return analysis.product(node, x, x)


@_handles(functional.scaled_dot_product_attention)
def _dot_product_attention(
    analysis: Analysis, node: fx.Node, q: Expression, k: Expression, v: Expression, **options: Any
) -> Value:
    """|P| dv, and through the logits s = q k^T / sqrt(d): |Cov| <= V K and V Q; |P| <= sqrt(n)."""
    alike = q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and not options.get("enable_gqa")
    if _depends_on_input([*options.values()]) or options.get("dropout_p") or not alike:
        raise UnknownLayerError(node.name, "attention with dropout, a varying mask or shared heads")
    if analysis.ord != 2:
        raise ValueError(f"{node.name}: the bound of attention is for ord=2 only, not {analysis.ord}")
    scale = options.get("scale") or 1 / math.sqrt(q.shape[-1])
    sizes = [Extended.of(analysis.largest_token(part)) for part in (q, k, v)]
    bounds = [analysis.bound(part, last=True) for part in (q, k, v)]
    queries, keys = (Extended.of(up(math.sqrt(part.shape[-2]))) for part in (q, k))
    factor = Extended.of(up(up(scale)))
    bound = (
        queries * bounds[2]
        + sizes[2] * sizes[1] * factor * bounds[0]
        + keys * sizes[2] * sizes[0] * factor * bounds[1] * queries
    )
    how = "local bound on the tokens reached" if bound.value < math.inf else "unbounded; give a radius"
    analysis._row(node.name, "attention", certified(1.0, how), how, 0.0)
    shape = analysis.trace.probes[node].shape
    return Expression((Term(Base(bound, shape)),), shape, node)
