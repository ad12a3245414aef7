"""Bounds of convolutional nets of several depths, trained on MNIST."""

from typing import Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from nets.settings import Count, Factor, NonNegative, PositiveFloat, Section
from nets.training.points import Points, as_inputs, training_subset
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.conv_nets import bounds_by_depth


class Settings(Section):
    """Bounds of convolutional nets of several depths, trained on MNIST."""

    training_points: Count | None = Field(
        None, description="size of the random subset of the training points; null: all of them"
    )
    depths: tuple[Literal[4, 5, 7, 10], ...] = Field(min_length=1, description="numbers of layers")
    channels: tuple[Count, Count, Count] = Field(
        description="channels after the three layers of stride 2; layers in between keep the second"
    )
    trainings: Count = Field(description="independent initialisations per depth")
    epochs: Count = Field(description="epochs of Adam, cross-entropy")
    batch_size: Count = Field(description="points per update")
    learning_rate: PositiveFloat = Field(description="first learning rate of Adam")
    drop_every_epochs: Count = Field(description="epochs between two drops of the learning rate")
    drop_factor: Factor = Field(description="factor of each drop")
    triplets: Count = Field(
        description="leading singular triplets of each layer that greedy SeqLip is given (which "
        "number is behind the paper's table is not known)"
    )
    sweeps: Count = Field(description="times that greedy SeqLip goes over all neurons, at most")
    annealing_walks: Count = Field(description="walks of simulated annealing, from the steepest points")
    annealing_steps: Count = Field(description="steps of each walk")
    annealing_reach: PositiveFloat = Field(description="first size of the steps, per coordinate")
    seed: NonNegative = Field(description="root of all seeds of the study")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per depth, training and method; images have numbers in [-1, 1], as in the paper."""
    train, test = (Points(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test"))
    return bounds_by_depth(
        settings,
        _scaled(training_subset(train, settings.training_points)),
        _scaled(test),
        lambda left, right: improving_flips(left, right, settings.sweeps),
    )


def _scaled(points: Points) -> Points:
    return Points(as_inputs(points.x) * 2 - 1, points.y)


def improving_flips(left: Tensor, right: Tensor, sweeps: int) -> float:
    """The largest norm |left D right| that flips of single slopes 0 and 1 arrive at, from D = 1.

    Every flip that raises the norm is kept, in the order of the neurons, at most ``sweeps`` times
    over all of them. Source: the code of Virmaux & Scaman, NeurIPS 2018, for large nets; the best flip
    of each round, their other search, takes thousands of rounds over thousands of neurons here.
    """
    if left.shape[0] < right.shape[1]:
        left, right = right.T, left.T
    columns, rows = left.T.contiguous(), right.contiguous()
    vertex = torch.ones(len(rows), dtype=torch.bool)
    image = left @ right
    value = _squared_norm(image)
    for _ in range(sweeps):
        before = value
        for neuron in range(len(rows)):
            step = torch.outer(columns[neuron], rows[neuron])
            trial = image - step if vertex[neuron] else image + step
            found = _squared_norm(trial)
            if found > value * (1 + 1e-13):
                image, value = trial, found
                vertex[neuron] = ~vertex[neuron]
        if value == before:
            break
    return float(torch.linalg.matrix_norm((left * vertex) @ right, 2))


def _squared_norm(matrix: Tensor) -> float:
    """Of a matrix with no more columns than rows."""
    return float(torch.linalg.eigvalsh(matrix.T @ matrix)[-1])
