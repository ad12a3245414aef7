"""Bounds and losses of trained nets at points attacked by projected gradient ascent of the loss.

After Khromov & Singh, ICLR 2024, appendix S3.2, Figure S4 and Table S6.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from pydantic import Field

from nets.adversarial import attack
from nets.settings import Count, PositiveFloat, Section
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.attacks import bounds_at, checked_net, falling
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, rows_of_nets


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
    checked, first = checked_net(runs)

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        steps = [settings.steps]
        if run == checked and net.seed == first:
            steps.append(settings.check_steps)
        for part in PARTS:
            points = run.points(arrays, part)
            yield {"points": part, "radius": 0.0, "steps": 0} | bounds_at(run, net, points, points.x)
            for radius in settings.radii:
                for count in steps:
                    found = attack(
                        net.model,
                        points.x,
                        points.y,
                        loss=loss_name(run),
                        radius=radius,
                        steps=count,
                        step_size=_lengths(settings, radius, count),
                    )
                    row = bounds_at(run, net, points, found)
                    yield {"points": part, "radius": radius, "steps": count} | row

    return rows_of_nets(runs, arrays, measure)


def _lengths(settings: Settings, radius: float, steps: int) -> Callable[[int], float]:
    return falling(radius * settings.first_step, radius * settings.last_step, steps)
