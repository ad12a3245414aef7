"""What each job will take: as measured here before, or reckoned from its set-up and rates."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from nets import parts
from nets.dataset import DataSet
from pipeline.config.layers import leaves
from pipeline.plan.datasets import size_of
from pipeline.plan.rates import Measured, Rates, read_measured
from pipeline.plan.runs import Run
from pipeline.snakemake.private import PlannedJob
from pipeline.snakemake.setup import WorkflowSetup

SCALE = "laptop"
"""At which studies were measured."""

BASE_MB = 560
"""Held by a program that has imported torch."""


class Range(NamedTuple):
    """The least, where stopping rules end trainings as early as they can, and the most."""

    least: float = 0.0
    most: float = 0.0

    @classmethod
    def just(cls, value: float) -> "Range":
        """The same."""
        return cls(value, value)

    def __add__(self, other: "Range") -> "Range":  # type: ignore[override]
        return Range(self.least + other.least, self.most + other.most)


class Estimate(NamedTuple):
    """Of a job: seconds of its cores, operations of products, and what it holds and writes."""

    seconds: Range
    flop: Range
    memory_mb: float
    disk_mb: Range
    known: bool = True  # False where nothing like it was ever measured


@dataclass(frozen=True)
class Planner:
    """Estimates jobs of a configuration, on a machine ``factors`` slower than that of ``rates``.

    What has run in ``folder`` is not estimated but looked up there.
    """

    setup: WorkflowSetup
    rates: Rates
    factors: Mapping[str, float]
    folder: Path
    _runs: dict[tuple[str, int], Run] = field(default_factory=dict)

    def estimate(self, job: PlannedJob) -> Estimate:
        """Of one job. Raises :class:`pipeline.jobs.command.CommandError` for data of unknown size."""
        found = self._of_rule(job)
        measured = read_measured(self.folder / job.benchmark)
        if measured is None or measured.seconds == 0:
            return found
        memory = measured.memory_mb or found.memory_mb
        seconds = Range.just(measured.seconds * job.threads)
        return found._replace(seconds=seconds, memory_mb=memory, known=True)

    def is_measured(self, job: PlannedJob) -> bool:
        """Whether it has run in the folder."""
        return (self.folder / job.benchmark).exists()

    def _of_rule(self, job: PlannedJob) -> Estimate:
        if job.rule == "train":
            return self._training(job)
        if job.rule == "estimate_bounds":
            return self._bounds(job)
        if job.rule == "study":
            return self._study(job)
        return self._light(job)

    def _run(self, job: PlannedJob) -> Run:
        key = job.wildcards["training"], int(job.wildcards["width"])
        if key not in self._runs:
            setup = self.setup.config.setup(key[0])
            self._runs[key] = Run(setup, key[1], size_of(setup.dataset, self.folder))
        return self._runs[key]

    def _training(self, job: PlannedJob) -> Estimate:
        run = self._run(job)
        training, width = job.wildcards["training"], int(job.wildcards["width"])
        return Estimate(
            self._range(run, run.kind, run.training_features),
            Range(*(run.training(epochs).flop for epochs in run.epochs)),
            self.setup.training_memory_mb(training, width),
            Range(*(run.disk(epochs)[0] / 1e6 for epochs in run.epochs)),
        )

    def _bounds(self, job: PlannedJob) -> Estimate:
        run = self._run(job)
        return Estimate(
            self._range(run, job.rule, run.bounds_features),
            Range(*(run.bounds(epochs).flop for epochs in run.epochs)),
            BASE_MB + run.bounds_bytes / 1e6,
            Range(*(run.disk(epochs)[1] / 1e6 for epochs in run.epochs)),
        )

    def _range(self, run: Run, kind: str, features: Any) -> Range:
        return Range(*(self.rates.seconds(kind, features(n), self.factors) for n in run.epochs))

    @cached_property
    def _slower(self) -> float:
        return median(self.factors.values())

    def _study(self, job: PlannedJob) -> Estimate:
        """As it was measured at one scale, times what its settings ask for more."""
        name = job.wildcards["study"]
        measured = self.rates.studies.get(f"{SCALE}/{name}")
        if measured is None:
            return Estimate(Range(), Range(), BASE_MB, Range(), known=False)
        less, more = self._growth(name)
        seconds = measured.seconds * job.threads * self._slower
        return Estimate(
            Range(seconds * less, seconds * more),
            Range(),
            measured.memory_mb,
            Range.just(measured.disk_mb),
        )

    def _growth(self, study: str) -> tuple[float, float]:
        """How many times as much a study may compute at this scale as at that where it was measured."""
        config = self.setup.config
        scales = config.studies[study]
        here, there = (dict(_amounts(scales[scale].model_dump())) for scale in (config.scale, SCALE))
        ratios = [here[key] / there[key] for key in here if there.get(key)]
        for training in config.about_studies[study].runs:
            ratios.append(_size(config, training, config.scale) / _size(config, training, SCALE))
        less = math.prod(ratio for ratio in ratios if ratio < 1)
        return less, math.prod(ratio for ratio in ratios if ratio > 1)

    def _light(self, job: PlannedJob) -> Estimate:
        measured = self.rates.light.get(job.rule, Measured(1.0, 100.0))
        disk = self._disk_of_data(job)
        return Estimate(
            Range.just(max(measured.seconds, 0.2) * self._slower),
            Range(),
            measured.memory_mb,
            Range.just(measured.disk_mb if disk is None else disk),
        )

    def _disk_of_data(self, job: PlannedJob) -> float | None:
        """MB of data and labels; None for other jobs."""
        if job.rule == "download":
            return sum(_published_bytes(job.wildcards["published"])) / 1e6
        if "dataset" not in job.wildcards:
            return None
        size = size_of(job.wildcards["dataset"], self.folder)
        return (8 * size.training if job.rule.startswith("inject_noise") else size.bytes) / 1e6


def _amounts(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Settings that say how much there is to do: whole numbers, and lists by their sum or length."""
    for key, value in leaves(dict(settings)):
        if "seed" in key or isinstance(value, bool):
            continue
        if isinstance(value, int) and value > 0:
            yield key, value
        elif isinstance(value, list | tuple) and value:
            whole = all(isinstance(part, int) and part > 0 for part in value)
            yield key, sum(value) if whole else len(value)


def _size(config: Any, training: str, scale: str) -> float:
    """Nets of a training, wider ones for more."""
    whole = config.trainings[training][scale]
    setups = list(whole.variants.values()) or [whole]
    return sum(setup.seeds * sum(setup.widths) * max(1, len(setup.noises)) for setup in setups)


def _published_bytes(folder: str) -> Iterator[int]:
    for name in parts.names("data"):
        dataset: DataSet = parts.load("data", name).DATASET
        if dataset.published is not None and dataset.published.folder == folder:
            yield from (file.size or 0 for file in dataset.published.files)
            return


def machine_factors(rates: Rates, probes: Mapping[str, float]) -> dict[str, float]:
    """How many times as long as that of ``rates`` a machine takes for each kind of work."""
    return {name: probes[name] / rates.probes[name] for name in rates.probes}
