"""Measure the speed of Jacobian norms, training and the workflow itself.

Contenders take turns in each round, so that a ratio compares numbers of the same minutes.

    python benchmarks/run.py [--peer CHECKOUT] [--rounds 7] [--threads 2]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import timed_nets  # noqa: E402
from lipbounds.jacobian import jacobian_norms  # noqa: E402
from nets import parts  # noqa: E402
from nets.models.cnn import Settings as Cnn  # noqa: E402
from nets.training.initialisation import seeded  # noqa: E402
from nets.training.loss import loss_named  # noqa: E402
from nets.training.plain import Plain  # noqa: E402
from nets.training.points import Points  # noqa: E402
from nets.training.recipe import Recipe  # noqa: E402
from nets.training.stacked import Stacked  # noqa: E402
from pipeline.jobs.memory import keep_freed_memory  # noqa: E402

Contenders = dict[str, Callable[[], float]]

JACOBIANS = {"fcn-256": 512, "fcn-4096": 512, "cnn": 32, "resnet-20": 32}
TRAININGS = (16, 64, 256, 512)
CNN_WIDTHS = (1, 2, 4, 8, 16)
RECIPE = Recipe(loss_named("cross_entropy"), clip_norm=50.0)
CPU = torch.device("cpu")


class Peer:
    """The authors' code in another process."""

    def __init__(self, checkout: Path, data: dict[str, torch.Tensor], threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "data.safetensors"
        save_file(data, file)
        worker = Path(__file__).with_name("peer_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(worker), str(checkout), str(file), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def timer(self, **request: Any) -> Callable[[], float]:
        """A function that has one call timed and returns its seconds."""

        def measure() -> float:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return float(self._process.stdout.readline())

        return measure


def timed(call: Callable[[], Any]) -> Callable[[], float]:
    """Seconds of one call."""

    def measure() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return measure


def race(task: str, contenders: Contenders, rounds: int, flop: float = 0) -> list[dict[str, Any]]:
    """Median seconds of each contender, and how many times as long as ours it takes."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            measure()  # so that nobody pays for the caches that the one before has filled
            times[name].append(measure())
    ours = next(iter(times))
    rows = []
    for name, seconds in times.items():
        ratio = median(s / o for s, o in zip(seconds, times[ours], strict=True))
        rate = flop / median(seconds) / 1e9 if flop and name == ours else None
        rows.append(
            {"task": task, "who": name, "ms": 1e3 * median(seconds), "ratio": ratio, "GFLOP/s": rate}
        )
        print(f"{task:34} {name:38} {1e3 * median(seconds):10.2f} ms {ratio:8.2f} x", flush=True)
    return rows


def jacobian_race(
    net: str, data: dict[str, torch.Tensor], peer: Peer | None
) -> tuple[Contenders, float]:
    """Norms of all points of a net: ours, vmap(jacrev) with matrix_norm, the authors'."""
    model, x = timed_nets.build(net), timed_nets.points(net, data)
    single = torch.func.vmap(torch.func.jacrev(lambda p: model(p.unsqueeze(0)).squeeze(0)))

    def with_jacrev() -> None:
        torch.linalg.matrix_norm(single(x).detach().flatten(2), 2)

    contenders = {
        "lipbounds.jacobian_norms": timed(lambda: jacobian_norms(model, x)),
        "vmap(jacrev) + matrix_norm(2)": timed(with_jacrev),
    }
    if peer is not None:
        request = {"task": "jacobian", "net": net, "batch": JACOBIANS[net]}
        contenders["authors' compute_jac_norm"] = peer.timer(**request)
    if net.startswith("fcn"):  # the patterns, and their product with the table of outer products
        return contenders, 2.0 * len(x) * int(net.split("-")[1]) * (40 + 40 * 10)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return contenders, 11.0 * counter.get_total_flops()  # a pass forward, and ten back to the points


def plain_epoch(width: int, data: dict[str, torch.Tensor]) -> Callable[[], None]:
    """The same updates with autograd, torch.optim and torch's clipping, data cut beforehand."""
    batches = zip(data["x_train"].split(512), data["y_train"].split(512), strict=True)
    return loop(timed_nets.build(f"fcn-{width}"), list(batches))


def stacked_epoch(width: int, seeds: int, data: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One epoch of ``seeds`` nets side by side."""
    stack = Stacked([timed_nets.build(f"fcn-{width}")] * seeds, RECIPE, CPU)
    prepared = stack.prepare(Points(data["x_train"], data["y_train"]), 512)

    @torch.no_grad()
    def run() -> None:
        stack.train_epoch(prepared, [0.005] * 8, None, (0,))

    return run


def cnn_race(width: int) -> Contenders:
    """Four updates of the paper's CNN on made-up images: ours, a loop by hand, the usual one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(512, 3, 32, 32, generator=generator)
    y = torch.randint(0, 10, (512,), generator=generator)
    ours = Plain([seeded(Cnn(), 0, width, (3, 32, 32), 10)], RECIPE, CPU, 10)
    prepared = ours.prepare(Points(x, y), 128)

    @torch.no_grad()
    def run() -> None:
        ours.train_epoch(prepared, [0.01] * 4, None, (0,))

    by_hand = papers_cnn(width).to(memory_format=torch.channels_last)
    laid_out = x.contiguous(memory_format=torch.channels_last)
    batches = list(zip(laid_out.split(128), y.split(128), strict=True))
    dataset = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(dataset, batch_size=128, shuffle=True)
    return {
        "Plain": timed(run),
        "loop by hand, in memory, channels_last": timed(loop(by_hand, batches)),
        "loop over a DataLoader": timed(loop(papers_cnn(width), loader)),
    }


def papers_cnn(width: int) -> nn.Sequential:
    """With ReLU in front of the pooling, as it is written in the paper."""
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = []
    for before, after, pool in zip(channels, channels[1:], (1, 2, 2, 8), strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.ReLU()]
        layers += [nn.MaxPool2d(pool)] if pool > 1 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1], 10, bias=False))


def loop(model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Callable[[], None]:
    """An epoch of autograd, torch.optim and torch's clipping."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        for x, y in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimiser.step()

    return run


def training_race(
    width: int, data: dict[str, torch.Tensor], peer: Peer | None
) -> tuple[Contenders, float]:
    """One epoch of one net: in a stack of four (a quarter of its time), alone, plain, authors'."""
    four = timed(stacked_epoch(width, 4, data))
    contenders = {
        "Stacked, 4 seeds, per seed": lambda: four() / 4,
        "Stacked, 1 seed": timed(stacked_epoch(width, 1, data)),
        "plain PyTorch loop": timed(plain_epoch(width, data)),
    }
    if peer is not None:
        contenders["authors' loop (with its gradient pass)"] = peer.timer(
            task="epoch", net=f"fcn-{width}"
        )
    return contenders, 2.0 * 4000 * (3 * 50 * width - 40 * width)


def matmul_rate() -> float:
    """GFLOP/s of a large float32 matrix product, the floor that the others are held against."""
    a = torch.randn(2048, 2048)
    measure = timed(lambda: a @ a)
    measure()
    return 2 * 2048**3 / min(measure() for _ in range(5)) / 1e9


def workflow_rows() -> list[dict[str, Any]]:
    """Start-up costs of the workflow."""
    commands = {
        "snakemake -n figures": ["-m", "snakemake", "-n", "--quiet"],
        "python -c 'import torch'": ["-c", "import torch"],
    }
    rows = []
    for name, arguments in commands.items():
        call = [sys.executable, *arguments]
        measure = timed(
            lambda call=call: subprocess.run(call, cwd=ROOT, capture_output=True, check=True)
        )
        measure()
        seconds = median(measure() for _ in range(5))
        rows.append({"task": name, "who": "", "ms": 1e3 * seconds})
        print(f"{name:34} {'':38} {1e3 * seconds:10.2f} ms", flush=True)
    return rows


def main() -> None:
    """Print the table and write it to docs/benchmarks.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", type=Path, help="checkout of the authors' released code")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--csv", type=Path, default=ROOT / "docs" / "benchmarks.csv")
    arguments = parser.parse_args()
    keep_freed_memory()  # as jobs do; the other contenders in this process gain by it too
    torch.set_num_threads(arguments.threads)
    arrays = parts.load("data", "mnist1d").DATASET.prepare("mnist1d").named()
    data = {name: torch.from_numpy(array) for name, array in arrays.items()}
    peer = Peer(arguments.peer, data, arguments.threads) if arguments.peer else None
    rate = matmul_rate()
    print(f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}")
    print(f"float32 matrix product: {rate:.0f} GFLOP/s")
    rows: list[dict[str, Any]] = []
    for net in JACOBIANS:
        contenders, flop = jacobian_race(net, data, peer)
        rows += race(f"Jacobian norms, {net}", contenders, arguments.rounds, flop)
    torch.set_num_threads(1)  # as the workflow trains; the authors' process keeps its threads
    one_thread_rate = matmul_rate()
    for width in TRAININGS:
        contenders, flop = training_race(width, data, peer)
        rows += race(f"training epoch, fcn-{width}", contenders, arguments.rounds, flop)
    for width in CNN_WIDTHS:
        rows += race(f"4 updates, cnn-{width}", cnn_race(width), arguments.rounds)
    rows += workflow_rows()
    table = pd.DataFrame(rows)
    floor = table["task"].str.startswith("training").map({True: one_thread_rate, False: rate})
    table["of matmul rate"] = table["GFLOP/s"] / floor
    table.round(3).to_csv(arguments.csv, index=False, lineterminator="\n")
    page = arguments.csv.with_suffix(".md")
    page.write_text(_page(table, rate, one_thread_rate, arguments.threads))
    print(f"wrote {arguments.csv} and {page}")


def _page(table: pd.DataFrame, rate: float, one_thread_rate: float, threads: int) -> str:
    """The table as a page of the documentation."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. Medians over rounds in which the contenders take turns;",
        "the ratio is to the first line of each task. The last column is the share of the rate of a",
        "large float32 product by torch.mm, for reference. Training runs on one thread, as in the",
        "workflow, and the authors' loop on all; it also makes a full gradient pass and a test pass",
        "after each epoch. Ours makes those when the stopping rule or the history asks for them.",
        "Nothing has been measured on a GPU.",
        "",
        f"{_processor()}, {threads} threads, torch {torch.__version__}; float32 matrix product",
        f"{rate:.0f} GFLOP/s, on one thread {one_thread_rate:.0f}.",
        "",
        "| task | who | ms | ratio | GFLOP/s | of that rate |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in table.to_dict("records"):
        numbers = [f"{row['ms']:.2f}", _cell(row["ratio"], ".2f"), _cell(row["GFLOP/s"], ".0f")]
        share = _cell(row["of matmul rate"], ".0%")
        lines.append("| " + " | ".join([row["task"], row["who"], *numbers, share]) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)


def _processor() -> str:
    """Model name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
