"""Whether the graph is the model: both are run on the same inputs.

torch.export lets some things through that make the graph another function than the model: counters
in Python, code that asks whether it is being exported, and samples that mix, which a batch of one
cannot show. Calls of the model itself do show them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from lipbounds.graph.program import Graph, Node
from lipbounds.twin import twin

_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Of the largest entry of a result; kernels for other batch sizes round otherwise."""

_HALF_TOLERANCE = 0.05


@dataclass(frozen=True)
class _Call:
    """What a call of a model returned, and what each of its modules did, by path and number of call."""

    results: list[Tensor]
    modules: dict[tuple[str, int], Tensor]


def check(graph: Graph, model: nn.Module) -> None:
    """Raises ``ValueError`` where ``model`` in eval mode and its ``graph`` are not one function of one
    sample.

    The model is called twice on a random input, which must give the same, as must the graph, and on
    two inputs at once, which must give what each gives alone. The error names the first module whose
    results differ. A model that takes one sample at a time only is spared the last call. A model in
    train mode is called in that mode too: what is bounded is the eval mode, and code that asks for
    the mode must not make another function of it.
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
    once, again = _called(model, x), _called(model, x)
    if not _agree(once.results, again.results):
        raise ValueError(
            f"{_first_difference(once, again)}: two calls on the same input give different results, so "
            "there is no one function to bound"
        )
    values = graph.run(x)
    exported = [values[leaf] if isinstance(leaf, Node) else leaf for leaf in graph.results]
    if not _agree(exported, once.results):
        raise ValueError(
            f"{_first_exception(graph, values, once)}: the exported graph computes something else than "
            "the model, whose forward asks whether it is exported, or keeps a state in Python"
        )
    if training is not None:
        _refuse_other_mode(training, x, once)
    _refuse_mixing(model, x, y, once)


def _refuse_other_mode(training: nn.Module, x: Tensor, evaluated: _Call) -> None:
    try:
        trained = _called(training, x)
    except ValueError:
        place = "the forward method of the model"
    else:
        if _agree(trained.results, evaluated.results):
            return
        place = _first_difference(evaluated, trained)
    raise ValueError(
        f"{place}: the model is in train mode, in which it computes something else than in eval mode; "
        "the bound is one of the eval mode: call model.eval() first if that is what is meant"
    )


def _called(model: nn.Module, x: Tensor) -> _Call:
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
        raise ValueError(f"{type(model).__name__} cannot be run on a random input: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    leaves = tree_flatten(result)[0]
    return _Call([leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)], modules)


def _agree(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(ones) == len(others) and all(map(_close, ones, others))


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point() or one.numel() == 0:
        return torch.equal(one, other)
    a, b = one.double(), other.double()
    finite = a[a.isfinite()].abs()
    size = finite.max().item() if len(finite) else 0.0
    tolerance = _TOLERANCES.get(one.dtype, _HALF_TOLERANCE)
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * size, equal_nan=True)


def _first_difference(one: _Call, other: _Call) -> str:
    for key, value in one.modules.items():
        if key not in other.modules or not _close(value, other.modules[key]):
            return key[0]
    return "the forward method of the model"


def _first_exception(graph: Graph, values: dict[Node, Tensor], call: _Call) -> str:
    """The first module whose result is not that of the last node that stands in it."""
    last = {node.path: node for node in graph if node.path}
    for (path, count), value in call.modules.items():
        node = last.get(path)
        repeated = (path, 1) in call.modules
        if node is not None and count == 0 and not repeated and not _close(values[node], value):
            return f"at or before {node.place}"
    return "the forward method of the model"


def _refuse_mixing(model: nn.Module, x: Tensor, y: Tensor, first: _Call) -> None:
    try:
        both = _called(model, torch.cat([x, y]))
    except ValueError:  # it is written for one sample at a time
        return
    second = _called(model, y)
    pairs = zip(both.results, first.results, second.results, strict=False)
    if all(_side_by_side(*leaves) for leaves in pairs):
        return
    place = "the forward method of the model"
    for key, together in both.modules.items():
        parts = first.modules.get(key), second.modules.get(key)
        if None not in parts and not _side_by_side(together, *parts):  # type: ignore[arg-type]
            place = key[0]
            break
    raise ValueError(
        f"{place}: two samples at once do not give what each gives alone, so samples mix, or a batch "
        "dimension is lost; only a function of single samples has a Lipschitz constant here"
    )


def _side_by_side(both: Tensor, first: Tensor, second: Tensor) -> bool:
    """Whether a result for two samples consists of the results for each, along some axis."""
    if both.shape == first.shape and _close(both, first) and _close(both, second):
        return True  # it does not depend on the input
    if both.dim() != first.dim() or both.dim() == 0:
        return False
    for axis in range(both.dim()):
        doubled = list(first.shape)
        doubled[axis] *= 2
        if list(both.shape) == doubled:
            half = first.shape[axis]
            if _close(both.narrow(axis, 0, half), first) and _close(
                both.narrow(axis, half, half), second
            ):
                return True
    return False
