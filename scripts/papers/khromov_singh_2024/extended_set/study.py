"""The largest Jacobian norm over the data and over a great many points between them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.bounds import upper_bound
from lipbounds.bounds.extended import lower_bound_over
from lipbounds.threads import map_single_threaded
from nets.point_sets import convex_combinations
from nets.settings import Count, NonNegative, Section, Share
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.runs.checkpoints import checkpoints_at
from pipeline.runs.run import Checkpoint, Run


class ExtendedSetRuns(Section):
    """Where one experiment is measured over the extended set."""

    epochs: tuple[Count, ...] = Field(
        description="kept epochs to measure at, besides initialisation and the stop"
    )
    seeds: Count = Field(description="nets, the first of the experiment's seeds")
    combinations: Count = Field(description="convex combinations per weight and data set")


class Settings(Section):
    """The largest Jacobian norm over data and convex combinations, along training."""

    weights: tuple[Share, ...] = Field(
        min_length=1, description="weight of the first point of each pair"
    )
    evolution: ExtendedSetRuns = Field(description="what is measured of `evolution`")
    evolution_wide: ExtendedSetRuns = Field(description="what is measured of `evolution_wide`")
    seed: NonNegative = Field(description="root of the seeds of the pairs")

    def of(self, experiment: str) -> ExtendedSetRuns:
        """What is measured of an experiment."""
        return {"evolution": self.evolution, "evolution_wide": self.evolution_wide}[experiment]


_ROUNDING = 1e-6
"""Relative error allowed to a float32 Jacobian when it is compared with an upper bound."""

PointSets = Mapping[str, Callable[[], Iterable[Tensor]]]


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per run, seed, epoch and set of points; ``all`` is the union of the others.

    Source: Khromov & Singh, ICLR 2024, Figure 1. All nets are measured at the same points. Raises
    ``ValueError`` where C_S* exceeds C_upper.
    """
    rows = []
    for run in runs:
        few = settings.of(run.experiment)
        sets = point_sets(settings, run, arrays)

        def of_net(net: Checkpoint, run: Run = run, sets: PointSets = sets) -> list[dict[str, Any]]:
            measured = measure(net.model, sets)
            LOG.info(
                "%s, seed %d, epoch %d: %.6g at training points, %.6g in all",
                *(run.experiment, net.seed, net.epoch),
                *(measured[0]["maximum"], measured[-1]["maximum"]),
            )
            return [run.about | {"seed": net.seed, "epoch": net.epoch} | row for row in measured]

        nets = checkpoints_at(run, few.epochs, few.seeds)
        rows += [row for found in map_single_threaded(of_net, nets) for row in found]
    return pd.DataFrame(rows)


def point_sets(settings: Settings, run: Run, arrays: Arrays) -> PointSets:
    """The four sets that make S*, each to be gone through as often as needed."""
    data = {part: run.points(arrays, part).x for part in ("train", "test")}
    itself = {part: partial(_whole, x) for part, x in data.items()}
    between = {f"convex_{part}": partial(_between, settings, run, part, x) for part, x in data.items()}
    return itself | between


def _whole(x: Tensor) -> list[Tensor]:
    return [x]


def _between(settings: Settings, run: Run, part: str, x: Tensor) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, f"convex_{part}"))
    count = settings.of(run.experiment).combinations
    return convex_combinations(x, settings.weights, count, generator)


def measure(model: nn.Module, sets: PointSets) -> list[dict[str, Any]]:
    """Number of points, largest and mean Jacobian norm of each set, and of their union."""
    found = {name: lower_bound_over(model, chunks()) for name, chunks in sets.items()}
    rows = [
        {"points": name, "count": one.count, "maximum": one.max, "mean": one.mean}
        for name, one in found.items()
    ]
    count = sum(one.count for one in found.values())
    mean = sum(one.count * one.mean for one in found.values()) / count
    largest = max(one.max for one in found.values())
    upper = upper_bound(model, tuple(found["train"].worst.shape)).value
    if not largest <= upper * (1 + _ROUNDING):
        raise ValueError(f"C_S* = {largest!r} exceeds C_upper = {upper!r}, which cannot be")
    return [*rows, {"points": "all", "count": count, "maximum": largest, "mean": mean}]
