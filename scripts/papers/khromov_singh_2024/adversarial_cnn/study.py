"""Bounds and losses of convolutional nets at attacked images, with two ways to stay in the box.

After Khromov & Singh, ICLR 2024, appendix S3.2, Figure S4 and Table S6.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, linalg

from nets.adversarial import attack, project, shrink_into_box
from nets.settings import Count, NonNegativeFloat, PositiveFloat, Section
from nets.training.points import Points
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.attacks import bounds_at, checked_net, falling
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import PARTS, loss_name, rows_of_nets

BOX = (0.0, 1.0)
"""Least and largest value of an image."""

PROJECTIONS = {"exact": project, "authors": shrink_into_box}
"""What puts images back into the box and the ball, by its name in the table."""

_TOGETHER = 100
"""Images in an attack at a time."""


class Settings(Section):
    """Bounds and losses of convolutional nets at images attacked by projected gradient ascent."""

    radii: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="largest distances from the images, in the 2-norm"
    )
    steps: Count = Field(description="steps of the attack")
    first_step: PositiveFloat = Field(description="length of the first step, in units of the radius")
    last_step: PositiveFloat = Field(
        description="length of the last step, in units of the radius; lengths fall geometrically"
    )
    check_steps: Count = Field(
        description="steps of an attack on one net that shows whether the others have converged"
    )
    start_noise: NonNegativeFloat = Field(
        description="standard deviation of the normal noise that is added to the images at the start"
    )
    seeds: Count = Field(description="the largest number of seeds of each width that are attacked")
    train_points: Count | None = Field(
        description="the largest number of training images, at random and the same for all nets; "
        "null: all"
    )
    test_points: Count | None = Field(description="the same of test images")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net, point set, radius and way to stay in the box.

    Radius 0, no steps and no such way stand for the images as they are. The first seed of the
    narrowest net is attacked once more with the steps of the check.
    """
    checked, first = checked_net(runs)
    most = {"train": settings.train_points, "test": settings.test_points}

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        if net.seed >= settings.seeds:
            return
        check = [settings.check_steps] if run == checked and net.seed == first else []
        for part in PARTS:
            points = run.points(arrays, part, most[part])
            about = {"points": part, "radius": 0.0, "steps": 0, "projection": "none"}
            yield about | _at(run, net, points, points.x)
            for radius in settings.radii:
                for steps in (settings.steps, *check):
                    for name in PROJECTIONS:
                        found = _moved(settings, run, net, points, radius, steps, name)
                        about = {"radius": radius, "steps": steps, "projection": name}
                        yield {"points": part} | about | _at(run, net, points, found)

    return rows_of_nets(runs, arrays, measure)


def _moved(
    settings: Settings,
    run: Run,
    net: Checkpoint,
    points: Points,
    radius: float,
    steps: int,
    projection: str,
) -> Tensor:
    ends = radius * settings.first_step, radius * settings.last_step
    return attack(
        net.model,
        points.x,
        points.y,
        loss=loss_name(run),
        radius=radius,
        steps=steps,
        step_size=falling(*ends, steps),
        box=BOX,
        projection=PROJECTIONS[projection],
        start_noise=settings.start_noise,
        generator=torch.Generator().manual_seed(net.seed),
        batch_size=_TOGETHER,
    )


def _at(run: Run, net: Checkpoint, points: Points, x: Tensor) -> dict[str, float]:
    """Bounds and loss at ``x``, how far images have gone on average, and how far out of the box."""
    ways = (x.double() - points.x.double()).flatten(1)
    return bounds_at(run, net, points, x, _TOGETHER) | {
        "distance": linalg.vector_norm(ways, dim=1).mean().item(),
        "out_of_the_box": (x - x.clamp(*BOX)).abs().max().item(),
    }
