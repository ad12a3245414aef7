"""From a model to its graph: torch.export at a batch of one, constants folded.

torch.export runs the model once on a tensor without values and records every operator. Decomposed
to functional operators there is no aliasing, no write, no hook and no default argument left. Where
no argument of an operator depends on the input it is evaluated once and for all.
"""

import logging
import operator
import re
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import Node as FxNode
from torch.fx.node import map_arg
from torch.utils._pytree import tree_flatten, tree_map

from lipbounds.graph import kept
from lipbounds.graph.program import Graph, Node, Shape, kernel
from lipbounds.twin import twin

_LOCK = threading.RLock()
"""torch.export is not safe to call from several threads."""


def export(
    model: nn.Module,
    input_shape: Shape,
    known: Callable[[str], bool] = lambda name: True,
    whole: Container[type[nn.Module]] = (),
) -> tuple[Graph, nn.Module]:
    """The graph of ``model`` in eval mode for one input of ``input_shape``, and the twin that ran.

    Operators that are not ``known`` by name are broken up into others where torch can. Modules of the
    types in ``whole`` become one operator each; the graph needs the twin to run these. Nodes on which
    no output depends are left out. A model without floating-point weights is taken to run in float64,
    where constants of torch that depend on the dtype give the largest bounds, or in float32 where it
    does not run in float64.

    Raises
    ------
    ValueError
        For layers in train mode that would behave otherwise in eval mode, control flow that depends
        on values, weights or buffers that the model changes and its output depends on, several
        inputs, outputs of a type that hides tensors, and inputs that a layer rejects.
    """
    refuse_train_mode(model)
    copied = twin(model).eval()
    return _exported(copied, _example(copied, input_shape), known, whole), copied


def _example(model: nn.Module, input_shape: Shape) -> Tensor:
    """An input of the type of the first weight, or that of another one if the model rejects it."""
    weights = [t for t in [*model.parameters(), *model.buffers()] if t.is_floating_point()]
    kinds = dict.fromkeys((weight.dtype, weight.device) for weight in weights)
    wide = [(dtype, torch.device("cpu")) for dtype in (torch.float64, torch.float32)]
    examples = [
        torch.zeros(1, *input_shape, dtype=dtype, device=device) for dtype, device in kinds or wide
    ]
    if len(examples) == 1:
        return examples[0]
    fitting = (example for example in examples if _rejection(twin(model), example) is None)
    return next(fitting, examples[0])


def _exported(
    model: nn.Module,
    example: Tensor,
    known: Callable[[str], bool],
    whole: Container[type[nn.Module]],
) -> Graph:
    with _LOCK, _quietly(), _only_composites(known):
        # first, so that what the model keeps from its first call are values
        rejection = _rejection(model, example)
        if rejection is not None:
            raise ValueError(rejection)
        try:
            with kept.functions(), kept.modules(model, whole):
                program = torch.export.export(model, (example.clone(),), strict=False)
                program = _broken_up(program.run_decompositions({}), known)
        except Exception as error:
            raise ValueError(_reason(model, error)) from error
    return _Folding(program, example.device).graph()


def _rejection(model: nn.Module, example: Tensor) -> str | None:
    """The error of a plain call, with the layer that rejects its input; None if there is none."""
    entered: list[tuple[str, nn.Module, Any]] = []

    def enter(path: str, module: nn.Module, inputs: Any) -> None:
        entered.append((path, module, inputs))

    def leave(module: nn.Module, inputs: Any, result: Any) -> None:
        entered.pop()

    handles = []
    for path, module in model.named_modules():
        if path and not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_pre_hook(partial(enter, path), prepend=True))
            handles.append(module.register_forward_hook(leave))
    try:
        with torch.no_grad():
            model(example.clone())
    except Exception as error:
        if "argument" in str(error) and "missing" in str(error) and not entered:
            name = type(model).__name__
            return f"{name} takes several inputs: {error}; bounds are for models of one input"
        path, module, inputs = entered[-1] if entered else ("", model, (example,))
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in inputs if isinstance(leaf, Tensor))
        return (
            f"{f'layer {path}' if path else 'the model'} ({type(module).__name__}) rejects an input of "
            f"shape {shapes} (with the batch axis): {error}"
        )
    finally:
        for handle in handles:
            handle.remove()
    return None


@contextmanager
def _only_composites(known: Callable[[str], bool]) -> Iterator[None]:
    """Of the operators that torch defines by others, only those that are ``known`` stay whole.

    Otherwise each of some 470 is protected from being broken up one by one, which takes most of the
    time of an export. Where torch has no such list it is left as it is.
    """
    import torch.export.exported_program as module

    collect = getattr(module, "_collect_all_valid_cia_ops", None)
    if collect is None:
        yield
        return

    def some() -> set[Any]:
        return {op for name, op in _composites(collect) if known(name) or "sym_" in name}

    module._collect_all_valid_cia_ops = some
    try:
        yield
    finally:
        module._collect_all_valid_cia_ops = collect


@cache
def _composites(collect: Callable[[], set[Any]]) -> tuple[tuple[str, Any], ...]:
    """What ``collect`` finds, by name; once, because those that come later are not known anyway."""
    return tuple((str(op), op) for op in collect())


_ROUNDS = 4
"""Times that what an operator was broken up into is broken up itself."""


def _broken_up(program: Any, known: Callable[[str], bool]) -> Any:
    """Only what is not known: the parts of an operator say less than the whole."""
    for _ in range(_ROUNDS):
        targets = {call.target for call in program.graph.nodes if call.op == "call_function"}
        unknown = {t for t in targets if hasattr(t, "_schema") and not known(str(t))}
        if not unknown:
            break
        table = torch.export.default_decompositions()
        parts = {target: table[target] for target in unknown if target in table}
        if not parts:
            break
        program = program.run_decompositions(parts)
    return program


def refuse_train_mode(model: nn.Module) -> None:
    """Raises ``ValueError`` for layers in train mode that are known to differ in eval mode."""
    for path, module in model.named_modules():
        if module.training and _differs_in_training(module):
            raise ValueError(
                f"{path or 'the model'} ({type(module).__name__}) is in train mode, where its output "
                "depends on the batch or on chance; call model.eval() first"
            )


def _differs_in_training(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        return module.dropout > 0
    if nn.utils.parametrize.is_parametrized(module):
        return any(
            isinstance(part, nn.utils.parametrizations._SpectralNorm)
            for parts in module.parametrizations.values()  # type: ignore[operator]
            for part in parts
        )
    old_spectral_norm = any(
        isinstance(hook, nn.utils.spectral_norm.__globals__["SpectralNorm"])
        for hook in module._forward_pre_hooks.values()
    )
    return old_spectral_norm or isinstance(module, nn.RReLU | nn.modules.batchnorm._BatchNorm)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the dumps that torch.export logs before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _reason(model: nn.Module, error: Exception) -> str:
    """What torch.export said, in one sentence, with what to do about it."""
    text, name = str(error), type(model).__name__
    own = "move that into a module of its own and register a rule for it (@lipbounds.register_rule)"
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return f"{name} is, or contains, TorchScript, which has no graph; hand over the nn.Module itself"
    if "data-dependent" in text.lower() or "GuardOnDataDependent" in type(error).__name__:
        line = _user_line(text)
        return (
            f"the computation graph of {name} cannot be traced: values decide what is computed"
            f"{f' ({line})' if line else ''}, so {own}, which is then not looked into"
        )
    if "fake tensor" in text.lower():
        return f"{name} keeps a tensor of an earlier call, or leaves torch for numpy; {own}"
    first = next((row for row in text.splitlines() if row.strip()), type(error).__name__)
    return f"the graph of {name} cannot be exported: {first.strip()[:300]}; {own}"


def _user_line(text: str) -> str:
    places = re.findall(r'File "([^"]+)", line (\d+), in', text)
    own = [place for place in places if "/torch/" not in place[0] and "/lipbounds/" not in place[0]]
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""


class _Folding:
    """One walk over the exported graph: constants are evaluated, calls become nodes."""

    def __init__(self, program: Any, device: torch.device) -> None:
        self.program = program
        self.device = device
        self.values: dict[FxNode, Any] = {}
        self.input: Node | None = None

    def graph(self) -> Graph:
        signature = self.program.graph_signature
        specs = {spec.arg.name: spec for spec in signature.input_specs}
        changed = {s.target for s in signature.output_specs if s.kind.name in _MUTATIONS}
        mutable: dict[Node, str] = {}
        for call in self.program.graph.nodes:
            if call.op == "placeholder":
                self.values[call] = self._placeholder(call, specs[call.name], changed, mutable)
            elif call.op == "get_attr":
                raise ValueError(_CONTROL_FLOW)
            elif call.op == "call_function":
                self.values[call] = self._value(call)
            else:
                return self._finished(call, signature, mutable)
        raise ValueError("the model returns nothing")

    def _placeholder(self, call: FxNode, spec: Any, changed: set[str], mutable: dict[Node, str]) -> Any:
        if spec.kind.name == "USER_INPUT":
            example = call.meta.get("val")
            if not isinstance(example, Tensor):
                return example
            self.input = Node(
                call.name, "input", None, {}, tuple(example.shape), example.dtype, layer="input"
            )
            return self.input
        if spec.kind.name == "TOKEN":  # keeps checks of values in order
            return None
        tensor = self._tensor(spec)
        if not isinstance(tensor, Tensor):  # such as a generator of random numbers
            return tensor
        if spec.target in changed:
            # a node without operator: whatever depends on it is refused
            node = Node(call.name, "input", None, {}, tuple(tensor.shape), tensor.dtype)
            mutable[node] = spec.target
            return node
        return tensor

    def _tensor(self, spec: Any) -> Any:
        for store in (self.program.state_dict, self.program.constants):
            if spec.target in store:
                found = store[spec.target]
                return found.detach() if isinstance(found, Tensor) else found
        raise ValueError(f"{spec.target} is no tensor of the model")

    def _value(self, call: FxNode) -> Any:
        if call.target is operator.getitem:
            source, index = self.values[call.args[0]], call.args[1]  # type: ignore[index]
            return source[index]
        arguments = map_arg(call.args, lambda n: self.values[n])
        options = map_arg(call.kwargs, lambda n: self.values[n])
        if not hasattr(call.target, "_schema"):
            if str(call.target) == "with_effects" and not call.args[1]._schema.returns:  # type: ignore[union-attr]
                return [None]  # an operator that only raises errors, as linear algebra has them
            if _varies([arguments, options]):
                raise ValueError(_CONTROL_FLOW)
            return call.target(*arguments, **options)  # type: ignore[operator]
        if str(call.target).split(".")[1] in _SHAPE_ONLY:
            arguments = (tree_map(_zeros_for, arguments[0]), *arguments[1:])
        tags = getattr(call.target, "tags", ())
        random = torch.Tag.nondeterministic_seeded in tags
        attention = "scaled_dot_product_attention" in str(call.target)
        if _varies([arguments, options]) or (random and not attention):
            return self._nodes(call, arguments, options)
        with torch.no_grad():
            return kernel(call.target)(*arguments, **options)  # type: ignore[arg-type]

    def _nodes(self, call: FxNode, arguments: Any, options: Any) -> Any:
        """The node of a call, or one for each of its results."""
        schema = call.target._schema.arguments  # type: ignore[union-attr]
        given = dict(zip([a.name for a in schema], arguments, strict=False)) | options
        named = {
            a.name: given.get(a.name, a.default_value)
            for a in schema
            if a.name in given or (a.has_default_value() and a.name != "generator")
        }
        if "rms_norm" in str(call.target) and named["eps"] is None:
            named["eps"] = _smallest_step(named["input"].dtype)
        path, layer, line = _where(call)
        results = call.meta.get("val")

        def node(result: Any, number: int | None) -> Node:
            tensor = isinstance(result, Tensor)
            shape = tuple(int(n) for n in result.shape) if tensor and _fixed(result) else ()
            dtype = result.dtype if tensor else torch.int64
            suffix = "" if number is None else f"_{number}"
            return Node(
                call.name + suffix, str(call.target), call.target, named, shape, dtype,  # type: ignore[arg-type]
                number, path, layer, line,
            )  # fmt: skip

        if isinstance(results, tuple | list):
            return [node(result, number) for number, result in enumerate(results)]
        return node(results, None)

    def _finished(self, call: FxNode, signature: Any, mutable: dict[Node, str]) -> Graph:
        returned = zip(signature.output_specs, call.args[0], strict=True)  # type: ignore[arg-type]
        kinds = [(spec.kind.name, map_arg(arg, lambda n: self.values[n])) for spec, arg in returned]
        leaves = tree_flatten([value for kind, value in kinds if kind == "USER_OUTPUT"])[0]
        results = [leaf for leaf in leaves if isinstance(leaf, Node | Tensor)]
        if self.input is None:
            raise ValueError("the model takes no tensor")
        used: dict[Node, None] = {}
        waiting = [result for result in results if isinstance(result, Node)]
        while waiting:
            node = waiting.pop()
            if node in mutable:
                raise ValueError(
                    f"{mutable[node]} is changed by every call of the model, and its output depends on "
                    "it, so there is no one function to bound; keep it as it is in eval mode"
                )
            if node not in used:
                used[node] = None
                waiting += node.inputs
        found = [
            v for value in self.values.values() for v in (value if isinstance(value, list) else [value])
        ]
        ordered = [v for v in dict.fromkeys(v for v in found if isinstance(v, Node)) if v in used]
        nodes = [self.input, *[node for node in ordered if node is not self.input]]
        return Graph(self.input, tuple(nodes), tuple(results), self.device)


_MUTATIONS = ("BUFFER_MUTATION", "PARAMETER_MUTATION")

_CONTROL_FLOW = (
    "values decide what is computed (torch.cond or sizes that depend on values, as those of x[mask]); "
    "index by the positions of a mask that never changes, mask.nonzero().squeeze(1) as a buffer, or "
    "move that part into a module of its own and register a rule for it (@lipbounds.register_rule)"
)


_SHAPE_ONLY = {
    "new_ones", "new_zeros", "new_full", "new_empty", "ones_like", "zeros_like", "full_like",
    "empty_like", "zero", "fill",
}  # fmt: skip
"""Operators that look at the shape and type of their first tensor, and not at its values."""


def _zeros_for(leaf: Any) -> Any:
    return torch.zeros(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, Node) else leaf


def _smallest_step(dtype: torch.dtype) -> float:
    """What RMSNorm adds where it is not told: a number of the dtype, which float64 must not change."""
    return torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps


def _varies(values: Any) -> bool:
    return any(isinstance(leaf, Node) for leaf in tree_flatten(values)[0])


def _fixed(result: Tensor) -> bool:
    """Whether all sizes are numbers, and none depends on values."""
    return all(isinstance(size, int) for size in result.shape)


def _where(call: FxNode) -> tuple[str, str, str]:
    stack: Mapping[str, Any] = call.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    own_layer = kind.startswith("torch.nn.modules.") and ".container." not in kind
    if "lipbounds.module" in str(call.target):
        own_layer = True
    layer = kind.rsplit(".", 1)[-1] if own_layer else ""
    frames = re.findall(r'File "([^"]+)", line (\d+)', call.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "/torch/" not in frame[0]]
    return path, layer, f"{own[-1][0]}:{own[-1][1]}" if own else ""
