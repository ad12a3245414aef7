"""The largest Jacobian norm of vision transformers over a great many points between the data."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from lipbounds.bounds.extended import lower_bound_over
from lipbounds.threads import map_single_threaded
from nets.point_sets import convex_combinations
from nets.settings import Count, NonNegative, Section, Share
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run


class Settings(Section):
    """The largest Jacobian norm over the training points, and over convex combinations of them."""

    seeds: Count = Field(description="nets of each width, the first of the training's seeds")
    weight: Share = Field(description="weight of the first point of each pair")
    combinations: Count = Field(description="convex combinations of pairs of training points")
    seed: NonNegative = Field(description="seed of the pairs")


_CHUNK = 1000
"""Images in memory at a time."""


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net at its stop and set of points: all training points, and those between them.

    Source: Khromov & Singh, ICLR 2024, Figure S16, where the set is called S**. All nets are measured
    at the same points.
    """
    nets = [(run, net) for run in runs for net in run.at_stop() if net.seed in _first(run, settings)]
    # the widest first, so that no worker is left alone with one at the end
    order = sorted(range(len(nets)), key=lambda place: -nets[place][0].width)
    found = map_single_threaded(lambda place: _measured(settings, arrays, *nets[place]), order)
    rows_at = dict(zip(order, found, strict=True))
    return pd.DataFrame([row for place in range(len(nets)) for row in rows_at[place]])


def _first(run: Run, settings: Settings) -> list[int]:
    return sorted(seed["seed"] for seed in run.seeds())[: settings.seeds]


def _measured(settings: Settings, arrays: Arrays, run: Run, net: Checkpoint) -> list[dict[str, Any]]:
    x = run.points(arrays, "train").x
    sets: dict[str, Callable[[], Iterator[Tensor]]] = {
        "train": lambda: iter(x.split(_CHUNK)),
        "convex": partial(_between, settings, x),
    }
    rows = []
    for name, points in sets.items():
        one = lower_bound_over(net.model, points())
        LOG.info("width %d, seed %d: %.6g at %s points", run.width, net.seed, one.max, name)
        rows.append({"points": name, "count": one.count, "maximum": one.max, "mean": one.mean})
    return [run.about | {"seed": net.seed, "epoch": net.epoch} | row for row in rows]


def _between(settings: Settings, x: Tensor) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "convex"))
    return convex_combinations(x, [settings.weight], settings.combinations, generator, chunk=_CHUNK)
