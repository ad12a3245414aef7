"""Bounds of convolutional nets of several depths, trained on MNIST-1D."""

from typing import Literal

import pandas as pd
from pydantic import Field
from torch import Tensor

from lipbounds.bounds.seqlip import greedy_pair_factor
from nets.settings import Count, Factor, NonNegative, PositiveFloat, Section
from nets.training.points import Points
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.conv_nets import bounds_by_depth


class Settings(Section):
    """Bounds of convolutional nets of several depths, trained on MNIST-1D.

    The paper's nets are for MNIST, and in seqlip_cnn_mnist: these have the same layers over one axis
    in place of two, and need no download.
    """

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
    annealing_walks: Count = Field(description="walks of simulated annealing, from the steepest points")
    annealing_steps: Count = Field(description="steps of each walk")
    annealing_reach: PositiveFloat = Field(description="first size of the steps, per coordinate")
    seed: NonNegative = Field(description="root of all seeds of the study")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per depth, training and method."""
    train, test = (
        Points(arrays[f"x_{part}"][:, None], arrays[f"y_{part}"]) for part in ("train", "test")
    )
    return bounds_by_depth(settings, train, test, _best_flips)


def _best_flips(left: Tensor, right: Tensor) -> float:
    return greedy_pair_factor(left, right, (0.0, 1.0)).value
