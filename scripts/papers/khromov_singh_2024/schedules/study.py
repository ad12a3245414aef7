"""The learning rates of all trainings, update by update, from the run that would train with them.

Source: Khromov & Singh, ICLR 2024, appendix S2 (Figure S1).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from nets import parts
from nets.settings import Count, Section
from nets.training.assemble import assemble
from nets.training.initialisation import seeded
from nets.training.run import TrainingRun
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Run
from pipeline.runs.training_job import recipe, run_settings


class Settings(Section):
    """Learning rates of all trainings, update by update."""

    most_updates: Count = Field(description="updates from the first on of which the rates are taken")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per training, variant and update at which the rate begins or ends to change."""
    return pd.DataFrame(
        [row for run in narrowest(runs) for row in _rows(run, arrays, settings.most_updates)]
    )


def narrowest(runs: list[Run]) -> list[Run]:
    """One run of each training, variant and size of the training set: widths and noise share rates."""
    found: dict[tuple[str, str, int | None], Run] = {}
    for run in sorted(runs, key=lambda one: one.width):
        found.setdefault((run.experiment, run.variant, run.training_points), run)
    return list(found.values())


def _rows(run: Run, arrays: Arrays, most_updates: int) -> Iterator[dict[str, Any]]:
    training = engine(run, arrays)
    cap = training.settings.max_epochs * training.updates_per_epoch
    rates = np.array([training.rate(update) for update in range(min(cap, most_updates))])
    for update in corners(rates):
        yield {
            "experiment": run.experiment,
            "variant": run.variant,
            "schedule": run.training.schedule.name if run.training else "",
            "learning_rate": training.settings.learning_rate,
            "updates_per_epoch": training.updates_per_epoch,
            "cap": cap,
            "update": update,
            "rate": rates[update],
        }


def engine(run: Run, arrays: Arrays) -> TrainingRun:
    """The run that would train, with one net."""
    how, train, test = run.training, run.points(arrays), run.points(arrays, "test")
    assert how is not None  # the study is `untrained`
    classes = int(train.y.max()) + 1
    net = seeded(parts.made("model", run.model), 0, run.width, train.x.shape[1:], classes)
    ensemble = assemble([net], recipe(how), train.x.device, classes)
    return TrainingRun(ensemble, [0], train, test, run_settings(how, 0))


def corners(rates: NDArray[np.float64]) -> list[int]:
    """The first and the last update, and those between which the rate is a straight line."""
    steps = np.diff(rates)
    bends = np.flatnonzero(np.abs(np.diff(steps)) > 1e-9 * rates.max()) + 1
    return sorted({0, *bends.tolist(), len(rates) - 1})
