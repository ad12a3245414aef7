"""A Lipschitz bound of one's own model from the command line.

python -m lipbounds model.py:build --weights w.safetensors --input-shape 3,32,32 --method best
"""

import argparse
import importlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lipbounds.bounds import UnknownLayerError, UpperBound, upper_bound
from lipbounds.bounds.upper import METHODS

EXPLAINED = (ValueError, UnknownLayerError, ImportError, OSError, AttributeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, bound, print. Returns the exit status: 0, or 2 with one line that says what to do."""
    options = _parser().parse_args(arguments)
    try:
        model = _model(options.model, options.weights)
        started = time.perf_counter()
        bound = upper_bound(
            model,
            options.input_shape,
            method=options.method or ("best" if options.ord == 2 else "autolip"),
            ord=options.ord,
            radius=options.radius,
            grid=options.grid,
            gaps=options.gaps,
        )
        seconds = time.perf_counter() - started
    except EXPLAINED as error:
        print(f"python -m lipbounds: {error}", file=sys.stderr)
        return 2
    print(_as_json(bound, seconds) if options.json else _as_table(bound, seconds))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lipbounds", description="A proved upper bound of a model's Lipschitz constant."
    )
    parser.add_argument(
        "model",
        help="model.py:build or package.module:build, a function without required arguments or a model",
    )
    parser.add_argument("--weights", type=Path, help="state dict: .safetensors, or .pt or .pth")
    parser.add_argument(
        "--input-shape", type=_shape, required=True, help="one input without batch, as in 3,32,32"
    )
    parser.add_argument(
        "--method", choices=list(METHODS), help="default: best for --ord 2, autolip for the others"
    )
    parser.add_argument(
        "--ord", type=_order, default=2.0, help="norm on inputs and outputs: 1, 2 or inf"
    )
    parser.add_argument(
        "--radius", type=float, default=math.inf, help="bound on this ball around zero only"
    )
    parser.add_argument(
        "--grid", type=int, help="at most this many frequencies per axis: faster and looser"
    )
    parser.add_argument(
        "--gaps", action="store_true", help="also approach each linear layer's norm from below"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.replace("x", ",").split(","))
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"sizes must be positive, not {text}")
    return sizes


def _order(text: str) -> float:
    return math.inf if text == "inf" else float(text)


def _model(reference: str, weights: Path | None) -> nn.Module:
    """The model, in eval mode, with its weights."""
    place, _, name = reference.rpartition(":")
    if not place:
        raise ValueError(f"{reference} names no function; write model.py:build or package.module:build")
    found = getattr(_module(place), name)
    model = found if isinstance(found, nn.Module) else _built(found, reference)
    if weights is not None:
        model.load_state_dict(_state(weights))
    return model.eval()


def _built(function: Callable[[], Any], reference: str) -> nn.Module:
    model = function()
    if not isinstance(model, nn.Module):
        raise ValueError(f"{reference} returns a {type(model).__name__}, not a torch.nn.Module")
    return model


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {place}")
    sys.path.insert(0, str(path.resolve().parent))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def _state(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    return content.get("state_dict", content)


def _as_json(bound: UpperBound, seconds: float) -> str:
    content = asdict(bound) | {"seconds": round(seconds, 3)}
    return json.dumps(_finite(content), indent=2)


def _finite(node: Any) -> Any:
    """Infinite numbers as text, which JSON has no number for."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return str(node) if isinstance(node, float) and not math.isfinite(node) else node


def _as_table(bound: UpperBound, seconds: float) -> str:
    rows = [["layer", "type", "norm", "from below", "kind", "seconds", "how"]]
    for layer in bound.layers:
        norm = layer.norm
        kind = f"{norm.kind}, certified" if norm.certified else norm.kind
        below = "" if layer.lower is None else f"{layer.lower:.6g}"
        numbers = [f"{norm.value:.6g}", below, kind, f"{layer.seconds:.2f}"]
        rows.append([layer.name or "model", layer.kind, *numbers, layer.how])
    if all(layer.lower is None for layer in bound.layers):
        rows = [row[:3] + row[4:] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    value = f"{bound.value:.6g}" if bound.value < math.inf else f"10^{bound.log10:.3f}"
    if bound.log10 == math.inf:
        value = "inf"
    status = "certified upper bound" if bound.certified else f"{bound.kind} bound, not certified"
    return "\n".join(
        [*lines, "", f"Lipschitz constant <= {value}  ({status}; {bound.method}; {seconds:.1f} s)"]
    )


if __name__ == "__main__":
    sys.exit(main())
