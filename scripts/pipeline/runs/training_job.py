"""From settings and files to a training run, and from a finished run to its outputs."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nets import parts
from nets.training.initialisation import first_alive
from nets.training.loss import loss_named
from nets.training.points import Points
from nets.training.run import Record, Settings, TrainingRun
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN
from pipeline.config.training import Training, TrainingJob
from pipeline.jobs.seeds import derive_seed

if TYPE_CHECKING:
    from nets.training.optimisers.adam import Adam
    from nets.training.penalties.jacobian_penalty import JacobianPenalty
    from nets.training.penalties.regularisation import LipschitzPenalty
    from nets.training.penalties.spectral_cap import SpectralCap


def build_run(
    job: TrainingJob, width: int, train: Points, test: Points, classes: int, device: torch.device
) -> TrainingRun:
    """A run at initialisation: every seed of one width, side by side on ``device``."""
    family = parts.load("model", job.model.name)
    stack = StackedFCN(
        [w.to(device) for w in _initial_weights(job, width, train, classes)],
        output_slope=family.OUTPUT_SLOPES[job.model.output_activation],
        loss=loss_named(job.training.loss),
        clip_norm=math.inf if job.training.clip_norm is None else job.training.clip_norm,
        largest_batch=min(job.training.batch_size, max(len(train.y), len(test.y))),
        penalty=_penalty(job.training),
        jacobian_penalty=_jacobian_penalty(job.training),
        temperature=job.training.temperature,
        optimizer=_optimizer(job.training),
        spectral_cap=_spectral_cap(job.training),
        track_path=job.training.track_path,
    )
    train, test = (Points(p.x.to(device), p.y.to(device)) for p in (train, test))
    settings = _settings(job.training, _order_seed(job, width))
    return TrainingRun(stack, range(job.seeds), train, test, settings)


def history_csv(records: Sequence[Record]) -> str:
    """Records as CSV, by seed and epoch; penalty and path have columns only where there are any."""
    rows = [_values(r) for r in sorted(records, key=lambda r: (r.seed, r.epoch))]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def summary(run: TrainingRun) -> list[dict[str, Any]]:
    """Where each seed stopped, why, and its losses there, with the penalty if there is one."""
    last = {record.seed: record for record in sorted(run.records, key=lambda r: r.epoch)}
    return [
        {"seed": seed, "stop_reason": run.stopped[seed], "epochs": last[seed].epoch}
        | {k: v for k, v in _values(last[seed]).items() if k not in ("seed", "epoch")}
        for seed in sorted(last)
    ]


def _values(record: Record) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value is not None}


def _initial_weights(job: TrainingJob, width: int, train: Points, classes: int) -> list[torch.Tensor]:
    """Weights (seeds, out, in) of each layer."""
    models = [
        first_alive(
            _draws(job, width, seed, train.x.shape[1], classes),
            train.x,
            train.y,
            job.model.minimum_alive_share,
        )
        for seed in range(job.seeds)
    ]
    linear_weights = parts.load("model", job.model.name).linear_weights
    return [torch.stack(layer) for layer in zip(*map(linear_weights, models), strict=True)]


def _draws(job: TrainingJob, width: int, seed: int, inputs: int, classes: int) -> Iterator[nn.Module]:
    """Initialisations of one seed, the first and its replacements."""
    family = parts.load("model", job.model.name)
    for draw in count():
        drawn = derive_seed(job.random_seed, "initialisation", width=width, seed=seed, draw=draw)
        yield family.initialised(job.model, width, inputs, classes, drawn)


def _penalty(training: Training) -> "LipschitzPenalty | None":
    settings = training.regularisation
    if settings is None:
        return None
    penalty: LipschitzPenalty = parts.load("penalty", "regularisation").LipschitzPenalty(
        **dict(settings)
    )
    return penalty


def _jacobian_penalty(training: Training) -> "JacobianPenalty | None":
    settings = training.jacobian_penalty
    if settings is None:
        return None
    penalty: JacobianPenalty = parts.load("penalty", "jacobian_penalty").JacobianPenalty(
        settings.strength
    )
    return penalty


def _spectral_cap(training: Training) -> "SpectralCap | None":
    if training.spectral_cap is None:
        return None
    cap: SpectralCap = parts.load("penalty", "spectral_cap").SpectralCap(training.spectral_cap)
    return cap


def _optimizer(training: Training) -> "Adam | None":
    settings = training.optimizer
    found: Adam | None = parts.load("optimizer", settings.name).optimiser(settings)
    return found


def _order_seed(job: TrainingJob, width: int) -> int:
    order = {"order": job.training.order_seed} if job.training.order_seed else {}
    return derive_seed(job.random_seed, "batch order", width=width, **order)


def _settings(training: Training, order_seed: int) -> Settings:
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
