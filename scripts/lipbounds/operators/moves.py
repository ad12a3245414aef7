"""Operators that move entries: reshapes, slices, permutations, copies, padding, and joins of tensors.

The position that each entry of the result comes from is read off the operator itself, run on the
numbers of the positions.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lipbounds.graph import Node, Shape
from lipbounds.maps import Known, LinearMap, Scaling, Selection, certified
from lipbounds.operator_norm import OperatorNorm
from lipbounds.operators.analysis import names
from lipbounds.operators.linear import spread
from lipbounds.operators.table import (
    Affine,
    Behaviour,
    Elementwise,
    Joined,
    Range,
    Slopes,
    operators,
    weight_of,
)
from lipbounds.rounding import sqrt_up

if TYPE_CHECKING:
    from lipbounds.operators.analysis import Analysis

_DIGIT = 1 << 24
"""Whole numbers up to this are exact in float32."""


def selection(node: Node, source: Node, *, copies: bool, padding: Any = None) -> Selection:
    """The map of a node that moves entries of ``source``; other arguments count as constants."""

    def index() -> Tensor:
        count = math.prod(source.shape)
        numbers = torch.arange(count).view(source.shape)
        low = _tracked(node, source, numbers % _DIGIT + 1)
        if count <= _DIGIT:
            return low - 1
        high = _tracked(node, source, numbers // _DIGIT + 1)
        return torch.where(low > 0, (high - 1) * _DIGIT + low - 1, -1)

    return Selection(node.shape, index, copies, padding)


def _tracked(node: Node, source: Node, numbers: Tensor) -> Tensor:
    """Which of the positive ``numbers`` each entry of the result is, 0 where it is a constant."""
    # resampling computes positions in the dtype that it is run in
    single = "upsample" in node.operator and source.dtype != torch.float64
    dtype = torch.float32 if single else torch.float64
    others = {other: torch.zeros(other.shape, dtype=dtype) for other in node.inputs}
    runs = [
        node.run(others | {source: sign * numbers.to(dtype)}, wide=not single).flatten()
        for sign in (1, -1)
    ]
    return torch.where(runs[0] == -runs[1], runs[0], 0).round().long()


def _moves(*names: str, constant: str = "1", tightness: str = "exact", kind: str = "moves") -> None:
    """``kind``: ``keeps`` all entries in order, ``moves`` each to one place at most, or ``copies``."""

    def rule(q: "Analysis", node: Node, **arguments: Any) -> Behaviour:
        (source,) = node.inputs
        if not (node.dtype.is_floating_point or node.dtype.is_complex):
            raise ValueError("converts to whole numbers, which jump")
        if "as_strided" in node.operator and not _contiguous(q, source):
            raise ValueError("reads the memory of a tensor whose entries do not lie in it in order")
        if kind == "keeps":
            _note_rounding(q, node, source)
            return Affine([(source, (Selection(node.shape),))], silent=True)
        fill = arguments.get("value")
        moved = selection(node, source, copies=kind == "copies")
        return Affine([(source, (moved,))], silent=not fill)

    source = "moves entries, or adds constants" if kind != "copies" else "A^T A is diagonal"
    operators(*names, constant=constant, source=source, tightness=tightness, complex=True)(rule)


def _note_rounding(q: "Analysis", node: Node, source: Node) -> None:
    """Conversions to a type that is less precise than the input, whose steps no bound counts.

    Raises
    ------
    ValueError
        For types in which nothing is computed: what is stored so is quantised.
    """
    if not (node.dtype.is_floating_point and source.dtype.is_floating_point):
        return
    if node.dtype.itemsize == 1:
        raise ValueError(f"quantises to {node.dtype}, whose steps are jumps")
    given = q.graph.input.dtype
    if torch.finfo(node.dtype).eps > max(torch.finfo(source.dtype).eps, torch.finfo(given).eps):
        how = f"rounds to {node.dtype}, which the bound does not count"
        q.row(*names(node), OperatorNorm(1.0, "upper", certified=False, how=how), how, 0.0)


def _contiguous(q: "Analysis", source: Node) -> bool:
    value = q.graph.run(torch.zeros(q.graph.input.shape, dtype=q.graph.input.dtype))[source]
    return bool(value.is_contiguous() and value.storage_offset() == 0)


_moves(
    "view.default", "_unsafe_view.default", "reshape.default", "flatten.using_ints", "unflatten.int",
    "squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "clone.default",
    "alias.default", "detach.default", "contiguous.default", "lift_fresh_copy.default",
    "_to_copy.default", "to.dtype", "type_as.default", "view_as.default", "reshape_as.default",
    "atleast_1d.default", "atleast_2d.default", "atleast_3d.default", "ravel.default",
    kind="keeps",
)  # fmt: skip
_moves(
    "permute.default", "transpose.int", "t.default", "numpy_T.default", "mT.default", "movedim.int",
    "movedim.intlist", "swapaxes.default", "slice.Tensor", "select.int", "narrow.default",
    "split.Tensor", "split_with_sizes.default", "chunk.default", "tensor_split.sections",
    "tensor_split.indices", "unbind.int", "flip.default", "fliplr.default", "flipud.default",
    "rot90.default", "roll.default", "pixel_shuffle.default", "pixel_unshuffle.default",
    "channel_shuffle.default", "constant_pad_nd.default", "tril.default", "triu.default",
    "diagonal.default", "diag_embed.default", "diagonal_copy.default", "permute_copy.default",
)  # fmt: skip
_moves(
    "expand.default", "repeat.default", "tile.default", "index.Tensor", "index_select.default",
    "gather.default", "take.default", "take_along_dim.default", "unfold.default", "im2col.default",
    "as_strided.default", "reflection_pad1d.default", "reflection_pad2d.default",
    "reflection_pad3d.default", "replication_pad1d.default", "replication_pad2d.default",
    "replication_pad3d.default", "repeat_interleave.self_int", "repeat_interleave.self_Tensor",
    "upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec",
    "upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest3d.default",
    "_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec", "_upsample_nearest_exact3d.vec",
    kind="copies", constant="root of the largest number of copies of an entry",
)  # fmt: skip

_MODES = {"circular": "circular", "reflect": "reflect", "replicate": "replicate", "constant": "zeros"}


@operators(
    "pad.default",
    constant="root of the largest number of copies of an entry",
    source="A^T A is diagonal",
    tightness="exact",
)
def _pad(
    q: "Analysis", node: Node, self: Node, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> Behaviour:
    pairs = tuple((pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2))
    merges = min(pad, default=0) >= 0 and not value
    padding = (_MODES[mode], pairs) if merges and mode in _MODES else None
    moved = selection(node, self, copies=mode != "constant", padding=padding)
    return Affine([(self, (moved,))], silent=not value)


# Several tensors into one


@operators(
    "cat.default", "stack.default",
    constant="norm of the vector of the parts' constants",
    source="side by side",
    tightness="exact for parts that depend on different entries",
    complex=True,
)  # fmt: skip
def _cat(q: "Analysis", node: Node, tensors: Sequence[Any], dim: int = 0) -> Behaviour:
    return _joined(node, tensors)


@operators(
    "scatter.src", "scatter.value", "masked_scatter.default",
    constant="norm of the vector of both constants",
    source="each entry is one of either, at constant places",
    tightness="exact for parts that depend on different entries",
)  # fmt: skip
def _scattered(q: "Analysis", node: Node, self: Any, **options: Any) -> Behaviour:
    if isinstance(options.get("index", options.get("mask")), Node):
        raise ValueError("its places depend on the input")
    return _joined(node, [self, options.get("src", options.get("source"))])


@operators(
    "scatter_add.default",
    constant="root of the most entries that are added to one",
    source="A A^T is diagonal",
    tightness="exact",
)
def _scatter_add(q: "Analysis", node: Node, self: Any, dim: int, index: Any, src: Any) -> Behaviour:
    if isinstance(index, Node):
        raise ValueError("its places depend on the input")
    numbers = torch.arange(math.prod(node.shape)).view(node.shape)
    positions = torch.full(src.shape, -1)
    positions[tuple(slice(size) for size in index.shape)] = numbers.gather(dim, index.cpu())
    return _summed(self, src, positions)


def _joined(node: Node, parts: Sequence[Any]) -> Behaviour:
    varying = [part for part in parts if isinstance(part, Node)]
    constants = [weight_of(part, "a constant") for part in parts if isinstance(part, Tensor)]
    if len(varying) == 1:
        return Affine([(varying[0], (selection(node, varying[0], copies=False),))])
    return Joined(varying, _range_of(constants))


def _range_of(constants: Sequence[Tensor]) -> Range:
    ends = [end for c in constants if c.numel() for end in (c.min().item(), c.max().item())]
    return Range(min(ends), max(ends)) if ends else Range(math.inf, -math.inf)


@operators(
    "slice_scatter.default", "select_scatter.default", "diagonal_scatter.default",
    constant="norm of the vector of both constants",
    source="each entry is one of either",
    tightness="exact for parts that depend on different entries",
)  # fmt: skip
def _scatter(q: "Analysis", node: Node, self: Any, src: Any, **options: Any) -> Behaviour:
    return _joined(node, [self, src])


@operators("copy.default", constant="1", source="copies the second", tightness="exact")
def _copy(q: "Analysis", node: Node, self: Any, src: Any, non_blocking: bool = False) -> Behaviour:
    if not node.dtype.is_floating_point:
        raise ValueError("converts to whole numbers, which jump")
    return Affine([(src, spread(src.shape, node.shape))]) if isinstance(src, Node) else Affine([])


@operators(
    "index_put.default",
    constant="norm of the vector of both constants; root of the most entries that are added to one",
    source="each entry is one of either; A A^T is diagonal",
    tightness="exact for parts that depend on different entries",
)
def _index_put(
    q: "Analysis", node: Node, self: Any, indices: Any, values: Any, accumulate: bool = False
) -> Behaviour:
    if any(isinstance(index, Node) for index in indices):
        raise ValueError("its indices depend on the input")
    if accumulate:
        return _added(self, indices, values)
    sources = [part for part in (self, values) if isinstance(part, Node)]
    maps = [selection(node, source, copies=True) for source in sources]
    if len(maps) == 2 and maps[1].norm(1).value <= 1:  # no value is written twice
        return Joined(sources)
    return Affine([(source, (map_,)) for source, map_ in zip(sources, maps, strict=True)])


def _added(target: Any, indices: Sequence[Tensor | None], values: Any) -> Affine:
    """Values added to the entries of a tensor at constant indices, several to one entry or not."""
    numbers = torch.arange(math.prod(target.shape)).view(target.shape)
    positions = numbers[tuple(slice(None) if i is None else i.cpu() for i in indices)]
    return _summed(target, values, positions)


def _summed(target: Any, values: Any, positions: Tensor) -> Affine:
    """``values``, broadcast to ``positions``, added to the entries at these of a flat ``target``."""
    parts: list[tuple[Node, Sequence[LinearMap]]] = []
    if isinstance(target, Node):
        parts.append((target, []))
    if isinstance(values, Node):
        spreads = spread(values.shape, tuple(positions.shape))
        parts.append((values, [*spreads, _summing(positions, target.shape)]))
    return Affine(parts)


def _summing(positions: Tensor, shape: Shape) -> Known:
    """Each entry is added to the entry of the flat result at its position; -1 drops it."""
    size, flat = math.prod(shape), positions.flatten()
    kept = flat >= 0
    most = int(torch.bincount(flat[kept], minlength=1).max())

    def norms(ord: float) -> OperatorNorm:
        value = {1: float(min(most, 1)), 2: sqrt_up(most), math.inf: float(most)}[ord]
        return certified(value, f"up to {most} entries are added")

    def add(x: Tensor) -> Tensor:
        start = torch.zeros(size, dtype=x.dtype)
        return start.index_add(0, flat.clamp(min=0), x.reshape(-1) * kept).view(shape)

    return Known(norms, add, most)


@operators(
    "col2im.default",
    constant="root of the most entries that are added to one",
    source="A A^T is diagonal",
    tightness="exact",
)
def _col2im(q: "Analysis", node: Node, self: Node, output_size: Any, **options: Any) -> Behaviour:
    size = math.prod(node.shape)
    numbers = torch.arange(1.0, size + 1, dtype=torch.float64).view(node.shape)
    positions = torch.nn.functional.unfold(numbers, **options).long() - 1
    return Affine([(self, (_summing(positions, node.shape),))])


@operators(
    "where.self", "where.ScalarOther", "where.ScalarSelf",
    constant="norm of the vector of both constants",
    source="each entry is one of either, by a constant condition",
    tightness="exact for parts that depend on different entries",
)  # fmt: skip
def _where(q: "Analysis", node: Node, condition: Any, self: Any, other: Any) -> Behaviour:
    if isinstance(condition, Node):
        raise ValueError(
            "its condition depends on the input, and the function may jump where it changes; write it "
            "with clamp, relu, maximum or minimum"
        )
    mask = condition.double().cpu()
    parts = [(self, mask), (other, 1 - mask)]
    varying = [(part, m) for part, m in parts if isinstance(part, Node)]
    if len(varying) == 2 and all(part.shape == node.shape for part, _ in varying):
        return Joined([part for part, _ in varying])
    return Affine([(part, [*spread(part.shape, node.shape), Scaling(m)]) for part, m in varying])


@operators(
    "masked_fill.Scalar", "masked_fill.Tensor", constant="1", source="drops entries", tightness="exact"
)
def _masked_fill(q: "Analysis", node: Node, self: Any, mask: Any, value: Any) -> Behaviour:
    if isinstance(mask, Node) or isinstance(value, Node):
        raise ValueError("its mask or value depends on the input")
    kept = 1 - mask.double().cpu()
    return Affine([(self, [*spread(self.shape, node.shape), Scaling(kept)])])


@operators(
    "maximum.default", "minimum.default", "max.other", "min.other", "fmax.default", "fmin.default",
    constant="norm of the vector of both constants",
    source="each entry is one of either",
    tightness="exact for parts that depend on different entries",
)  # fmt: skip
def _larger(q: "Analysis", node: Node, self: Any, other: Any) -> Behaviour:
    return _one_of(node, [self, other])


@operators(
    "clamp.Tensor", "clamp_min.Tensor", "clamp_max.Tensor",
    constant="norm of the vector of all constants",
    source="each entry is one of them",
    tightness="exact where one varies",
)  # fmt: skip
def _clamped(q: "Analysis", node: Node, self: Any, **limits: Any) -> Behaviour:
    if any(isinstance(limit, Tensor) and limit.isnan().any() for limit in (self, *limits.values())):
        raise ValueError("a limit is NaN")
    return _one_of(node, [self, *limits.values()])


def _one_of(node: Node, parts: Sequence[Any]) -> Behaviour:
    """Each entry is that of one of the parts, which changes without a jump."""
    varying = [part for part in parts if isinstance(part, Node)]
    if len(varying) == 1:
        return Elementwise(varying[0], Slopes(0.0, 1.0))
    if any(part.shape != node.shape for part in varying):
        raise ValueError("compares tensors of different shapes; expand them first")
    return Joined(varying, _range_of([part for part in parts if isinstance(part, Tensor)]))
