"""Measure the speed of operator norms and upper bounds.

Contenders take turns in each round, so that a ratio compares numbers of the same minutes. Beside the
time stands the gap to the norm itself and whether the number is proved to be a bound.

    python benchmarks/bounds.py [--gram CHECKOUT] [--toeplitz CHECKOUT] [--rounds 5] [--threads 2]

``--gram`` is a checkout of the released code of Delattre et al., ``--toeplitz`` one of Khromov & Singh.
"""

import argparse
import itertools
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from lipbounds.bounds import upper_bound  # noqa: E402
from lipbounds.operator_norm import conv2d_norm  # noqa: E402
from lipbounds.operator_norm.competitors import COMPETITORS  # noqa: E402
from lipbounds.operator_norm.gram import conv_gram_norm, toeplitz_gram_norm  # noqa: E402
from run import _processor  # noqa: E402

CONVOLUTIONS = {
    # name: (out, in, kernel, input size, stride, padding)
    "16->16 3x3, n = 32": (16, 16, 3, 32, 1, 1),
    "64->64 3x3, n = 32": (64, 64, 3, 32, 1, 1),
    "512->512 3x3, n = 7": (512, 512, 3, 7, 1, 1),
    "3->64 7x7 stride 2, n = 224": (64, 3, 7, 224, 2, 3),
}
CIRCULAR = "of the circular operator"

Contender = tuple[Callable[[], float], str]
"""A function that returns the norm, and what its value is."""


def contenders(name: str, gram: Any, toeplitz: Any) -> dict[str, Contender]:
    """Ours first. Those that would take minutes or gigabytes are left out."""
    out, channels, kernel, n, stride, padding = CONVOLUTIONS[name]
    torch.manual_seed(0)
    weight = nn.Conv2d(channels, out, kernel).weight.detach()
    layer = {"stride": stride, "padding": padding}
    found: dict[str, Contender] = {
        "certified, zero padding": (lambda: conv2d_norm(weight, n, **layer).value, "proved"),
        "certified, 16 frequencies per axis": (
            lambda: conv2d_norm(weight, n, **layer, grid=16).value,
            "proved",
        ),
        "Lanczos from below": (
            lambda: conv2d_norm(weight, n, **layer, method="lanczos").value,
            "lower",
        ),
        "any size, certified": (lambda: conv2d_norm(weight, None, stride=stride).value, "proved"),
    }
    if stride == 1:
        circular = f"bound {CIRCULAR}"
        found["Gram iteration, 6 steps"] = (lambda: conv_gram_norm(weight, n, steps=6).item(), circular)
        steps = 4 if out < 100 else 2
        found[f"Gram iteration, any size, {steps} steps"] = (
            lambda: toeplitz_gram_norm(weight, steps=steps).item(),
            "bound, not proved",
        )
    for key in ("singla_feizi", "araujo", "trivial", "grishina", "sedghi"):
        if key in COMPETITORS and not (key == "sedghi" and stride > 1):
            method = COMPETITORS[key]
            found[method.source] = (
                lambda method=method: method.function(weight, n).value,
                f"{'bound' if method.sound else 'no bound'} ({method.operator}), not proved",
            )
    if gram is not None and stride == 1:
        found["released Gram iteration, 6 steps"] = (
            lambda: float(gram.compute_delattre2023(weight.clone(), n=n, n_iter=6, return_time=False)),
            f"bound {CIRCULAR}",
        )
        found["released zero-padding bound, 3 steps"] = (
            lambda: float(gram.compute_delattre2024(weight.clone(), n_iter=3, return_time=False)),
            "bound, not proved",
        )
    if toeplitz is not None and out == 16:
        found["released sparse matrix and svds"] = (
            lambda: float(toeplitz(weight.numpy(), padding, stride, n)),
            "value to 1e-8",
        )
    return found


def race(task: str, ours: dict[str, Contender], rounds: int) -> list[dict[str, Any]]:
    """Median milliseconds of each contender, ratio to the first, and gap to the reference."""
    times: dict[str, list[float]] = {name: [] for name in ours}
    values: dict[str, float] = {}
    for round_ in range(rounds):
        for name, (function, _) in ours.items():
            if round_ and times[name][0] > 5:  # once is enough
                continue
            if round_ and times[name][0] < 1:
                function()  # so that nobody pays for the caches and threads of the one before
            started = time.perf_counter()
            values[name] = function()
            times[name].append(time.perf_counter() - started)
    first = next(iter(ours))
    reference = values.get("released sparse matrix and svds", values["Lanczos from below"])
    rows = []
    for name, (_, what) in ours.items():
        # the first round warms caches up
        seconds = median(times[name][1:] or times[name])
        ratio = seconds / median(times[first][1:] or times[first])
        gap = values[name] / reference - 1
        rows.append(
            {"task": task, "who": name, "ms": 1e3 * seconds, "ratio": ratio, "gap": gap, "what": what}
        )
        print(
            f"{task:28} {name:44} {1e3 * seconds:9.1f} ms {ratio:8.2f} x  {gap:+.1e}  {what}", flush=True
        )
    return rows


def whole_nets(rounds: int) -> list[dict[str, Any]]:
    """Upper bounds of whole nets."""
    import torchvision

    torch.manual_seed(0)
    nets: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
        "ResNet-18, 224 x 224": (torchvision.models.resnet18(), (3, 224, 224), "autolip"),
        "FCN 40-65536-10": (_mlp([40, 65_536, 10]), (40,), "autolip"),
        "FCN 40-256-10": (_mlp([40, 256, 10]), (40,), "best"),
        "10-(40x5)-5": (_mlp([10, *[40] * 5, 5]), (10,), "best"),
        "10-(80x20)-5": (_mlp([10, *[80] * 20, 5]), (10,), "best"),
    }
    rows = []
    for name, (model, shape, method) in nets.items():
        model.eval()
        times = []
        for _ in range(2 if "ResNet" in name else rounds + 1):
            started = time.perf_counter()
            bound = upper_bound(model, shape, method=method)
            times.append(time.perf_counter() - started)
        product = upper_bound(model, shape).log10 if method == "best" else bound.log10
        below = 10 ** (product - bound.log10)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        what = f"{'proved' if bound.certified else 'not proved'}; {below:.3g} times below AutoLip"
        what += f"; process up to {memory:.1f} GB" if "ResNet" in name else ""
        rows.append({"task": name, "who": bound.method, "ms": 1e3 * min(times), "what": what})
        print(f"{name:28} {bound.method:44} {1e3 * min(times):9.1f} ms  {what}", flush=True)
    return rows


def _mlp(sizes: list[int]) -> nn.Module:
    """ReLU net with weights of He's scale and no biases."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layer = nn.Linear(a, b, bias=False)
        nn.init.normal_(layer.weight, 0, math.sqrt(2 / a))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def released_gram(checkout: Path) -> Any:
    """The module ``bounds`` of the checkout, on a machine without CUDA."""
    sys.path.insert(0, str(checkout))
    Tensor.cuda = lambda self, *arguments, **options: self  # type: ignore[method-assign]
    import bounds

    return bounds


def released_toeplitz(checkout: Path) -> Callable[..., float]:
    """Norm of a convolution as the released code computes it: sparse matrix and svds."""
    sys.path.insert(0, str(checkout / "code" / "utils"))
    import scipy.sparse.linalg
    from conv_to_matrix import get_conv2d_matrix

    return lambda *layer: scipy.sparse.linalg.norm(get_conv2d_matrix(*layer), ord=2)


def _page(table: pd.DataFrame, threads: int) -> str:
    lines = [
        "# Benchmarks of bounds",
        "",
        "Written by `make bench`; do not edit. Medians over rounds in which the contenders take turns;",
        "the ratio is to the first line of each task. The gap is to the norm of the zero-padded layer",
        "(Lanczos to a relative residual of 1e-4 or the released sparse SVD). *Proved* means with",
        "rounding errors included; a circular operator's norm is no bound for zero padding. Nothing has",
        "been measured on a GPU.",
        "",
        f"{_processor()}, {threads} threads, torch {torch.__version__}.",
        "",
        "| task | who | ms | ratio | gap | what |",
        "|---|---|--:|--:|--:|---|",
    ]
    for row in table.to_dict("records"):
        ratio = "" if pd.isna(row["ratio"]) else f"{row['ratio']:.2f}"
        gap = "" if pd.isna(row["gap"]) else f"{row['gap']:+.1e}"
        cells = [row["task"], row["who"], f"{row['ms']:.1f}", ratio, gap, row["what"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table and write it to docs/benchmarks_bounds.csv and .md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gram", type=Path, help="checkout of the code of Delattre et al.")
    parser.add_argument("--toeplitz", type=Path, help="checkout of the code of Khromov & Singh")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--csv", type=Path, default=ROOT / "docs" / "benchmarks_bounds.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    gram = released_gram(arguments.gram) if arguments.gram else None
    toeplitz = released_toeplitz(arguments.toeplitz) if arguments.toeplitz else None
    rows = whole_nets(arguments.rounds)
    for name in CONVOLUTIONS:
        rows += race(name, contenders(name, gram, toeplitz), arguments.rounds)
    table = pd.DataFrame(rows)
    table.round(6).to_csv(arguments.csv, index=False, lineterminator="\n")
    page = arguments.csv.with_suffix(".md")
    page.write_text(_page(table, arguments.threads))
    print(f"wrote {arguments.csv} and {page}")


if __name__ == "__main__":
    main()
