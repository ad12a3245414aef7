"""From settings and files to a training run, and from a finished run to its outputs."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import nn

from nets import parts
from nets.settings import Family, Section
from nets.training.assemble import assemble
from nets.training.initialisation import check_outputs, first_accepted, seeded
from nets.training.loss import loss_named
from nets.training.points import Points
from nets.training.recipe import Penalty, Recipe
from nets.training.run import Record, Settings, StopReason, TrainingRun
from nets.training.schedule import build_schedule
from pipeline.config.training import Training, TrainingJob
from pipeline.jobs.seeds import derive_seed


def build_run(
    job: TrainingJob,
    width: int,
    train: Points,
    test: Points,
    classes: int,
    device: torch.device,
) -> TrainingRun:
    """A run at initialisation: every seed of one width, side by side on ``device``.

    Raises ``ValueError`` where the family is not for such points, or a penalty not for such nets.
    """
    nets = list(initial_nets(job, width, train, classes))
    ensemble = assemble(nets, recipe(job.training), device, classes)
    settings = run_settings(job.training, _order_seed(job, width))
    return TrainingRun(ensemble, range(job.seeds), train, test, settings)


def initial_nets(job: TrainingJob, width: int, train: Points, classes: int) -> Iterator[nn.Module]:
    """The net of each seed, the first initialisation that its family accepts."""
    family: Family = parts.made("model", job.model)
    for seed in range(job.seeds):
        drawn = _draws(job, family, width, seed, train.x.shape[1:], classes)
        net = first_accepted(drawn, partial(_accepted, family, train))
        check_outputs(net, train.x, classes)
        yield net


def _accepted(family: Family, train: Points, net: nn.Module) -> bool:
    return family.accepts(net, train.x, train.y)


def _draws(
    job: TrainingJob, family: Family, width: int, seed: int, shape: torch.Size, classes: int
) -> Iterator[nn.Module]:
    """Initialisations of one seed, the first and its replacements."""
    for draw in count():
        drawn = derive_seed(job.random_seed, "initialisation", width=width, seed=seed, draw=draw)
        yield seeded(family, drawn, width, shape, classes)


def recipe(training: Training) -> Recipe:
    """How a set-up updates nets."""
    optimizer = parts.made("optimizer", training.optimizer)
    augmentation = training.augmentation
    return Recipe(
        loss=loss_named(training.loss),
        clip_norm=math.inf if training.clip_norm is None else training.clip_norm,
        temperature=training.temperature,
        optimiser=optimizer.optimiser,
        rowwise=getattr(parts.load("optimizer", training.optimizer.name), "ROWWISE", False),
        penalties=[_penalty(*stated) for stated in training.penalties.items()],
        augmentation=None if augmentation is None else parts.made("augmentation", augmentation).augment,
        track_path=training.track_path,
    )


def _penalty(name: str, settings: Section) -> Penalty:
    own = parts.load("penalty", name).Settings(**settings.model_dump())
    return Penalty(name, getattr(own, "stacked", None), getattr(own, "plain", None))


def history_csv(records: Sequence[Record]) -> str:
    """Records as CSV, by seed and epoch; penalty and path have columns only where there are any."""
    rows = [_values(r) for r in sorted(records, key=lambda r: (r.seed, r.epoch))]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def summary(
    records: Sequence[Record], stopped: Mapping[int, tuple[StopReason, int]]
) -> list[dict[str, Any]]:
    """Where each seed stopped, why, and its losses there, with the penalty if there is one."""
    at = {(record.seed, record.epoch): record for record in records}
    return [
        {"seed": seed, "stop_reason": reason, "epochs": epoch}
        | {k: v for k, v in _values(at[seed, epoch]).items() if k not in ("seed", "epoch")}
        for seed, (reason, epoch) in sorted(stopped.items())
    ]


def _values(record: Record) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value is not None}


def _order_seed(job: TrainingJob, width: int) -> int:
    order = {"order": job.training.order_seed} if job.training.order_seed else {}
    return derive_seed(job.random_seed, "batch order", width=width, **order)


def run_settings(training: Training, order_seed: int) -> Settings:
    """When a set-up stops, records and keeps."""
    schedule = training.schedule.model_dump()
    return Settings(
        learning_rate=training.learning_rate,
        schedule=build_schedule(schedule.pop("name"), **schedule),
        batch_size=training.batch_size,
        min_epochs=training.min_epochs,
        max_epochs=training.max_epochs,
        target_gradient_norm=training.target_gradient_norm,
        gradient_norm_every=training.gradient_norm_every,
        record_every=training.record_every,
        keep_epochs=frozenset(training.keep_epochs),
        shuffle=training.shuffle,
        order_seed=order_seed,
    )
