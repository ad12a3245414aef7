"""A Lipschitz bound of one's own model from the command line.

python -m lipbounds model.py:build --weights w.safetensors --input-shape 3,32,32 --method best
"""

import argparse
import importlib
import importlib.util
import json
import math
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        "--grid", type=_count, help="at most this many frequencies per axis: faster and looser"
    )
    parser.add_argument(
        "--gaps", action="store_true", help="also approach each linear layer's norm from below"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _shape(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.replace("x", ",").split(","))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _order(text: str) -> float:
    orders = {"1": 1.0, "2": 2.0, "inf": math.inf}
    if text not in orders:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1, 2 or inf")
    return orders[text]


def _model(reference: str, weights: Path | None) -> nn.Module:
    """The model, in eval mode, with its weights."""
    place, _, name = reference.rpartition(":")
    if not place:
        raise ValueError(f"{reference} names no function; write model.py:build or package.module:build")
    with _others_code(place):
        module = _module(place)
    found = getattr(module, name)
    model = found if isinstance(found, nn.Module) else _built(found, reference)
    if weights is not None:
        _load(model, weights, reference)
    return model.eval()


def _built(function: Any, reference: str) -> nn.Module:
    if not callable(function):
        raise ValueError(f"{reference} is of type {type(function).__name__}, and no function or model")
    with _others_code(reference):
        model = function()
    if not isinstance(model, nn.Module):
        raise ValueError(f"{reference} returns a {type(model).__name__}, not a torch.nn.Module")
    return model


@contextmanager
def _others_code(name: str) -> Iterator[None]:
    """Say of an error in it what it is, and where. Raises ``ValueError``."""
    try:
        yield
    except (ImportError, FileNotFoundError):
        raise
    except Exception as error:
        places = [
            f" ({frame.filename}, line {frame.lineno})"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename != __file__ and "importlib" not in frame.filename
        ]
        where = places[-1] if places else ""
        raise ValueError(f"{name} ends with {type(error).__name__}: {error}{where}") from error


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


def _load(model: nn.Module, weights: Path, reference: str) -> None:
    try:
        model.load_state_dict(_state(weights))
    except RuntimeError as error:
        said = textwrap.shorten(str(error), 400, placeholder=" ...")
        raise ValueError(f"{weights} does not fit {reference}: {said}") from error


def _state(path: Path) -> Mapping[str, torch.Tensor]:
    """The state dict in a file. Raises ``OSError``, and ``ValueError`` where it has none."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file as read
    else:
        read = _read_pickle
    try:
        content = read(path)
    except OSError:
        raise
    except Exception as error:  # a damaged file may end with any
        raise ValueError(
            f"{path} is damaged, or has more than weights, such as a whole model, which would run code "
            "that it brings; save model.state_dict() by torch.save or safetensors"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping):
        raise ValueError(
            f"{path} has a {type(state).__name__} and no state dict; save model.state_dict()"
        )
    return state


def _read_pickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


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
