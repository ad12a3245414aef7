"""Every operator that has a rule, over its parameters, against brute force.

The tables hold functions of a batch of one. All of one shape are exported together, as the outputs of
one model; each is then bounded alone, on the part of the graph that it needs.
"""

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lipbounds.bounds.segments import _matrix
from lipbounds.graph import Graph, Node, export
from lipbounds.operators import OPERATORS, Analysis
from lipbounds.operators.table import Elementwise

# ruff: noqa: E501 (tables)

pytestmark = [
    pytest.mark.usefixtures("single_threaded"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0:UserWarning"),
]

A = torch.ops.aten
INF = math.inf
ORDERS = (1, 2, INF)
C, R = torch.view_as_complex, torch.view_as_real
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """A function that calls the operator ``key``. ``loose`` is how far the bound may lie above the
    exact constant, or above what brute force reaches."""

    key: str
    function: Callable[[Tensor], Tensor]
    loose: float | dict[float, float] | None = None
    orders: tuple[float, ...] = ORDERS
    arguments: tuple[Any, ...] | None = None

    @property
    def operator(self) -> str:
        return self.key if self.key.startswith("lipbounds.") else f"aten.{self.key}"

    def reaches(self, order: float, bound: float, reached: float, default: float) -> bool:
        found = self.loose.get(order) if isinstance(self.loose, dict) else self.loose
        factor = default if found is None else found
        return factor == INF or bound <= factor * reached + 1e-300


def of(keys: str, *functions: Callable[[Tensor], Tensor], **options: Any) -> list[Case]:
    """A case for each function; several keys, one for each."""
    names = keys.split()
    assert len(names) in (1, len(functions))
    names = names * len(functions) if len(names) == 1 else names
    return [Case(name, f, **options) for name, f in zip(names, functions, strict=True)]


@dataclass(frozen=True, eq=False)
class Group:
    """Cases for inputs of one shape, in a ball of ``radius`` around zero."""

    shape: Shape
    cases: list[Case]
    radius: float = INF
    dtype: torch.dtype = torch.float64


def table(*groups: tuple[Any, ...], dtype: torch.dtype = torch.float64) -> list[Group]:
    """Groups from (shape, cases, ...), with a radius first where there is one."""
    found = []
    for first, *rest in groups:
        radius, shape, rest = (
            (first, rest[0], rest[1:]) if isinstance(first, float) else (INF, first, rest)
        )
        found.append(Group(shape, list(itertools.chain(*rest)), radius, dtype))
    return found


def cases(groups: list[Group]) -> list[Any]:
    found = []
    for group in groups:
        count: dict[str, int] = {}
        for case in group.cases:
            number = count[case.key] = count.get(case.key, -1) + 1
            found.append(
                pytest.param(group, case, id=f"{case.key}-{'x'.join(map(str, group.shape))}-{number}")
            )
    return found


class Model(nn.Module):
    def __init__(self, group: Group) -> None:
        super().__init__()
        self.functions = [case.function for case in group.cases]
        self.register_buffer("like", torch.zeros((), dtype=group.dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in self.functions)


@cache
def exported(group: Group) -> Graph:
    graph, twin = export(Model(group).eval(), group.shape)
    x = 0.3 + w(1, *group.shape, seed=0.7).to(group.dtype)
    x = x if group.radius == INF else x * (group.radius / x.abs().sum())
    values = graph.run(x)
    for case, result, expected in zip(group.cases, graph.results, twin(x), strict=True):
        found = values[result] if isinstance(result, Node) else result
        torch.testing.assert_close(found, expected, equal_nan=True, msg=case.key)
    return graph


def graph_of(group: Group, case: Case) -> Graph:
    """The part of the group's graph that computes the case."""
    if case.arguments is not None:
        return graph_by_hand(group, case)
    graph = exported(group)
    result = graph.results[group.cases.index(case)]
    assert isinstance(result, Node)
    used, waiting = {graph.input}, [result]
    while waiting:
        node = waiting.pop()
        if node not in used:
            used.add(node)
            waiting += node.inputs
    return Graph(graph.input, tuple(n for n in graph.nodes if n in used), (result,), graph.device)


X = object()
"""The input, among the arguments of an operator."""


def by_hand(key: str, *arguments: Any) -> list[Case]:
    """A call of an operator that torch.export breaks up; graphs made by other means may hold it."""

    def function(x: Tensor) -> Tensor:
        result = overload(key)(*[x if a is X else a() if callable(a) else a for a in arguments])
        return result if isinstance(result, Tensor) else result[0]

    return [Case(key, function, arguments=arguments)]


def overload(key: str) -> Any:
    name, kind = key.split(".")
    return getattr(getattr(A, name), kind)


def graph_by_hand(group: Group, case: Case) -> Graph:
    x = torch.zeros(1, *group.shape, dtype=group.dtype)
    source = Node("x", "input", None, {}, tuple(x.shape), x.dtype)
    call = overload(case.key)
    schema = call._schema.arguments
    assert case.arguments is not None
    values = [source if a is X else a() if callable(a) else a for a in case.arguments]
    named = {a.name: a.default_value for a in schema if a.has_default_value()}
    named |= dict(zip([a.name for a in schema], values, strict=False))
    result = case.function(x)
    several = len(call._schema.returns) > 1 or "List" in str(call._schema.returns[0].type)
    number = 0 if several else None
    node = Node("y", case.operator, call, named, tuple(result.shape), result.dtype, number)
    return Graph(source, (source, node), (node,), x.device)


@cache
def w(*shape: int, seed: float = 0.5) -> Tensor:
    """A weight. The first call is outside of torch.export, which takes what is kept as a constant."""
    return torch.sin(1.3 * torch.arange(math.prod(shape), dtype=torch.float64) + seed).view(shape)


def cw(*shape: int) -> Tensor:
    """A complex weight."""
    return torch.complex(w(*shape), w(*shape, seed=2.0))


def ix(*numbers: int) -> Tensor:
    return _constant(numbers)


@cache
def _constant(numbers: tuple[int, ...]) -> Tensor:
    return torch.tensor(numbers)


def mask(*shape: int) -> Tensor:
    return _mask(shape)


@cache
def _mask(shape: Shape) -> Tensor:
    return w(*shape, seed=1.5) > 0


def write(target: Tensor, value: Any, place: Any) -> Tensor:
    target[place] = value
    return target


# Affine operators: the exact matrix is known

AFFINE = table(
    (
        (6,),
        of("add.Tensor", lambda x: x + w(6), lambda x: x + 2 * x, lambda x: torch.add(x, w(4, 1), alpha=-3)),
        of("add.Tensor", lambda x: w(6) + x, lambda x: torch.add(x, x, alpha=-1), lambda x: x + 1),
        of("add.Scalar", lambda x: A.add.Scalar(x, 2.0, 3), lambda x: A.add.Scalar(2 * x, 1)),
        of("sub.Tensor", lambda x: x - w(6), lambda x: torch.sub(w(5, 6), x, alpha=-2.5), lambda x: x - x),
        of("sub.Scalar", lambda x: A.sub.Scalar(x, 2.0, 3)),
        of("rsub.Scalar", lambda x: 2 - x, lambda x: torch.rsub(x, 3, alpha=-2)),
        of("rsub.Tensor", lambda x: torch.rsub(x, w(2, 6), alpha=0.3), lambda x: torch.rsub(w(6), x)),
        of("mul.Tensor", lambda x: x * w(6), lambda x: 3 * x, lambda x: x * w(1, 6) * 0, lambda x: -2 * x * w(6)),
        of("mul.Tensor", lambda x: x * w(3, 6), lambda x: x.view(6, 1) * w(3), loose={1: 9, 2: 2}),
        of("mul.Scalar", lambda x: A.mul.Scalar(x, -2.5)),
        of("div.Tensor", lambda x: x / w(6), lambda x: x / -3),
        of("div.Scalar", lambda x: A.div.Scalar(x, 7.0)),
        of("neg.default", lambda x: -x),
        of("linear.default", lambda x: F.linear(x, w(4, 6), w(4)), lambda x: F.linear(x, w(6))),
        of("linear.default", lambda x: F.linear(F.linear(x.view(3, 2), w(5, 2)), w(1, 5))),
        of("mm.default", lambda x: torch.mm(x, w(6, 3)), lambda x: torch.mm(w(3, 2), x.view(2, 3))),
        of("matmul.default", lambda x: x @ w(6, 3), lambda x: x[0] @ w(6, 3), lambda x: x[0] @ w(6)),
        of("matmul.default", lambda x: w(3, 6) @ x[0], lambda x: w(2) @ x.view(2, 3), lambda x: x @ w(6)),
        of(
            "matmul.default",
            lambda x: w(2, 3, 6) @ x[0], lambda x: x[0] @ w(2, 6, 3), lambda x: w(2, 2, 3, 6) @ x[0],
            lambda x: x[0] @ w(2, 2, 6, 3), lambda x: x.view(3, 2) @ w(4, 2, 3),
            lambda x: w(4, 1, 5, 3) @ x.view(3, 2),
            loose={1: 2.5, 2: 2.0},
        ),
        of(
            "matmul.default",
            lambda x: w(2) @ x.view(3, 2, 1), lambda x: x.view(3, 1, 2) @ w(2), lambda x: w(3, 2) @ x.view(3, 2, 1),
            lambda x: x.view(3, 1, 2) @ w(3, 2, 4), lambda x: x.view(3, 1, 1, 2) @ w(1, 1, 2, 4), lambda x: w(3, 4, 2) @ x.view(3, 2, 1),
            lambda x: x.view(2, 3, 1) @ w(2, 1, 4),
        ),
        of("mv.default", lambda x: torch.mv(w(3, 6), x[0]), lambda x: torch.mv(x.view(3, 2), w(2))),
        of("dot.default", lambda x: torch.dot(x[0], w(6)), lambda x: torch.dot(w(6), x.view(6))),
        of("vdot.default", lambda x: torch.vdot(x[0], w(6))),
        of("bmm.default", lambda x: torch.bmm(w(3, 4, 2), x.view(3, 2, 1))),
        of("bmm.default", lambda x: torch.bmm(x.view(3, 1, 2), w(3, 2, 4))),
        of("addmm.default", lambda x: torch.addmm(w(3), x, w(6, 3)), lambda x: torch.addmm(x, w(1, 2), w(2, 6))),
        of("addmm.default", lambda x: torch.addmm(w(3), x, w(6, 3), beta=2, alpha=-3), lambda x: torch.addmm(x, w(1, 2), w(2, 6), beta=-2.5)),
        of("addmm.default", lambda x: torch.addmm(x.view(3, 2), w(3, 2), x.view(2, 3)[:, :2]), loose=1.6),
        of("addmm.default", lambda x: torch.addmm(x[0, :2], x.view(3, 2), w(2, 2)), loose=1.6),
    ),
    (
        (2, 7),
        of("conv1d.default", lambda x: F.conv1d(x, w(3, 2, 1)), lambda x: F.conv1d(x, w(3, 2, 3), stride=3), loose=1.1),
        of("conv1d.default", lambda x: F.conv1d(x[0], w(3, 2, 3), padding=1), loose=1.1),
        of("conv1d.default", lambda x: F.conv1d(x, w(4, 1, 3), w(4), 2, 3, 2, 2), loose=1.15),
        of("conv1d.padding", lambda x: F.conv1d(x, w(3, 2, 4), padding="same"), loose=1.1),
        of("conv1d.padding", lambda x: F.conv1d(x, w(3, 2, 2), padding="same", dilation=3), loose=1.1),
        of("conv1d.padding", lambda x: F.conv1d(x[0], w(2, 1, 3), padding="valid", stride=2, groups=2), loose=1.1),
        of(
            "conv_transpose1d.default",
            lambda x: F.conv_transpose1d(x, w(2, 3, 3), w(3), stride=2, padding=1, output_padding=1),
            lambda x: F.conv_transpose1d(x, w(2, 2, 2), stride=1, output_padding=1, groups=2, dilation=3),
            lambda x: F.conv_transpose1d(x[0], w(2, 1, 3), stride=2, padding=2, output_padding=2, dilation=3),
            loose=1.25,
        ),
        of(
            "convolution.default",
            lambda x: A.convolution.default(x, w(3, 2, 3), w(3), [2], [1], [1], False, [0], 1),
            lambda x: A.convolution.default(x, w(2, 1, 3), None, [2], [1], [2], True, [1], 2),
            loose=1.1,
        ),
        of("pad.default", lambda x: F.pad(x, (2, 1)), lambda x: F.pad(x, (-2, 3), value=2.0)),
        of("pad.default", lambda x: F.pad(x, (1, -2, -1, 2)), lambda x: F.pad(x, (0, 0, 2, 0, 1, 1), value=-1.0)),
        of("pad.default", lambda x: F.pad(x, (3, 2), mode="reflect"), lambda x: F.pad(x[0], (1, 6), mode="replicate")),
        of("pad.default", lambda x: F.pad(x, (7, 2), mode="circular"), lambda x: F.pad(x, (-2, 3), mode="circular")),
        of("pad.default", lambda x: F.pad(x, (-1, 2), mode="reflect"), lambda x: F.pad(x, (-3, 2), mode="replicate")),
        of(
            "pad.default",
            lambda x: F.conv1d(F.pad(x, (1, 2), mode="circular"), w(3, 2, 4)),
            lambda x: F.conv1d(F.pad(x, (1, 3)), w(3, 2, 4)),
            loose={1: 2.1, 2: 1.1},
        ),
        of(
            "pad.default",
            lambda x: F.conv1d(F.pad(x, (2, 1), mode="reflect"), w(3, 2, 3), stride=2),
            lambda x: F.conv1d(F.pad(x, (1, 4), mode="replicate"), w(3, 2, 3)),
            loose=2.5,
        ),
        of("constant_pad_nd.default", lambda x: A.constant_pad_nd.default(x, [1, -2, 1, 0], 3.0)),
        of("reflection_pad1d.default", lambda x: A.reflection_pad1d.default(x, [6, 2])),
        of("replication_pad1d.default", lambda x: A.replication_pad1d.default(x, [0, 4])),
        of("max_pool1d.default", lambda x: F.max_pool1d(x, 2, 1, 1, 8)),  # all windows are empty
        of("avg_pool1d.default", lambda x: F.avg_pool1d(x, 3), lambda x: F.avg_pool1d(x, 3, 2, 1, True)),
        of("avg_pool1d.default", lambda x: F.avg_pool1d(x, 4, 3, 2, True, False), lambda x: F.avg_pool1d(x[0], 3, 1)),
        of("adaptive_avg_pool1d.default", lambda x: F.adaptive_avg_pool1d(x, 3), lambda x: F.adaptive_avg_pool1d(x, 10)),
        of(
            "upsample_linear1d.vec",
            lambda x: F.interpolate(x, scale_factor=1.7, mode="linear"),
            lambda x: F.interpolate(x, size=4, mode="linear", align_corners=True),
            lambda x: F.interpolate(x, scale_factor=0.6, mode="linear", recompute_scale_factor=True),
        ),
        of("upsample_nearest1d.vec", lambda x: F.interpolate(x, scale_factor=1.7), lambda x: F.interpolate(x, size=3)),
        of("_upsample_nearest_exact1d.vec", lambda x: F.interpolate(x, scale_factor=1.7, mode="nearest-exact")),
        of("upsample_nearest1d.default", lambda x: A.upsample_nearest1d.default(x, [9], 1.3)),
        of("transpose.int", lambda x: x.mT, lambda x: x.transpose(0, 2)),
        of("slice.Tensor", lambda x: x[:, :, 1:6:2], lambda x: x[..., -2:], lambda x: x.narrow(2, 1, 3)),
        of("split.Tensor", lambda x: x.split(3, 2)[2], lambda x: x.chunk(3, -1)[1]),
        of("split_with_sizes.default", lambda x: x.split([1, 4, 2], 2)[1]),
        of("unbind.int", lambda x: x.unbind(1)[1]),
        of("select.int", lambda x: x[:, -1], lambda x: x.select(2, 3)),
        of("cumsum.default", lambda x: x.cumsum(2), lambda x: x.cumsum(1), lambda x: x[0, 0].cumsum(0), lambda x: x.cumsum(0)),
        of("sum.default", lambda x: x.sum(), lambda x: x[0, 0, 0].sum()),
        of("sum.dim_IntList", lambda x: x.sum(1), lambda x: x.sum((-1, 1), keepdim=True), lambda x: x.sum(())),
        of("mean.default", lambda x: x.mean()),
        of("mean.dim", lambda x: x.mean(2), lambda x: x.mean((1, 2), keepdim=True)),
        of(
            "_native_batch_norm_legit_no_training.default",
            lambda x: F.batch_norm(x, w(2), w(2).square(), w(2, seed=2.0), w(2)),
            lambda x: F.batch_norm(x[:, :, 0], w(2), w(2).square(), eps=0.1),
            lambda x: F.batch_norm(F.conv1d(x, w(2, 2, 1)), w(2), w(2).square(), w(2, seed=2.0), w(2)),
        ),
        of("instance_norm.default", lambda x: F.instance_norm(x, w(2), w(2).abs(), w(2), w(2), False)),
    ),
    (
        (2, 5, 4),
        of(
            "conv2d.default",
            lambda x: F.conv2d(x, w(3, 2, 2, 3), padding=1),
            lambda x: F.conv2d(x[0], w(2, 1, 3, 1), stride=(2, 1), padding=(2, 0), groups=2),
            lambda x: F.conv2d(x, w(3, 2, 2, 2), stride=(1, 3), padding=(0, 2), dilation=(3, 2)),
            loose={1: 2.0, 2: 1.4},
        ),
        of("conv2d.padding", lambda x: F.conv2d(x, w(1, 2, 4, 2), padding="same", dilation=(1, 2)), loose={2: 1.3}),
        of(
            "conv_transpose2d.input",
            lambda x: F.conv_transpose2d(x, w(2, 3, 2, 3), stride=2, padding=(1, 0), output_padding=(0, 1)),
            lambda x: F.conv_transpose2d(x, w(2, 1, 3, 3), stride=1, padding=1, output_padding=(1, 2), dilation=3, groups=2),
            loose=2.0,
        ),
        of("constant_pad_nd.default", lambda x: A.constant_pad_nd.default(x, [1, 1], 0)),
        of("reflection_pad2d.default", lambda x: A.reflection_pad2d.default(x, [3, 2, 4, 1])),
        of("replication_pad2d.default", lambda x: A.replication_pad2d.default(x, [3, 0, 1, 1])),
        of("pad.default", lambda x: F.pad(x, (2, 1, 0, 3), mode="circular"), lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")),
        of(
            "avg_pool2d.default",
            lambda x: F.avg_pool2d(x, (3, 2), 2, 1, True, False),
            lambda x: F.avg_pool2d(x, 3, (1, 2), 1, True, True),
            lambda x: F.avg_pool2d(x, 2, divisor_override=3),
            lambda x: F.avg_pool2d(x, 3, 2, 1, True, False, divisor_override=-2),
            lambda x: F.avg_pool2d(x, (3, 2), 2, (1, 0), True, True, divisor_override=5),
        ),
        of("adaptive_avg_pool2d.default", lambda x: F.adaptive_avg_pool2d(x, (3, None)), lambda x: F.adaptive_avg_pool2d(x, (7, 3))),
        of(
            "upsample_bilinear2d.vec",
            lambda x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear"),
            lambda x: F.interpolate(x, size=(3, 9), mode="bilinear", align_corners=True),
        ),
        of(
            "upsample_bicubic2d.vec",
            lambda x: F.interpolate(x, scale_factor=1.7, mode="bicubic"),
            lambda x: F.interpolate(x, size=(3, 9), mode="bicubic", align_corners=True),
        ),
        of(
            "_upsample_bilinear2d_aa.vec",
            lambda x: F.interpolate(x, scale_factor=(0.6, 1.7), mode="bilinear", antialias=True),
            lambda x: F.interpolate(x, size=(3, 9), mode="bilinear", align_corners=True, antialias=True),
        ),
        of(
            "_upsample_bicubic2d_aa.vec",
            lambda x: F.interpolate(x, scale_factor=(0.6, 1.7), mode="bicubic", antialias=True),
        ),
        of("upsample_nearest2d.vec", lambda x: F.interpolate(x, scale_factor=(1.7, 0.6)), lambda x: F.interpolate(x, size=(7, 3))),
        of("_upsample_nearest_exact2d.vec", lambda x: F.interpolate(x, scale_factor=(1.7, 2.3), mode="nearest-exact")),
        of("upsample_nearest2d.default", lambda x: A.upsample_nearest2d.default(x, [7, 3])),
        of("im2col.default", lambda x: F.unfold(x, (2, 3), dilation=(2, 1), padding=1, stride=(1, 2))),
        of("permute.default", lambda x: x.permute(0, 2, 3, 1), lambda x: x.movedim(1, -1)),
        of("linear.default", lambda x: F.linear(x, w(3, 4)), lambda x: F.linear(x[0, 0], w(3, 4)) * w(3)),
        of("matmul.default", lambda x: w(3, 5) @ x, lambda x: w(2, 5, 5) @ x, lambda x: x @ w(1, 2, 4, 1), lambda x: x @ w(4)),
        of("mul.Tensor", lambda x: x * w(2, 1, 1), lambda x: x * w(5, 1), lambda x: x * w(1, 2, 5, 4), lambda x: x * w(2, 1, 1) * w(1, 2, 1, 1) / 2),
        of("mul.Tensor", lambda x: x * w(2, 1, 1) * w(5, 1), lambda x: x * w(2, 1, 4) * w(5, 4), loose=1.7),
        of("sum.dim_IntList", lambda x: x.sum((2, 3)), lambda x: x.sum(dim=[1, -1], keepdim=True)),
    ),
    (
        (2, 2, 3, 3),
        of("conv3d.default", lambda x: F.conv3d(x, w(2, 2, 2, 3, 1), padding=(1, 0, 2), stride=(1, 2, 1)), loose={1: 1.8, 2: 1.4}),
        of("conv3d.padding", lambda x: F.conv3d(x, w(1, 2, 2, 2, 3), padding="same"), loose=1.5),
        of("conv_transpose3d.input", lambda x: F.conv_transpose3d(x, w(2, 1, 2, 1, 2), stride=(2, 1, 1), output_padding=(1, 0, 0)), loose=1.3),
        of("reflection_pad3d.default", lambda x: A.reflection_pad3d.default(x, [1, 2, 0, 1, 1, 0])),
        of("replication_pad3d.default", lambda x: A.replication_pad3d.default(x, [1, 2, 0, 1, 1, 0])),
        of("avg_pool3d.default", lambda x: F.avg_pool3d(x, (2, 3, 2), (1, 2, 2), (1, 1, 0), True, False), lambda x: F.avg_pool3d(x, 2, 1, divisor_override=3)),
        of("adaptive_avg_pool3d.default", lambda x: F.adaptive_avg_pool3d(x, (1, 2, 4))),
        of("upsample_trilinear3d.vec", lambda x: F.interpolate(x, scale_factor=(1.7, 2, 0.7), mode="trilinear")),
        of("upsample_nearest3d.vec", lambda x: F.interpolate(x, scale_factor=(1.7, 2, 0.7))),
        of("_upsample_nearest_exact3d.vec", lambda x: F.interpolate(x, scale_factor=(1.7, 2, 0.7), mode="nearest-exact")),
        of("upsample_nearest3d.default", lambda x: A.upsample_nearest3d.default(x, [3, 2, 4])),
    ),
    (
        (4, 6),
        of("view.default", lambda x: x.view(3, 8), lambda x: x.view_as(w(2, 12)), lambda x: x.flatten(1)),
        of("_unsafe_view.default", lambda x: A._unsafe_view.default(x, [8, 3])),
        of("clone.default alias.default detach.default", lambda x: x.clone(), lambda x: A.alias.default(x), lambda x: x.detach()),
        of("_to_copy.default", lambda x: x.float()),
        of("type_as.default", lambda x: x.type_as(w(1).float())),
        of("squeeze.default squeeze.dim squeeze.dims", lambda x: x.squeeze(), lambda x: x.squeeze(0), lambda x: x[:, :1].squeeze((0, 1))),
        of("unsqueeze.default", lambda x: x.unsqueeze(-1), lambda x: torch.atleast_3d(x[0])),
        of("permute.default", lambda x: x[0].T, lambda x: x.permute(2, 0, 1)),
        of("flip.default fliplr.default flipud.default rot90.default roll.default", lambda x: x.flip(1, 2), lambda x: A.fliplr.default(x), lambda x: A.flipud.default(x), lambda x: x.rot90(3, (1, 2)), lambda x: x.roll((1, -2), (1, 2))),
        of("roll.default", lambda x: x.roll(5)),
        of("tril.default triu.default", lambda x: x.tril(1), lambda x: x.triu(-1)),
        of("diagonal.default diag_embed.default diagonal_copy.default permute_copy.default", lambda x: x.diagonal(1, 1, 2), lambda x: x.diag_embed(2), lambda x: A.diagonal_copy.default(x, -1, 1, 2), lambda x: A.permute_copy.default(x, [2, 1, 0])),
        of("expand.default", lambda x: x.expand(3, 4, 6), lambda x: x[0, :1].expand_as(w(5, 6)), lambda x: x.unsqueeze(2).expand(-1, 4, 2, 6)),
        of("repeat.default tile.default", lambda x: x.repeat(2, 1, 3), lambda x: x.tile(2, 2)),
        of("index.Tensor", lambda x: x[:, ix(0, 3, 3, -1, 3)], lambda x: x[:, ix(0, 1, 1), ix(2, 2, 2)]),
        of("index_select.default", lambda x: x.index_select(2, ix(5, 5, 5, 1))),
        of("gather.default", lambda x: x.gather(1, ix(0, 3, 0, 1, 0, 0).view(1, 1, 6)), lambda x: x[0].gather(1, ix(0, 0, 1, 1, 2, 2).view(2, 3))),
        of("take.default take_along_dim.default", lambda x: x.take(ix(0, 0, -1)), lambda x: torch.take_along_dim(x, ix(1, 1, 0).view(1, 3, 1), 1)),
        of("unfold.default", lambda x: x.unfold(2, 3, 1), lambda x: x.unfold(1, 2, 2)),
        of("as_strided.default", lambda x: x.as_strided((3, 4), (2, 3), 1), lambda x: x.as_strided((2, 5), (0, 4))),
        of("repeat_interleave.self_int repeat_interleave.self_Tensor", lambda x: x.repeat_interleave(3, 1), lambda x: torch.repeat_interleave(x, ix(0, 2, 1, 4), 1, output_size=7)),
        of("pixel_shuffle.default pixel_unshuffle.default channel_shuffle.default", lambda x: F.pixel_shuffle(x.view(1, 8, 3, 1), 2), lambda x: F.pixel_unshuffle(x.view(1, 1, 4, 6), 2), lambda x: F.channel_shuffle(x.view(1, 6, 2, 2), 3)),
        of("cat.default", lambda x: torch.cat([x, w(1, 2, 6)], 1), lambda x: torch.cat([w(1, 4, 1), x], -1)),
        of("cat.default", lambda x: torch.cat([x, x[:, :1]], 1)),
        of("cat.default", lambda x: torch.cat([x, 2 * x], 2), lambda x: torch.cat([x, x[:, :, 1:] * 2, w(1, 4, 1)], 2)),
        of("stack.default", lambda x: torch.stack([x, w(1, 4, 6)]), lambda x: torch.stack([x, -x, 3 * x], 1)),
        of("slice_scatter.default", lambda x: write(w(1, 4, 6).clone(), x[:, :, 1:3], (slice(None), slice(None), slice(2, 4)))),
        of("slice_scatter.default", lambda x: write(x.clone(), 2 * x[:, :2], (slice(None), slice(2, 4))), lambda x: A.slice_scatter.default(x, w(1, 4, 2), 2, 0, 4, 2), loose=1.5),
        of("select_scatter.default", lambda x: write(x.clone(), w(6), (slice(None), 2)), lambda x: torch.select_scatter(w(4, 6), x[0, 1], 0, 3)),
        of("select_scatter.default", lambda x: write(x.clone(), x[:, 0] + x[:, 1], (slice(None), 2)), loose=2.0),
        of("diagonal_scatter.default", lambda x: torch.diagonal_scatter(x, w(1, 4), 1, 1, 2), lambda x: torch.diagonal_scatter(w(4, 4), x[0, :, 0])),
        of("copy.default", lambda x: A.copy.default(x, w(1, 4, 6)), lambda x: A.copy.default(w(3, 4, 6), 2 * x), lambda x: A.copy.default(x.mT, x[:, :1, :1])),
        of("index_put.default", lambda x: A.index_put.default(x[0], [ix(0, 0)], w(2, 6), True), lambda x: A.index_put.default(w(4, 6), [ix(3, 0, 3)], x[0, :3], True), lambda x: A.index_put.default(w(6, 4), [None, ix(1, 1)], x[0, :2].mT, True)),
        of("index_put.default", lambda x: write(x.clone(), 7 * x[:, :2], (slice(None), ix(0, 2))), lambda x: write(x.clone(), x[0, 0, 0], (slice(None), ix(0, 1))), loose=3.0),
        of("scatter.src scatter.value scatter.src", lambda x: w(1, 4, 6).scatter(2, ix(0, 5, 2).expand(1, 4, 3), x), lambda x: x.scatter(1, ix(0, 2).view(1, 1, 2), 7.0), lambda x: x.scatter(2, ix(1, 0).expand(1, 4, 2), 5 * x), loose=1.3),
        of("masked_scatter.default", lambda x: w(1, 4, 6).masked_scatter(mask(1, 4, 6), x), lambda x: x.masked_scatter(mask(4, 6), 5 * x), loose=1.3),
        of("scatter_add.default", lambda x: w(1, 4, 3).scatter_add(2, ix(0, 0, 2, 0, 1, 0).expand(1, 4, 6), x), lambda x: x.scatter_add(1, ix(0, 1, 0).view(1, 3, 1), 2 * x), loose=2.0),
        of("col2im.default", lambda x: F.fold(x[:, :1].reshape(1, 2, 3), (1, 4), (1, 2)), lambda x: F.fold(x, (3, 4), 2), lambda x: F.fold(x, (4, 6), 2, stride=2), lambda x: F.fold(x, (1, 2), 2, padding=1)),
        of("index_put.default", lambda x: write(x.clone(), 1.0, (slice(None), ix(0, 2))), lambda x: write(w(4, 6).clone(), x[0, :2], (ix(3, 0),)), lambda x: write(w(4, 6).clone(), x[0, 0, 0], (ix(3, 0, 1),))),
        of("where.self where.ScalarOther where.ScalarSelf", lambda x: torch.where(mask(6), x, w(4, 6)), lambda x: torch.where(mask(4, 1), x, -INF), lambda x: torch.where(mask(4, 6), 0.0, x)),
        of("where.self", lambda x: torch.where(mask(4, 6), x, 3 * x), lambda x: torch.where(mask(4, 6), x, x.flip(1)), loose=2.3),
        of("where.self", lambda x: torch.where(mask(3, 4, 1), x, x[:, :1]), lambda x: torch.where(mask(4, 6), x, x[:, :, :1] * 2), loose=4.0),
        of("masked_fill.Scalar masked_fill.Tensor", lambda x: x.masked_fill(mask(4, 1), -INF), lambda x: x.masked_fill(mask(4, 6), w(1)[0])),
        of("masked_fill.Scalar", lambda x: x.masked_fill(mask(3, 1, 1), 2.0), loose=3.0),
    ),
)  # fmt: skip

AFFINE_SINGLE = table(
    (
        (1, 13),
        # positions that differ from those in float64
        of("upsample_nearest1d.vec", *[lambda x, s=s: F.interpolate(x, scale_factor=s) for s in (1.1, 1.3, 2.6, 0.7)]),
        of("upsample_nearest1d.vec", *[lambda x, n=n: F.interpolate(x, size=n) for n in (49, 93, 98)]),
        of("_upsample_nearest_exact1d.vec", *[lambda x, n=n: F.interpolate(x, size=n, mode="nearest-exact") for n in (7, 93)]),
    ),
    dtype=torch.float32,
)  # fmt: skip


AFFINE_BY_HAND = table(
    (
        (2, 3),
        by_hand("reshape.default", X, [3, 2]),
        by_hand("flatten.using_ints", X, 1, 2),
        by_hand("unflatten.int", X, 2, [3, 1]),
        by_hand("contiguous.default", X),
        by_hand("lift_fresh_copy.default", X),
        by_hand("to.dtype", X, torch.float32),
        by_hand("view_as.default", X, lambda: w(6)),
        by_hand("reshape_as.default", X, lambda: w(3, 2)),
        by_hand("atleast_1d.default", X),
        by_hand("atleast_2d.default", X),
        by_hand("atleast_3d.default", X),
        by_hand("ravel.default", X),
        by_hand("numpy_T.default", X),
        by_hand("mT.default", X),
        by_hand("movedim.int", X, 2, 0),
        by_hand("movedim.intlist", X, [0, 2], [2, 1]),
        by_hand("swapaxes.default", X, 0, 2),
        by_hand("narrow.default", X, 2, 1, 2),
        by_hand("chunk.default", X, 2, 2),
        by_hand("tensor_split.sections", X, 2, 2),
        by_hand("tensor_split.indices", X, [1], 1),
        by_hand("batch_norm.default", X, lambda: w(2), None, lambda: w(2), lambda: w(2).abs(), False, 0.1, 0.3, False),
        by_hand("native_batch_norm.default", X, None, None, lambda: w(2), lambda: w(2).abs(), False, 0.1, 1e-3),
    ),
    ((3,), by_hand("t.default", X)),
)  # fmt: skip
"""Operators that torch.export breaks up, even where they are called as they are."""

POOLING_BY_HAND = table(((2, 6), by_hand("max_pool1d_with_indices.default", X, [3], [1])))

REFUSED = table(
    (
        (2, 6),
        of("sum.default sum.dim_IntList cumsum.default", lambda x: x.sum(dtype=torch.int64), lambda x: x.sum(1, dtype=torch.int32), lambda x: x.cumsum(1, dtype=torch.int64)),
        of("_to_copy.default copy.default", lambda x: x.long(), lambda x: A.copy.default(ix(*range(12)).view(1, 2, 6), x)),
        of("sort.default topk.default max.dim", lambda x: x.sort(2)[1], lambda x: x.topk(2)[1], lambda x: x.max(2)[1]),
        of("adaptive_max_pool1d.default", lambda x: F.adaptive_max_pool1d(x, 2, True)[1]),
        of("native_layer_norm.default _fused_rms_norm.default", lambda x: A.native_layer_norm.default(x, [6], None, None, 0.1)[2], lambda x: A._fused_rms_norm.default(x, [6], w(6), 0.2)[1]),
        of("linalg_vector_norm.default", *[lambda x, p=p: torch.linalg.vector_norm(x, p, dim=2) for p in (0.5, 0, -1)]),
        of("prelu.default", lambda x: F.prelu(w(1, 2), x[0, :, 0])),
        of("as_strided.default", lambda x: x.mT.as_strided((2, 2), (2, 1)), lambda x: x[:, 1:].as_strided((2, 2), (2, 1))),
        of("masked_fill.Tensor", lambda x: x.masked_fill(mask(2, 6), x[0, 0, 0])),
        of("addmm.default", lambda x: torch.addmm(w(2, 2), x[0], x[0].mT)),
        of("linear.default conv1d.default", lambda x: F.linear(w(3, 6), x[0]), lambda x: F.conv1d(w(1, 2, 8), x)),
        of("clamp.Tensor mul.Tensor div.Tensor", lambda x: x.clamp(w(6) / 0 * 0), lambda x: x * (w(6) / 0), lambda x: x / (0 * w(6))),
        of("std.correction var.correction", lambda x: x[:, :, :1].std(2, correction=1), lambda x: x.var(2, correction=6)),
    ),
)  # fmt: skip
"""What has no constant, or none that is known."""


@pytest.mark.parametrize(("group", "case"), cases(REFUSED))
def test_refused(group: Group, case: Case) -> None:
    graph = graph_of(group, case)
    with pytest.raises(ValueError, match=case.operator.split(".")[1]):
        Analysis(graph, 2, group.radius).run()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_epsilon_of_rms_norm_is_that_of_the_type(dtype: torch.dtype) -> None:
    (group,) = table(((4,), of("rms_norm.default", lambda x: F.rms_norm(x, (4,)))), dtype=dtype)
    bound = Analysis(graph_of(group, group.cases[0])).run().value
    x = torch.full((1, 4), 2.0**-20 if dtype != torch.float64 else 2.0**-40, dtype=dtype)
    reached = (F.rms_norm(x, (4,)).double().norm() / x.double().norm()).item()
    assert 0.98 * reached <= bound <= 1.05 * reached


def norm(matrix: Tensor, order: float) -> float:
    return torch.linalg.matrix_norm(matrix, order).item() if matrix.numel() else 0.0


def dense(case: Case, shape: Shape, dtype: torch.dtype) -> Tensor:
    """The linear part on all unit vectors, one at a time, as (out, in)."""
    with torch.no_grad():
        offset = case.function(torch.zeros(1, *shape, dtype=dtype)).double()
        columns = []
        for unit in torch.eye(math.prod(shape), dtype=dtype):
            image = case.function(unit.clone().view(1, *shape)).double()
            columns.append(torch.where(image == offset, 0, image - offset).flatten())
    return torch.stack(columns, 1)


@pytest.mark.parametrize(("group", "case"), cases(AFFINE + AFFINE_SINGLE + AFFINE_BY_HAND))
def test_affine(group: Group, case: Case) -> None:
    graph = graph_of(group, case)
    exact = dense(case, group.shape, group.dtype)
    for order in ORDERS:
        q = Analysis(graph, order)
        bound, least = q.run().value, norm(exact, order)
        narrower = torch.finfo(graph.outputs[0].dtype).eps > torch.finfo(group.dtype).eps
        assert q.certified == (not narrower)
        assert least * (1 - 1e-12) <= bound, (order, bound, least)
        assert case.reaches(order, bound, least, 1 + 1e-9), (order, bound, least)
    (base,) = [term.base for term in q.values[graph.input].terms]
    terms = q.values[graph.outputs[0]].terms
    if all(term.base is base for term in terms):
        parts = [_image(term.steps, base.shape, moduli=False) for term in terms]
        assert torch.allclose(sum(parts, torch.zeros_like(exact)), exact, rtol=1e-6, atol=1e-7)
        moduli = [_image(term.steps, base.shape, moduli=True) for term in terms]
        assert (sum(moduli, torch.zeros_like(exact)) >= exact.abs() - 1e-7).all()


def _image(steps: Any, shape: Shape, *, moduli: bool) -> Tensor:
    """As the chain bounds take it: the maps of all unit vectors at once."""
    return _matrix(steps, shape, moduli=moduli)


# Functions of each entry: slopes and values on a grid

ELEMENTWISE = table(
    (
        (2,),
        of("relu.default relu6.default", F.relu, F.relu6),
        of("leaky_relu.default", *[lambda x, s=s: F.leaky_relu(x, s) for s in (0.01, -0.3, -2.0, 3.0, 0.0)]),
        of("elu.default", *[lambda x, a=a: F.elu(x, a) for a in (1.0, 0.3, -0.7, 2.5, 0.0)]),
        of("elu.default", *[lambda x, a=a: A.elu.default(x, *a) for a in ((1.5, 0.5, 3.0), (-1.0, -2.0, 0.5), (1.0, 2.0, 0.0))]),
        of("celu.default", lambda x: F.celu(x, 0.3), lambda x: F.celu(x, 4.0)),
        of("selu.default silu.default mish.default hardswish.default", F.selu, F.silu, F.mish, F.hardswish),
        of("gelu.default", F.gelu, lambda x: F.gelu(x, approximate="tanh")),
        of("sigmoid.default hardsigmoid.default tanh.default", torch.sigmoid, F.hardsigmoid, torch.tanh),
        of("hardtanh.default clamp.default clamp_min.default clamp_max.default", lambda x: F.hardtanh(x, -0.5, 3.0), lambda x: x.clamp(-1, None), lambda x: x.clamp_min(0.2), lambda x: x.clamp_max(-1)),
        of("clamp.default", lambda x: x.clamp(2, -1), loose=INF),
        of("clamp.Tensor clamp_min.Tensor clamp_max.Tensor", lambda x: x.clamp(w(2), w(2) + 1), lambda x: torch.clamp_min(x, w(2)), lambda x: torch.clamp_max(x, w(2))),
        of("clamp.Tensor", lambda x: torch.clamp(w(2), max=x), lambda x: x.clamp(max=w(2))),
        of("logaddexp.default logaddexp2.default hypot.default", lambda x: torch.logaddexp(x, w(2)), lambda x: torch.logaddexp2(w(2), x), lambda x: torch.hypot(x, w(2))),
        of("softplus.default", F.softplus, lambda x: F.softplus(x, 3.0), lambda x: F.softplus(x, -1.0, 25), lambda x: F.softplus(x, 0.1, 30)),
        of("prelu.default", lambda x: F.prelu(x, w(2, seed=-2.0)), lambda x: F.prelu(x, 3 * w(2)), lambda x: F.prelu(x, -w(1) / 2)),
        of("_prelu_kernel.default", lambda x: A._prelu_kernel.default(x, -2 * w(2))),
        of("rrelu.default", lambda x: F.rrelu(x), lambda x: F.rrelu(x, 1.0, 2.0), lambda x: F.rrelu(x, -3.0, -1.5)),
        of("log_sigmoid.default lipbounds.softsign.default lipbounds.tanhshrink.default", F.logsigmoid, F.softsign, F.tanhshrink),
        of("lipbounds.softshrink.default", lambda x: F.softshrink(x, 0.1), lambda x: F.softshrink(x, 2.0), lambda x: F.softshrink(x, 0.0)),
        of("lipbounds.hardshrink.default", lambda x: F.hardshrink(x, 0.0), lambda x: F.hardshrink(x, -1.0)),
        of("threshold.default", lambda x: F.threshold(x, 0.3, 0.3), lambda x: F.threshold(x, -2, -2)),
        of("abs.default sin.default cos.default atan.default asinh.default erf.default", torch.abs, torch.sin, torch.cos, torch.atan, torch.asinh, torch.erf),
        of("erfc.default nan_to_num.default", torch.erfc, torch.nan_to_num),
        of("maximum.default minimum.default max.other min.other fmax.default fmin.default", lambda x: torch.maximum(x, w(2)), lambda x: torch.minimum(w(2), x), lambda x: torch.max(x, w(2)), lambda x: torch.min(w(2), x), lambda x: torch.fmax(x, w(2)), lambda x: torch.fmin(x, w(2))),
        of("div.Tensor", lambda x: x / (1 + x.abs()), lambda x: x / (x.abs() + 1)),
        of("pow.Tensor_Scalar", lambda x: x**1, lambda x: x**0, loose=INF),
    ),
    (
        0.7, (2,),
        of("square.default exp.default expm1.default", torch.square, torch.exp, torch.expm1),
        of("exp.default", lambda x: torch.exp(-3 * x + 1), lambda x: torch.exp(x * w(2)), loose=1.5),
        of("pow.Tensor_Scalar", *[lambda x, p=p: x**p for p in (2, 3, 4, 5, 1, 0)]),
        of("pow.Tensor_Scalar", *[lambda x, p=p: (x + 1) ** p for p in (0.5, -1, -2.5, 1.5, -2, 0.01, -3, 7)]),
        of("pow.Tensor_Scalar", *[lambda x, p=p: (x - 1) ** p for p in (-1, -2, -3, 3, 2)]),
        of("pow.Scalar", *[lambda x, b=b: b**x for b in (2.0, 0.1, 1.0, 10.0)]),
        of("exp2.default sinh.default cosh.default", torch.exp2, torch.sinh, torch.cosh),
        of("log2.default log10.default", lambda x: torch.log2(x.square() + 0.5), lambda x: torch.log10(x.square() + 0.5), loose=INF),
        of("pow.Tensor_Scalar", lambda x: (x**2 + 1).sqrt(), lambda x: (x**4 + 1) ** -1, loose=INF),
        of("log.default log1p.default sqrt.default rsqrt.default reciprocal.default", lambda x: torch.log(x + 1), torch.log1p, lambda x: torch.sqrt(0.8 - x), lambda x: torch.rsqrt(x + 0.71), lambda x: torch.reciprocal(x - 0.75)),
        of("mul.Tensor", lambda x: x * x, lambda x: (x + 1) * (x + 1), loose=2.1),
        of("mul.Tensor", lambda x: x * torch.sigmoid(3 * x), lambda x: (x + 2) * x * x, loose=2.6),
        of("div.Tensor", lambda x: w(2) / (x - 2), lambda x: (x + 1) / (2 + x.abs()), loose=2.6),
        of("clamp.default", lambda x: x / x.abs().clamp(0.5), loose=INF),
        of("sigmoid.default silu.default", torch.sigmoid, F.silu, loose=2.0),
    ),
)  # fmt: skip

JUMPING = table(
    (
        (2,),
        of("softplus.default", lambda x: F.softplus(x, 1.0, 5), lambda x: F.softplus(x, -2.0, -1)),
        of("threshold.default", lambda x: F.threshold(x, 0.3, 0.0), lambda x: F.threshold(x, -1, 2)),
        of("lipbounds.hardshrink.default", lambda x: F.hardshrink(x, 0.3), lambda x: torch.hardshrink(x, 2)),
        of("celu.default elu.default", lambda x: F.celu(x, -1.0), lambda x: A.elu.default(x, 1.0, 1.0, -1.0)),
        of("exp.default log.default sqrt.default square.default reciprocal.default", torch.exp, torch.log, torch.sqrt, torch.square, torch.reciprocal),
        of("pow.Tensor_Scalar", *[lambda x, p=p: x**p for p in (2, 0.5, -1, 1.5)]),
        of("pow.Scalar", lambda x: 2**x, lambda x: 0**x),
        of("mul.Tensor div.Tensor", lambda x: x * torch.sin(x), lambda x: w(2) / x),
    ),
    (
        0.7, (2,),
        of("log.default sqrt.default reciprocal.default", lambda x: torch.log(x + 0.7), lambda x: torch.sqrt(x + 0.6), lambda x: torch.reciprocal(x)),
        of("pow.Tensor_Scalar", *[lambda x, p=p: x**p for p in (0.5, -1, 1.5, -2)]),
        of("div.Tensor", lambda x: w(2) / (x + 0.7)),
    ),
)  # fmt: skip


def grid(radius: float) -> Tensor:
    """Both entries alike, dense near the origin and far out where the radius lets it."""
    far = 1e6 if radius == INF else radius
    small = torch.logspace(-9, math.log10(far), 300, dtype=torch.float64)
    middle = torch.linspace(-1, 1, 6001, dtype=torch.float64) * min(12.0, radius)
    line = torch.cat([-small, small, middle]).clamp(-radius, radius).sort().values
    return line[torch.cat([line.diff() > 1e-9, torch.tensor([True])])].unsqueeze(1).expand(-1, 2)


@pytest.mark.parametrize(("group", "case"), cases(ELEMENTWISE))
def test_elementwise(group: Group, case: Case) -> None:
    graph = graph_of(group, case)
    x = grid(group.radius).clone().requires_grad_()
    y = case.function(x)
    (slope,) = torch.autograd.grad(y.sum(), x) if y.requires_grad else (torch.zeros_like(x),)
    y = y.detach()
    gaps = x.detach().diff(dim=0)
    steps = y.diff(dim=0) / gaps
    errors = 1e-14 * (1 + y.abs().maximum(x.detach().abs()))[1:] / gaps
    for order in ORDERS:
        q = Analysis(graph, order, group.radius)
        bound = q.run().value
        assert slope.abs().max() <= bound * (1 + 1e-7), order  # torch takes 1 / 6 in float32
        assert (steps.abs() <= bound + errors).all(), order
        assert case.reaches(order, bound, slope.abs().max().item(), 1.03), order
        assert group.radius < INF or q.certified
    behaviour = q.behaviours[graph.outputs[0]]
    if isinstance(behaviour, Elementwise) and behaviour.input is graph.input:
        low, high = behaviour.slopes.low, behaviour.slopes.high
        assert (slope >= low - 1e-7 * (1 + abs(low))).all()
        assert (slope <= high + 1e-7 * (1 + abs(high))).all()
    for radius in (0.6, 2.5) if group.radius == INF else (group.radius,):
        q = Analysis(graph, INF, radius)
        q.run()
        known = q.ranges.of(graph.outputs[0])
        inside = y[(x.abs() <= radius).all(1)]
        assert known.low <= inside.min() + 1e-12, radius
        assert inside.max() - 1e-12 <= known.high, radius


@pytest.mark.parametrize(("group", "case"), cases(JUMPING))
def test_what_jumps_or_grows_without_end_has_no_bound(group: Group, case: Case) -> None:
    assert Analysis(graph_of(group, case), 2, group.radius).run().value == INF


# The others: points at random, at the origin, on the edge of the ball and far out

NONLINEAR = table(
    (
        (2, 6),
        of("amax.default amin.default", lambda x: x.amax(2), lambda x: x.amin((1, 2))),
        of("max.dim min.dim max.default min.default", lambda x: x.max(1)[0], lambda x: x.min(-1)[0], lambda x: x.max(), lambda x: x.min()),
        of("sort.default sort.stable topk.default", lambda x: x.sort(2)[0], lambda x: x.sort(dim=1, stable=True, descending=True)[0], lambda x: x.topk(3, 2)[0]),
        of("median.dim median.default kthvalue.default", lambda x: x.median(2)[0], lambda x: x.median(), lambda x: x.kthvalue(2, 2)[0]),
        of("linalg_vector_norm.default", *[lambda x, p=p: torch.linalg.vector_norm(x, p, dim=2) for p in (1, 2, 3, 1.5, INF)]),
        of("linalg_vector_norm.default", *[lambda x, p=p: x.norm(p) for p in (1, 2, INF)]),
        of("norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim", lambda x: A.norm.Scalar(x, 3), lambda x: A.norm.ScalarOpt_dim(x, 1, [1]), lambda x: A.norm.ScalarOpt_dim(x, None, [2])),
        of("std.correction", lambda x: x.std(2, correction=0), lambda x: x.std(), orders=(2,)),
        of("view_as_complex.default view_as_real.default", *[lambda x: R(C(x.view(1, 2, 3, 2)).roll(1, 1)[:, :, :2])] * 2, orders=(2,)),
        of("complex.default mul.Tensor div.Tensor add.Tensor", lambda x: R(torch.complex(x, 3 * x.flip(2))), lambda x: R(x.unsqueeze(1) * cw(3, 1, 6)), lambda x: R((x * 1j) / cw(6)), lambda x: R(x - 2j * x + cw(6)), orders=(2,), loose=3.1),
        of("_conj_physical.default _conj.default abs.default", lambda x: R((x * (2 + 1j)).conj_physical()), lambda x: R(A._conj.default(x * (2 + 1j)).roll(1, 1)), lambda x: (x * (1 + 5j)).abs(), orders=(2,)),
        of("_fft_r2c.default", *[lambda x, n=n: R(A._fft_r2c.default(x, [2], n, True)) for n in (0, 1, 2)], lambda x: R(A._fft_r2c.default(x, [1, 2], 0, False)), orders=(2,)),
        of("_fft_c2c.default", lambda x: R(A._fft_c2c.default(x * 1j, [2], 2, False)), lambda x: R(A._fft_c2c.default(A._fft_r2c.default(x, [2], 0, False), [1], 0, True))[..., 0], orders=(2,)),
        of("_fft_c2r.default", lambda x: A._fft_c2r.default(C(x.view(1, 6, 2)), [1], 2, 11), lambda x: A._fft_c2r.default(C(x.view(1, 2, 3, 2)), [1, 2], 0, 4), lambda x: A._fft_c2r.default(A._fft_r2c.default(x, [2], 0, True) * cw(4), [2], 2, 6), orders=(2,), loose=1.5),
        of("linear.default matmul.default mv.default bmm.default", lambda x: R(F.linear(x * 1j, cw(3, 6))), lambda x: R(cw(3, 2) @ (x * (1 + 1j))), lambda x: R(torch.mv(x[0] * 1j, cw(6))), lambda x: R(torch.bmm((x * 1j).expand(2, 2, 6), cw(2, 6, 3))), orders=(2,), loose=1.5),
        of("softmax.int softmax.int _softmax.default _safe_softmax.default", lambda x: x.softmax(2), lambda x: x.softmax(1), lambda x: A._softmax.default(x, 2, False), lambda x: A._safe_softmax.default(x, 2)),
        of("log_softmax.int _log_softmax.default log_softmax.int", lambda x: x.log_softmax(2), lambda x: A._log_softmax.default(x, 1, False), lambda x: x.log_softmax(1)),
        of("logsumexp.default", lambda x: x.logsumexp(2), lambda x: x.logsumexp((1, 2))),
        of("cummax.default cummin.default logcumsumexp.default", lambda x: x.cummax(2)[0], lambda x: x.cummin(1)[0], lambda x: x.logcumsumexp(2), loose=1.2),
        of("logaddexp.default logaddexp2.default hypot.default hypot.default", lambda x: torch.logaddexp(x, -2 * x), lambda x: torch.logaddexp2(x, x.flip(2)), lambda x: torch.hypot(x, 3 * x), lambda x: torch.hypot(x, x.roll(1, 2)), loose=3.5),
        of("clamp.Tensor maximum.default", lambda x: torch.clamp(x, x.flip(2), 2 * x.roll(1, 2)), lambda x: torch.maximum(x, w(3, 1, 6)), loose=3.5),
        of("max_pool1d.default", lambda x: F.max_pool1d(x, 2), lambda x: F.max_pool1d(x, 3, 1, 1), lambda x: F.max_pool1d(x, 2, 3, 1, 2, ceil_mode=True)),
        of("adaptive_max_pool1d.default", lambda x: F.adaptive_max_pool1d(x, 4), lambda x: F.adaptive_max_pool1d(x, 8)),
        of("maximum.default minimum.default max.other", lambda x: torch.maximum(x, -2 * x.flip(2)), lambda x: torch.minimum(x, x.roll(1, 2)), lambda x: torch.max(x, 2 * x), loose=3.5),
        of("cat.default where.self", lambda x: torch.cat([x.sin(), x.cos(), w(1, 2, 6)], 1), lambda x: torch.where(mask(2, 6), x.sin(), x.flip(1).cos()), loose=2.1),
        of("softmax.int", lambda x: (x @ w(6, 4)).softmax(-1) @ w(4, 3), loose=INF),
    ),
    (
        (2, 3),
        of("layer_norm.default", lambda x: F.layer_norm(x, (3,), 2 * w(3), w(3), 0.3), lambda x: F.layer_norm(x, (2, 3), eps=0.1), orders=(2,), loose=1.7),
        of("native_layer_norm.default", lambda x: A.native_layer_norm.default(x, [3], None, None, 0.1)[0], orders=(2,)),
        of("rms_norm.default", lambda x: F.rms_norm(x, (3,), w(3), 0.2), lambda x: F.rms_norm(x, (2, 3), None, 0.2), lambda x: F.rms_norm(x, (3,)), orders=(2,)),
        of("_fused_rms_norm.default", lambda x: A._fused_rms_norm.default(x, [3], w(3), 0.2)[0], orders=(2,)),
        of("group_norm.default", lambda x: F.group_norm(x.view(1, 6, 1), 2, w(6), w(6), 0.1), lambda x: F.group_norm(x, 1, eps=0.3), orders=(2,), loose=1.7),
        of("instance_norm.default", lambda x: F.instance_norm(x, weight=-w(2), bias=w(2), eps=0.2), orders=(2,)),
        of("_native_batch_norm_legit.no_stats", lambda x: A._native_batch_norm_legit.no_stats(x, w(2), None, True, 0.1, 0.2)[0], orders=(2,)),
        of("div.Tensor", lambda x: F.normalize(x, dim=2, eps=0.5), lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=0.3), orders=(2,)),
    ),
    (
        (2, 4, 4),
        of("max_pool2d.default", lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 3, (1, 2), 1), lambda x: F.max_pool2d(x, 2, 2, 1, (2, 1), True)),
        of("max_pool2d_with_indices.default", lambda x: A.max_pool2d_with_indices.default(x, [3, 2], [1, 1])[0]),
        of("adaptive_max_pool2d.default", lambda x: F.adaptive_max_pool2d(x, (3, 6))),
    ),
    (
        (1, 2, 3, 3),
        of("max_pool3d.default max_pool3d_with_indices.default adaptive_max_pool3d.default", lambda x: F.max_pool3d(x, 2, 1), lambda x: A.max_pool3d_with_indices.default(x, [2, 2, 2], [1, 1, 1])[0], lambda x: F.adaptive_max_pool3d(x, (1, 2, 4))),
    ),
    (
        1.5, (2, 3),
        of("mul.Tensor", lambda x: x * x.flip(2), lambda x: x * x[:, :1], lambda x: x[:, :, :1] * (x + 1), lambda x: x.unsqueeze(1) * x.unsqueeze(2), loose=6.0),
        of("div.Tensor", lambda x: x / (x.flip(1) + 2), lambda x: x[:, :1] / (2 + x), lambda x: w(2, 3) / (x[:, :, :1] + 2), loose=12.0),
        of("div.Tensor", lambda x: x / x.norm(dim=2, keepdim=True).clamp(0.5, 0.6), lambda x: x / x.norm(dim=2, keepdim=True).clamp(1.0, 0.1), lambda x: x / x.norm(dim=2, keepdim=True).clamp_min(0.5).view(1, 1, 2)[..., :1], lambda x: x / x.norm(dim=2, keepdim=True).clamp_min(0.5).view(1, 1, 2).mT.flip(1), lambda x: x / x.norm(dim=2, keepdim=True).clamp_min(0.5).expand(4, 2, 3), loose=INF),
        of("div.Tensor", lambda x: (x[:, :, :2] / x[:, :, :2].norm(dim=2, keepdim=True).clamp_min(0.5).view(1, 1, 2)) ** 2, lambda x: (x / x.norm(dim=2, keepdim=True).clamp(0.1, 0.2)).square(), loose=INF),
        of("matmul.default bmm.default mm.default", lambda x: x @ x.mT, lambda x: torch.bmm(x.mT, x.sin()), lambda x: torch.mm(x[0], x[0].mT), orders=(2,), loose=5.0),
        of("dot.default mv.default matmul.default matmul.default", lambda x: torch.dot(x[0, 0], x[0, 1]), lambda x: torch.mv(x[0], x[0, 1]), lambda x: x[0, 0] @ x.mT, lambda x: x.expand(4, 2, 3) @ x[0, 1], orders=(2,), loose=8.0),
        of("matmul.default", lambda x: (x @ x.mT) @ x, lambda x: x.unsqueeze(1) @ x.expand(3, 2, 3).mT, orders=(2,), loose=40.0),
        of("prod.dim_int", lambda x: x.prod(2), lambda x: x.prod(1, keepdim=True), lambda x: x[:, :, :1].prod(2), loose=12.0),
        of("prod.default", lambda x: x.prod(), lambda x: x[:, :1, :1].prod(), loose=INF),
        of("var.correction", lambda x: x.var(2, correction=0), lambda x: x.var(1, correction=1), lambda x: x.var(), orders=(2,), loose=4.0),
        of("scaled_dot_product_attention.default", lambda x: F.scaled_dot_product_attention(x, x @ w(3, 3), x), lambda x: F.scaled_dot_product_attention(2 * x, x, x, is_causal=True, scale=3.0), lambda x: F.scaled_dot_product_attention(x, x, x, scale=-2.0), lambda x: F.scaled_dot_product_attention(x, x, x + 1, attn_mask=w(2, 2)), lambda x: F.scaled_dot_product_attention(x[:, :1], x, x), orders=(2,), loose=40.0),
        of("exp.default sqrt.default log.default", lambda x: x.sum(2).exp(), lambda x: (x.square().sum(2) + 0.1).sqrt(), lambda x: (x.sum(2).exp() + 1).log(), loose=INF),
        of("softmax.int", lambda x: x.softmax(2) * x, lambda x: (x.softmax(1) + 1).log() @ x.mT, orders=(2,), loose=INF),
    ),
)  # fmt: skip


def points(group: Group) -> Tensor:
    """Directions of every kind at lengths of every kind; none outside the ball in the 1-norm, and some
    outside of those in other norms, to be left out there."""
    generator = torch.Generator().manual_seed(0)
    n = math.prod(group.shape)
    signs = torch.ones(n, dtype=torch.float64)
    signs[1::2] = -1
    pair = torch.zeros(n, dtype=torch.float64)
    pair[:2] = 1
    directions = torch.cat(
        [
            torch.randn(6, n, generator=generator, dtype=torch.float64),
            torch.eye(n, dtype=torch.float64),
            -torch.eye(n, dtype=torch.float64) + 1e-12 * torch.arange(n),
            torch.stack([torch.arange(n) / n - 0.3, signs, pair, w(n), -(w(n, seed=2.0) ** 3)]),
        ]
    )
    lengths = (
        (1e-9, 1e-2, 1.0, 30.0)
        if group.radius == INF
        else tuple(group.radius * t for t in (1e-9, 0.3, 1.0))
    )
    found = [
        directions * (length / torch.linalg.vector_norm(directions, p, dim=1, keepdim=True))
        for length in lengths
        for p in (ORDERS if group.radius < INF else (2,))
    ]
    return torch.cat(found).view(-1, *group.shape)


@pytest.mark.parametrize(("group", "case"), cases(NONLINEAR + POOLING_BY_HAND))
def test_nonlinear(group: Group, case: Case) -> None:
    graph = graph_of(group, case)
    x = points(group)

    def function(one: Tensor) -> Tensor:
        return case.function(one.unsqueeze(0))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no batching rule for some
        jacobians = torch.func.vmap(torch.func.jacrev(function))(x)
        values = torch.func.vmap(function)(x)
    flat, images = x.flatten(1), values.reshape(len(x), -1)
    jacobians = jacobians.reshape(len(x), images.shape[1], flat.shape[1])
    for order in case.orders:
        q = Analysis(graph, order, group.radius)
        bound = q.run().value
        lengths = torch.linalg.vector_norm(flat, order, dim=1)
        inside = lengths <= group.radius * (1 + 1e-12)
        kept = inside & jacobians.isfinite().flatten(1).all(1)  # hypot has no derivative at 0
        norms = torch.linalg.matrix_norm(jacobians[kept], order)
        points_in, images_in = flat[inside], images[inside]
        shift = torch.randperm(len(points_in), generator=torch.Generator().manual_seed(1))
        moved = torch.linalg.vector_norm(points_in - points_in[shift], order, dim=1)
        # what is infinite everywhere is constant
        apart = torch.linalg.vector_norm((images_in - images_in[shift]).nan_to_num(), order, dim=1)
        kept = moved > 1e-6
        quotients = (apart - 1e-12 * images_in.nan_to_num(posinf=0, neginf=0).abs().amax(1))[
            kept
        ] / moved[kept]
        reached = max(norms.max().item(), quotients.max().item())
        assert reached <= bound * (1 + 1e-7), order
        assert case.reaches(order, bound, reached, 1.05), (order, bound, reached)
    for radius in (0.5, 5.0) if group.radius == INF else (group.radius,):
        order = case.orders[-1]
        q = Analysis(graph, order, radius)
        q.run()
        inside = torch.linalg.vector_norm(flat, order, dim=1) <= radius
        known, result = q.ranges.of(graph.outputs[0]), values[inside]
        assert known.low <= result.min() + 1e-12, radius
        assert result.max() - 1e-12 <= known.high, radius
        tokens = torch.linalg.vector_norm(result, dim=-1) if result.dim() > 1 else result.abs()
        assert tokens.max() <= q.ranges.token(graph.outputs[0]) + 1e-12


def test_every_operator_has_a_case_that_reaches_it() -> None:
    groups = (
        AFFINE + AFFINE_SINGLE + AFFINE_BY_HAND + ELEMENTWISE + JUMPING + NONLINEAR + POOLING_BY_HAND
    )
    for group in groups + REFUSED:
        for case in group.cases:
            assert case.operator in {node.operator for node in graph_of(group, case).nodes}, case.key
    builtin = {
        key for key, operator in OPERATORS.items() if operator.rule.__module__.startswith("lipbounds")
    }
    assert builtin == {case.operator for group in groups for case in group.cases}
