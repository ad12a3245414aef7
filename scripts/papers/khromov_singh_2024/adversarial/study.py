"""Bounds and losses of trained nets at points attacked by projected gradient ascent of the loss.

After Khromov & Singh, ICLR 2024, appendix S3.2, Figure S4 and Table S6.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from pydantic import Field
from torch import Tensor

from lipbounds.bounds import lower_bound
from nets.adversarial import attack, secant_lower_bound
from nets.settings import Count, PositiveFloat, Section
from nets.training.points import Points
from pipeline.measuring.arrays import Arrays
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, outcome, rows_of_nets


class Settings(Section):
    """Bounds and losses of trained nets at points attacked by projected gradient ascent."""

    radii: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="largest distances from the points, in the 2-norm"
    )
    steps: Count = Field(description="steps of the attack")
    first_step: PositiveFloat = Field(description="length of the first step, in units of the radius")
    last_step: PositiveFloat = Field(
        description="length of the last step, in units of the radius; lengths fall geometrically"
    )
    check_steps: Count = Field(
        description="steps of an attack on one net that shows whether the others have converged"
    )


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net, point set and radius; radius 0 and no steps for the points as they are.

    The first seed of the narrowest net is attacked once more with the steps of the check.
    """
    checked = min(runs, key=lambda run: run.width)
    first = min(net.seed for net in checked.at_stop())

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        steps = [settings.steps]
        if run == checked and net.seed == first:
            steps.append(settings.check_steps)
        for part in PARTS:
            points = run.points(arrays, part)
            yield {"points": part, "radius": 0.0, "steps": 0} | _at(run, net, points, points.x)
            for radius in settings.radii:
                for count in steps:
                    found = _attacked(settings, run, net, points, radius, count)
                    row = _at(run, net, points, found)
                    yield {"points": part, "radius": radius, "steps": count} | row

    return rows_of_nets(runs, measure)


def _attacked(
    settings: Settings, run: Run, net: Checkpoint, points: Points, radius: float, steps: int
) -> Tensor:
    decay = (settings.last_step / settings.first_step) ** (1 / max(1, steps - 1))
    return attack(
        net.model,
        points.x,
        points.y,
        loss=loss_name(run),
        radius=radius,
        steps=steps,
        step_size=lambda step: radius * settings.first_step * decay**step,
    )


def _at(run: Run, net: Checkpoint, points: Points, x: Tensor) -> dict[str, float]:
    """Bounds and loss at ``x``, and the steepest secant from the points to ``x``."""
    bound, result = lower_bound(net.model, x), outcome(net.model, Points(x, points.y), loss_name(run))
    return {
        "c_lower": bound.max,
        "c_avg": bound.mean,
        "c_secant": secant_lower_bound(net.model, points.x, x),
        "loss": result.loss,
        "error": result.error,
    }
