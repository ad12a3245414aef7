"""Bound sixty models of torchvision, timm and torch, and write docs/zoo.md.

    python benchmarks/zoo.py [--only NAME ...] [--grid 16] [--limit 300] [--threads 1]

Weights are random and nothing is downloaded. Each model has a process of its own, so that time and
memory are its own. timm is no dependency of this project, and its models are left out where it is
missing. To have it:

    pip install --target DIR --no-deps timm huggingface_hub filelock fsspec tqdm requests packaging \\
        typing_extensions httpx httpcore anyio h11 idna certifi sniffio hf_xet safetensors pyyaml
    make zoo TIMM=DIR
"""

import argparse
import importlib
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from lipbounds.bounds import UpperBound, upper_bound  # noqa: E402

PAGE = ROOT / "docs" / "zoo.md"

_TORCHVISION = [
    "alexnet",
    "vgg11",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "squeezenet1_1",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
    "maxvit_t",
]

_TIMM = [
    "resnet26d",
    "seresnet18",
    "resnetv2_50",
    "nfnet_l0",
    "repvgg_a0",
    "ghostnet_100",
    "hrnet_w18_small",
    "tf_efficientnet_b0",
    "regnetx_002",
    "convnextv2_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "beit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "levit_128s",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "cait_xxs24_224",
    "coat_tiny",
    "coat_lite_tiny",
    "crossvit_tiny_240",
    "xcit_nano_12_p16_224",
    "maxvit_tiny_rw_224",
    "focalnet_tiny_srf",
    "davit_tiny",
    "halonet26t",
    "lambda_resnet26t",
    "mixer_s32_224",
    "gmlp_ti16_224",
    "resmlp_12_224",
    "poolformer_s12",
    "efficientformer_l1",
    "edgenext_xx_small",
    "pit_ti_224",
    "visformer_tiny",
]

_SIZES = {"crossvit_tiny_240": 240, "halonet26t": 256, "mobilevit_xxs": 256, "mobilevitv2_050": 256}
"""Of images, where it is not 224."""

_SEQUENCES = {
    "LSTM": lambda: nn.LSTM(16, 32, batch_first=True),
    "GRU": lambda: nn.GRU(16, 32, batch_first=True),
    "RNN": lambda: nn.RNN(16, 32, batch_first=True),
    "TransformerEncoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2
    ),
}
MODELS = {
    **dict.fromkeys(_TORCHVISION, "torchvision"),
    **dict.fromkeys(_TIMM, "timm"),
    **dict.fromkeys(_SEQUENCES, "torch.nn"),
}


class _FirstOutput(nn.Module):
    """The outputs of a recurrent net without its last state, which repeats some of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """Of sequences (b, length, features)."""
        found = self.model(x)
        return found[0] if isinstance(found, tuple) else found


@dataclass(frozen=True)
class Row:
    """What became of a model. Bounds are decimal logarithms; None where there is none."""

    name: str
    source: str
    operators: int = 0
    parameters: float = 0.0
    autolip: float | None = None
    best: float | None = None
    ball: float | None = None
    seconds: float = 0.0
    gigabytes: float = 0.0
    remark: str = ""


def build(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model with random weights in eval mode, and the shape of one input."""
    torch.manual_seed(0)
    source = MODELS[name]
    if source == "torch.nn":
        return _FirstOutput(_SEQUENCES[name]()).eval(), (10, 16)
    size = _SIZES.get(name, 224)
    if source == "timm":
        model = importlib.import_module("timm").create_model(name, pretrained=False)
    else:
        options = {"init_weights": True} if name == "googlenet" else {}
        model = getattr(importlib.import_module("torchvision.models"), name)(weights=None, **options)
    return model.eval(), (3, size, size)


def bounded(name: str, grid: int | None) -> Row:
    """The row of a model, computed in this process."""
    model, shape = build(name)
    row = Row(
        name,
        MODELS[name],
        operators=_operators(model, shape),
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
    )
    found = _bounds(model, shape, grid)
    found["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Row(**(asdict(row) | found))


def _operators(model: nn.Module, shape: tuple[int, ...]) -> int:
    from lipbounds.graph import export
    from lipbounds.operators import table

    graph, _ = export(model, shape, table.OPERATORS.__contains__, table.MODULES)
    return len(graph.nodes) - 1


def _bounds(model: nn.Module, shape: tuple[int, ...], grid: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {"seconds": 0.0}

    def bound(**options: Any) -> UpperBound:
        started = time.process_time()
        value = upper_bound(model, shape, grid=grid, **options)
        found["seconds"] = max(found["seconds"], time.process_time() - started)
        return value

    try:
        plain = bound(method="autolip")
        found["autolip"] = plain.log10
        if plain.log10 == -math.inf:
            found["remark"] = "constant: its last layer starts at zero"
        if plain.log10 < math.inf:
            found["best"] = bound(method="best").log10
            return found
        found |= {"best": math.inf, "remark": reason(plain)}
        found["ball"] = bound(method="autolip", radius=math.sqrt(math.prod(shape))).log10
    except (ValueError, LookupError) as error:
        found["remark"] = f"refused: {error}".split(". ")[0]
    return found


def reason(bound: UpperBound) -> str:
    """What is said of the layers that are not Lipschitz on the whole space, and where the first is."""
    rows = [
        row
        for row in bound.layers
        if row.kind != "chain" and (row.norm.value == math.inf or "give a radius" in row.how)
    ]
    said = dict.fromkeys(row.how.split(";")[0] for row in rows)
    return "; ".join(said) + (f" (first in {rows[0].name})" if rows else "")


def measured(name: str, limit: float, threads: int, grid: int | None) -> Row:
    """The row of a model, computed in another process."""
    command = [sys.executable, __file__, "--worker", name]
    command += ["--grid", str(grid)] if grid else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        return Row(name, MODELS[name], seconds=limit, remark=f"stopped after {limit:.0f} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Row(name, MODELS[name], remark=f"failed: {last}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


_HEAD = """# Upper bounds of models from the shelf

Made by `make zoo`; do not edit. {count} of the {all} models in the list, with random weights (seed 0),
each in a process of its own with {threads} thread(s); inputs of 224 x 224 pixels where no other size is
the model's own; norms of convolutions from {grid} frequencies per axis. Bounds are decimal logarithms.
*Ball* is the bound on the ball around zero of radius sqrt(n), for inputs of n entries, where there is
none on the whole space. Seconds of the processor are of the slowest bound of a row, each computed from
nothing; gigabytes are the most that the process held. Without trained weights the numbers say which
models can be bounded, and at what cost; a bound of 10^50 proves nothing of use.

{summary}

| model | from | operators | parameters | autolip | best | ball | seconds | GB | remark |
|---|---|--:|--:|--:|--:|--:|--:|--:|---|
"""


def page(rows: list[Row], threads: int, grid: int | None) -> str:
    """The page, in Markdown."""
    finite = [row for row in rows if row.best is not None and row.best < math.inf]
    on_ball = [row for row in rows if row.ball is not None and row.ball < math.inf]
    none = [row for row in rows if row.autolip is None]
    slow = [row.name for row in rows if row.seconds > 60 or row.gigabytes > 4]
    summary = (
        f"{len(finite)} have a bound on the whole space, {len(on_ball)} more on the ball, and "
        f"{len(none)} have none,\nbecause they were refused, failed or took too long. More than 60 s or "
        f"4 GB took:\n{', '.join(slow) or 'none'}."
    )
    if len(rows) < len(MODELS):
        summary += " The other models of the list have not been run."
    frequencies = f"at most {grid}" if grid else "all"
    head = _HEAD.format(
        count=len(rows), all=len(MODELS), threads=threads, grid=frequencies, summary=summary
    )
    return head + "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else "inf" if value == math.inf else f"{value:.2f}"

    parameters = f"{row.parameters:.1f} M" if row.parameters else ""
    cells = [row.name, row.source, str(row.operators or ""), parameters]
    cells += [number(row.autolip), number(row.best), number(row.ball)]
    cells += [
        f"{row.seconds:.0f}",
        f"{row.gigabytes:.1f}" if row.gigabytes else "",
        row.remark.replace("|", "\\|"),
    ]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Bounds the models one after another; writes the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="+", default=list(MODELS), help="names of models")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--grid", type=int, help="frequencies per axis for convolutions, at most")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(asdict(bounded(options.worker, options.grid))))
        return
    rows: list[Row] = []
    for name in options.only:
        if importlib.util.find_spec(MODELS[name].split(".")[0]) is None:
            print(f"{name} is left out: {MODELS[name]} is not installed (see benchmarks/zoo.py)")
            continue
        rows.append(measured(name, options.limit, options.threads, options.grid))
        print(_line(rows[-1]), end="", flush=True)
        PAGE.write_text(page(rows, options.threads, options.grid), encoding="utf-8")


if __name__ == "__main__":
    main()
