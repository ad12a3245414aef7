"""Lipschitz bounds of every kept checkpoint of one training run, on training and test points."""

import argparse
import csv
import io
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lipbounds.bounds import LowerBound, UpperBound, lower_bound, upper_bound
from nets.training.points import Points, as_inputs, subset, training_subset
from pipeline.config.training import BoundsJob
from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.device import choose_device
from pipeline.jobs.memory import keep_freed_memory
from pipeline.jobs.resume import only_process
from pipeline.provenance.files import read_tensors, write_text
from pipeline.runs.run import read_checkpoints

_ROUNDING = 1e-6
"""Relative error allowed to a float32 Jacobian when it is compared with an upper bound."""


def main(arguments: argparse.Namespace) -> None:
    """Write one row per seed, epoch and point set; an older call that still runs is stopped first."""
    keep_freed_memory()
    with only_process(arguments.bounds.parent):
        _estimate(arguments)


def _estimate(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    job = BoundsJob.model_validate_json(arguments.settings)
    arrays, _ = read_tensors(arguments.arrays)
    train = training_subset(Points(arrays["x_train"], arrays["y_train"]), job.training_points)
    points = {
        name: as_inputs(_some(x, job.bounds.points)).to(device)
        for name, x in (("train", train.x), ("test", arrays["x_test"]))
    }
    path = PathOfWeights()
    rows = [
        row | distances | {"code": arguments.code}
        for seed, epoch, model in read_checkpoints(arguments.checkpoints, job.model, arguments.width)
        for distances in [path.distances(seed, model)]
        for row in _bounds_of(model.to(device), seed, epoch, points, job)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(arguments.bounds, text.getvalue())


def _some(x: Tensor, count: int | None) -> Tensor:
    """At most ``count`` of the points, the same on every call."""
    return x if count is None or count >= len(x) else x[subset(len(x), count)]


class PathOfWeights:
    """How far the weights of each seed have gone, as the 2-norm of all of them.

    Source: Khromov & Singh, ICLR 2024, appendix S3.13 (parameter distance): the sum of the distances
    between one kept checkpoint and the next.
    """

    def __init__(self) -> None:
        self._first: dict[int, Tensor] = {}
        self._last: dict[int, Tensor] = {}
        self._length: dict[int, float] = {}

    def distances(self, seed: int, model: torch.nn.Module) -> dict[str, float]:
        """Those of the next checkpoint of ``seed``."""
        here = torch.cat([weight.detach().flatten().double() for weight in model.parameters()])
        before = self._last.get(seed, here)
        first = self._first.setdefault(seed, here)
        self._length[seed] = self._length.get(seed, 0.0) + float((here - before).norm())
        self._last[seed] = here
        return {
            "parameter_distance": self._length[seed],
            "distance_from_start": float((here - first).norm()),
        }


def _bounds_of(
    model: torch.nn.Module, seed: int, epoch: int, points: dict[str, torch.Tensor], job: BoundsJob
) -> Iterator[dict[str, Any]]:
    order = math.inf if job.bounds.ord == "inf" else job.bounds.ord
    started = time.perf_counter()
    upper = upper_bound(model, tuple(points["train"].shape[1:]), method=job.bounds.upper, ord=order)
    upper_seconds = time.perf_counter() - started
    for name, x in points.items():
        started = time.perf_counter()
        lower = lower_bound(model, x, ord=order)
        lower_seconds = time.perf_counter() - started
        _check_order(lower, upper, f"seed {seed}, epoch {epoch}, {name} points")
        yield {
            "seed": seed,
            "epoch": epoch,
            "points": name,
            "number_of_points": len(x),
            "c_lower": lower.max,
            "c_avg": lower.mean,
            "c_rms": lower.rms,
            "worst_point": lower.argmax,
            "log10_c_upper": upper.log10,
            "upper_kind": upper.kind,
            "upper_certified": upper.certified,
            "upper_method": upper.method,
            "lower_kind": "lower",
            "lower_certified": False,
            "lower_method": "exact Jacobian norms",
            "ord": job.bounds.ord,
            "dtype": str(x.dtype).removeprefix("torch."),
            "upper_seconds": round(upper_seconds, 6),
            "lower_seconds": round(lower_seconds, 6),
        }


def _check_order(lower: LowerBound, upper: UpperBound, where: str) -> None:
    """Stop if C_avg <= C_rms <= C_lower <= C_upper fails by more than rounding."""
    chain = {
        "C_avg": lower.mean,
        "C_rms": lower.rms,
        "C_lower": lower.max,
        "C_upper": upper.value,
    }
    for small, large in pairwise(chain):
        if not chain[small] <= chain[large] * (1 + _ROUNDING):
            raise CommandError(
                f"{where}: {small} = {chain[small]!r} exceeds {large} = {chain[large]!r}, which "
                "cannot be; one of the two is wrong. Nothing was written."
            )


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.reads("--arrays", required=True, help="input: prepared data")
    parser.reads("--checkpoints", required=True, help="input: safetensors")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--settings", required=True, help="pipeline.config.training.BoundsJob as JSON")
    parser.add_argument("--code", default="", help="fingerprint of the program")
    parser.computes()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bounds", type=Path, required=True, help="output: CSV")
    run(parser, main)
