"""Whether the graph is the model: both are run on the same inputs.

torch.export lets some things through that make the graph another function than the model: counters
in Python, code that asks whether it is being exported, and samples that mix, which a batch of one
cannot show. Calls of the model itself do show them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from lipbounds.graph.program import Graph, Node
from lipbounds.graph.state import State
from lipbounds.twin import twin

_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Of the largest entry of a result, by the least precise type on the way to it; kernels for other
batch sizes round otherwise."""

_HALF_TOLERANCE = 0.05

_SIZES = (1e-3, 1e3)
"""Of further inputs: what code decides by values, behind the back of the export, shows at some size."""

_MANY = 32
"""Further inputs for a model that keeps something: what it kept may show at few of them."""


class _CannotRunError(ValueError):
    """The model raises an error where it is called."""


@dataclass(frozen=True)
class _Call:
    """What a call of a model returned, and what each of its modules did, by path and number of call."""

    results: list[Tensor]
    modules: dict[tuple[str, int], Tensor]
    tolerance: float

    def agrees(self, results: Sequence[Tensor]) -> bool:
        """Whether these are the ``results``."""
        return len(results) == len(self.results) and all(map(self.close, results, self.results))

    def close(self, one: Tensor, other: Tensor) -> bool:
        """Whether two tensors differ by no more than rounding may make them."""
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if not one.is_floating_point() or one.numel() == 0:
            return torch.equal(one, other)
        a, b = one.double(), other.double()
        finite = a[a.isfinite()].abs()
        size = finite.max().item() if len(finite) else 0.0
        return torch.allclose(a, b, rtol=self.tolerance, atol=self.tolerance * size, equal_nan=True)


def check(graph: Graph, model: nn.Module) -> None:
    """Raises ``ValueError`` where ``model`` in eval mode and its ``graph`` are not one function of one
    sample.

    The model is called twice on a random input, which must give the same, as must the graph, and on
    two inputs at once, which must give what each gives alone. The error names the first module whose
    results differ. Model and graph must agree on other inputs too, small and large ones among them, on
    many of them where calls change what modules keep; numbers that calls change must not matter after
    many of them. A model that takes one sample at a time only is spared the call with two. A model in
    train mode is called in that mode too: what is bounded is the eval mode, and code that asks for the
    mode must not make another function of it.
    """
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(graph.input.shape, generator=generator, dtype=torch.float64)
        .to(graph.input.dtype)
        .to(graph.device)
        for _ in range(2)
    )
    training = twin(model) if any(module.training for module in model.modules()) else None
    model = twin(model).eval()
    before, tolerance = State(model), _tolerance(graph)
    once = _called(model, x, tolerance)
    between = State(model)
    again = _called(model, x, tolerance)
    if not once.agrees(again.results):
        raise ValueError(
            f"{_first_difference(once, again)}: two calls on the same input give different results, so "
            "there is no one function to bound"
        )
    _refuse_other_graph(graph, x, once)
    more = 0 if before.is_that_of(model) else _MANY
    _refuse_growing_state(model, graph, between, [x, -x])
    for further in _further(x, generator, more):
        if found := _other_call(model, graph, further):
            _refuse_other_graph(graph, further, found)
    if training is not None:
        _refuse_other_mode(training, x, once)
    _refuse_mixing(model, x, y, once)


def _further(x: Tensor, generator: torch.Generator, more: int) -> Iterator[Tensor]:
    """Inputs on which activations that are off at ``x`` are on, and ``more`` random ones."""
    yield from (-x, *(size * x for size in _SIZES), x.abs() / (1 + x.abs()))
    for _ in range(more):
        point = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        yield point.to(x.dtype).to(x.device)


def _tolerance(graph: Graph) -> float:
    types = {node.dtype for node in graph if node.dtype.is_floating_point}
    return max((_TOLERANCES.get(dtype, _HALF_TOLERANCE) for dtype in types), default=_HALF_TOLERANCE)


def _refuse_other_graph(graph: Graph, x: Tensor, call: _Call) -> None:
    values = graph.run(x)
    if not call.agrees(_exported(graph, values)):
        raise ValueError(
            f"{_first_exception(graph, values, call)}: the exported graph computes something else than "
            "the model, whose forward asks whether it is exported, decides by values where the export "
            "does not see it, or keeps a state in Python"
        )


def _refuse_growing_state(model: nn.Module, graph: Graph, before: State, points: list[Tensor]) -> None:
    """What every call changes is made what many calls make it; ``points`` must give the same then."""
    after = State(model)
    steps = before.moved_to(after)
    for calls in (100, 1_000_000) if steps else ():
        for x in points:
            after.put_ahead(model, steps, calls)
            if _other_call(model, graph, x):
                place = ".".join(filter(None, next(iter(steps))))
                raise ValueError(
                    f"{place} changes with every call of the model, and after many calls its output "
                    "does too, so there is no one function to bound"
                )
    after.put_back(model, steps)


def _exported(graph: Graph, values: dict[Node, Tensor]) -> list[Tensor]:
    return [values[leaf] if isinstance(leaf, Node) else leaf for leaf in graph.results]


def _other_call(model: nn.Module, graph: Graph, x: Tensor) -> _Call | None:
    """A call that gives something else than the graph; None too where the model does not take ``x``.

    Nor is it one where roundings of the input alone change the results of the graph by more than is
    tolerated. It is the graph that is asked for these: it keeps nothing of the calls before.
    """
    try:
        call = _called(model, x, _tolerance(graph))
    except _CannotRunError:
        return None
    exported = _exported(graph, graph.run(x))
    if call.agrees(exported):
        return None
    beside = _exported(graph, graph.run(x * (1 + 4 * torch.finfo(x.dtype).eps)))
    return call if replace(call, results=exported).agrees(beside) else None


def _refuse_other_mode(training: nn.Module, x: Tensor, evaluated: _Call) -> None:
    try:
        trained = _called(training, x, evaluated.tolerance)
    except _CannotRunError:
        place = "the forward method of the model"
    else:
        if evaluated.agrees(trained.results):
            return
        place = _first_difference(evaluated, trained)
    raise ValueError(
        f"{place}: the model is in train mode, in which it computes something else than in eval mode; "
        "the bound is one of the eval mode: call model.eval() first if that is what is meant"
    )


def _called(model: nn.Module, x: Tensor, tolerance: float) -> _Call:
    """One call on a copy of ``x``, with what every module returned."""
    modules: dict[tuple[str, int], Tensor] = {}

    def keep(path: str, module: nn.Module, inputs: Any, result: Any) -> None:
        first = next((leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)), None)
        count = sum(other == path for other, _ in modules)
        if first is not None:
            modules[path, count] = first.detach().clone()

    handles = [
        module.register_forward_hook(partial(keep, path))
        for path, module in model.named_modules()
        if path and not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        with torch.no_grad():
            result = model(x.clone())
    except Exception as error:
        raise _CannotRunError(
            f"{type(model).__name__} cannot be run on a random input: {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    leaves = tree_flatten(result)[0]
    return _Call(
        [leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)], modules, tolerance
    )


def _first_difference(one: _Call, other: _Call) -> str:
    for key, value in one.modules.items():
        if key not in other.modules or not one.close(value, other.modules[key]):
            return key[0]
    return "the forward method of the model"


def _first_exception(graph: Graph, values: dict[Node, Tensor], call: _Call) -> str:
    """The first module whose result is not that of the last node that stands in it."""
    last = {node.path: node for node in graph if node.path}
    for (path, count), value in call.modules.items():
        node = last.get(path)
        repeated = (path, 1) in call.modules
        if node is not None and count == 0 and not repeated and not call.close(values[node], value):
            return f"at or before {node.place}"
    return "the forward method of the model"


def _refuse_mixing(model: nn.Module, x: Tensor, y: Tensor, first: _Call) -> None:
    try:
        both = _called(model, torch.cat([x, y]), first.tolerance)
    except _CannotRunError:  # it is written for one sample at a time
        return
    second = _called(model, y, first.tolerance)
    pairs = zip(both.results, first.results, second.results, strict=False)
    if all(_side_by_side(first, *leaves) for leaves in pairs):
        return
    place = "the forward method of the model"
    for key, together in both.modules.items():
        parts = first.modules.get(key), second.modules.get(key)
        if None not in parts and not _side_by_side(first, together, *parts):  # type: ignore[arg-type]
            place = key[0]
            break
    raise ValueError(
        f"{place}: two samples at once do not give what each gives alone, so samples mix, or a batch "
        "dimension is lost; only a function of single samples has a Lipschitz constant here"
    )


def _side_by_side(call: _Call, both: Tensor, first: Tensor, second: Tensor) -> bool:
    """Whether a result for two samples consists of the results for each, along some axis."""
    if both.shape == first.shape and call.close(both, first) and call.close(both, second):
        return True  # it does not depend on the input
    if both.dim() != first.dim() or both.dim() == 0:
        return False
    for axis in range(both.dim()):
        doubled = list(first.shape)
        doubled[axis] *= 2
        if list(both.shape) == doubled:
            half = first.shape[axis]
            if call.close(both.narrow(axis, 0, half), first) and call.close(
                both.narrow(axis, half, half), second
            ):
                return True
    return False
