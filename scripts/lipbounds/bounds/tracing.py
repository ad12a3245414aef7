"""The computation graph of a model, and the values of its nodes at the zero input."""

import itertools
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from lipbounds.bounds import rules
from lipbounds.bounds.linear import Shape
from lipbounds.hooks import has_hooks


class _Tracer(fx.Tracer):
    """Stops at modules that have a rule, and at those of torch itself."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return rules.type_of(module) in rules.RULES or super().is_leaf_module(module, qualified_name)


@dataclass(frozen=True)
class Trace:
    """``nodes`` in order of execution; ``probes`` describes the value of each at the zero input.

    ``single_layer`` says that the model is itself one layer, which ``model`` then wraps.
    """

    model: nn.Module
    single_layer: bool
    nodes: tuple[fx.Node, ...]
    probes: dict[fx.Node, "Probe"]


@dataclass(frozen=True)
class Probe:
    """A node at the zero input: the ``shape`` of one sample, the largest modulus (``peak``), and the
    largest 2-norm along the last axis (``token``). For several tensors the first shape, the largest
    of each number."""

    shape: Shape
    peak: float = 0.0
    token: float = 0.0


def trace(model: nn.Module, input_shape: Shape) -> Trace:
    """Trace ``model`` and run it on one zero input of ``input_shape`` (without batch dimension).

    Raises
    ------
    ValueError
        For forward hooks, layers in train mode that would behave otherwise in eval mode, control
        flow that depends on values, or an input that a layer rejects; each names the place.
    """
    _refuse_hooks_and_train_mode(model)
    tracer = _Tracer()
    # a model that is itself one layer would otherwise be traced through
    single_layer = tracer.is_leaf_module(model, "") and type(model) is not nn.Sequential
    root = nn.Sequential(model) if single_layer else model
    try:
        graph = tracer.trace(root)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ValueError(
            f"the computation graph of {type(model).__name__} cannot be traced{_place_of(error)}: "
            f"{reason}. Values must not decide what is computed. Move the part that does into a "
            "module of its own and register a rule for it (@lipbounds.bounds.register_rule), so that "
            "it is not looked into"
        ) from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len([node for node in inputs if not node.args]) != 1:
        raise ValueError(f"the model takes {len(inputs)} inputs; bounds are for models of one input")
    _refuse_hidden_changes(root, graph)
    traced = fx.GraphModule(root, graph)
    graph.eliminate_dead_code()
    prober = _Prober(traced, inputs[0])
    tensors = itertools.chain(model.parameters(), model.buffers())
    like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    with torch.no_grad():
        prober.run(like.new_zeros(1, *input_shape), *[node.args[0] for node in inputs[1:]])
    return Trace(root, single_layer, tuple(graph.nodes), prober.probes)


def _place_of(error: Exception) -> str:
    """The innermost line outside of torch and of this package that an error passed through."""
    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(inside)]
    return f" past {own[-1].filename}:{own[-1].lineno}" if own else ""


def path_of(trace: Trace, node: fx.Node) -> str:
    """What a node is called in messages and tables: its module path, or its name."""
    if node.op != "call_module":
        return node.name
    return "" if trace.single_layer else str(node.target)


def _refuse_hooks_and_train_mode(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if has_hooks(module):
            raise ValueError(
                f"{path or 'the model'} has forward hooks, whose effect on the Lipschitz constant is "
                "not known; remove them, or fold what they do into the weights"
            )
        if module.training and _differs_in_training(module):
            raise ValueError(
                f"{path or 'the model'} ({type(module).__name__}) is in train mode, where its output "
                "depends on the batch or on chance; call model.eval() first"
            )


def _differs_in_training(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU | nn.modules.batchnorm._BatchNorm) or is_parametrized(module)


_VIEWS = {
    "view", "reshape", "flatten", "transpose", "permute", "squeeze", "unsqueeze", "getitem", "chunk",
    "split", "unbind", "expand", "swapaxes", "movedim", "contiguous", "view_as", "t", "T",
}  # fmt: skip


def _refuse_hidden_changes(model: nn.Module, graph: fx.Graph) -> None:
    """Refuse what changes a tensor in place that something else still reads.

    The graph names values, not memory: a node read after it was overwritten would be bounded as what
    it was before.
    """
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if not _in_place(model, node) or not node.all_input_nodes:
            continue
        changed = node.all_input_nodes[0]
        same_memory = [changed]
        while _name_of(changed) in _VIEWS:
            changed = changed.all_input_nodes[0]
            same_memory.append(changed)
        readers = {user for alias in same_memory for user in alias.users} - {node, *same_memory}
        if any(order[user] > order[node] for user in readers):
            raise ValueError(
                f"{node.name} changes {same_memory[0].name} in place, which is read again later; use "
                "the function that returns a new tensor (inplace=False) instead"
            )


def _name_of(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")


def _in_place(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_method", "call_function"):
        return False
    name = _name_of(node)
    augmented = getattr(node.target, "__module__", "") == "_operator" and name in _AUGMENTED
    return (
        (name.endswith("_") and not name.endswith("__")) or augmented or bool(node.kwargs.get("inplace"))
    )


_AUGMENTED = {"iadd", "isub", "imul", "itruediv", "ipow", "imatmul"}


class _Prober(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, source: fx.Node) -> None:
        super().__init__(module)
        self.source = source
        self.varying = {source}
        self.probes: dict[fx.Node, Probe] = {}

    def run_node(self, node: fx.Node) -> Any:
        try:
            value = super().run_node(node)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            arguments = [self.probes[a].shape for a in node.all_input_nodes if a in self.probes]
            shapes = ", ".join(map(str, arguments))
            raise ValueError(
                f"layer {node.target} rejects an input of shape {shapes}: {error}"
            ) from error
        if node is self.source or self.varying.intersection(node.all_input_nodes):
            self.varying.add(node)
        self.probes[node] = _probe(value)
        return value


def _probe(value: Any) -> Probe:
    if isinstance(value, tuple | list) and value and isinstance(value[0], Tensor):
        parts = [_probe(part) for part in value if isinstance(part, Tensor)]
        return Probe(parts[0].shape, max(p.peak for p in parts), max(p.token for p in parts))
    if not isinstance(value, Tensor):
        return Probe(())
    if not value.is_floating_point() or value.numel() == 0 or value.dim() < 2:
        return Probe(tuple(value.shape[1:]))
    wide = value.double()
    return Probe(
        tuple(value.shape[1:]),
        wide.abs().max().item(),
        torch.linalg.vector_norm(wide, dim=-1).max().item(),
    )
