"""How fast machines are: rates fitted to jobs that were measured, and a short look at this machine.

The seconds of a training are a sum: its start, operations of products, calls of torch and bytes of their
results, each times its rate. So are those of bounds. ``rates.json`` has the rates of one machine, with
what the light jobs and the studies took there; :mod:`pipeline.plan.fitting` writes it.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
import torch

FILE = Path(__file__).with_name("rates.json")

START = 2.5
"""Seconds until a job has imported torch and read its inputs."""

PROBES = ("padded", "calls", "bytes")
"""What the machine is asked for; tracing for an upper bound goes with calls."""


class Measured(NamedTuple):
    """What a job took: seconds of a core, MB of memory, and MB that it wrote."""

    seconds: float
    memory_mb: float
    disk_mb: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Of one machine: seconds for one of each kind of work, by kind of job."""

    machine: str
    probes: Mapping[str, float]
    work: Mapping[str, Mapping[str, float]]
    light: Mapping[str, Measured]  # by rule
    studies: Mapping[str, Measured]  # by scale/study

    @classmethod
    def read(cls, file: Path = FILE) -> "Rates":
        """Those that come with the project."""
        stated: dict[str, Any] = json.loads(file.read_bytes())
        for key in ("light", "studies"):
            stated[key] = {name: Measured(*pair) for name, pair in stated[key].items()}
        return cls(**stated)

    def seconds(self, kind: str, features: Mapping[str, float], factors: Mapping[str, float]) -> float:
        """Of a job with these ``features``, on a machine that is slower by ``factors``."""
        rates = self.work[kind]
        return START * factors["calls"] + sum(
            rate * features[name] * factors[_probe(name)] for name, rate in rates.items()
        )


def _probe(feature: str) -> str:
    return feature if feature in PROBES else "calls"


def seconds_of_a_core(row: Mapping[str, Any]) -> float:
    """What a job of the benchmark file's ``row`` would have taken on a core of its own.

    Snakemake looks at the processor time of a job up to 15 seconds from its start, and then every 30.
    The share of a core that the job had until the last look is taken for that of the whole.
    """
    seconds = float(row["s"])
    processor = pd.to_numeric(row["cpu_time"], errors="coerce")
    looked = seconds if seconds < 15 else 15 + 30 * math.floor((seconds - 15) / 30)
    if pd.isna(processor) or seconds < 1:  # it was over before it was looked at
        return seconds
    return min(seconds, float(processor) * seconds / looked)


def read_measured(file: Path) -> Measured | None:
    """The last run of a job, from its benchmark file; None where there is no such file."""
    if not file.exists():
        return None
    row = pd.read_csv(file, sep="\t").iloc[-1].to_dict()
    memory = pd.to_numeric(row["max_rss"], errors="coerce")
    return Measured(seconds_of_a_core(row), 0.0 if pd.isna(memory) else float(memory))


def probe(seconds: float = 0.3) -> dict[str, float]:
    """Seconds for an operation of a product, a call and a byte of a result, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        square, small, large = torch.ones(512, 512), torch.ones(16), torch.ones(1 << 20)
        product, copy = torch.empty_like(square), torch.empty_like(large)
        return {
            "padded": _least(lambda: torch.mm(square, square, out=product), seconds) / (2 * 512**3),
            "calls": _least(lambda: [small.add_(1) for _ in range(100)], seconds) / 100,
            "bytes": _least(lambda: torch.add(large, 1, out=copy), seconds) / (4 << 20),
        }
    finally:
        torch.set_num_threads(threads)


def _least(call: Callable[[], object], seconds: float) -> float:
    """Of one call, the median of the fastest half: other work may go on beside it."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(sorted(times)[: len(times) // 2 + 1])
