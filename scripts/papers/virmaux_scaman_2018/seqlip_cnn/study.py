"""Bounds of convolutional nets of several depths, trained on MNIST-1D."""

from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lipbounds.bounds import upper_bound
from lipbounds.bounds.seqlip import greedy_pair_factor
from lipbounds.operator_norm import OperatorNorm
from lipbounds.threads import map_single_threaded
from nets.settings import Count, Factor, NonNegative, PositiveFloat, Section
from nets.training.points import Points
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.chain_methods import largest_jacobian, timed
from pipeline.measuring.small_nets import annealed_jacobian, initialised, train_with_adam


class Settings(Section):
    """Bounds of convolutional nets of several depths, trained on MNIST-1D.

    The paper's nets are for MNIST, which this workflow does not prepare yet: these have the same
    layers over one axis in place of two.
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


CERTIFIED = ("autolip", "seqlip", "liplt", "eclipse")
"""Methods of ``upper_bound``: they hold the convolutions as matrices where that is tighter."""

TABLE_NAME = {"eclipse": "eclipse_search"}


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per depth, training and method."""
    cases = [
        (depth, run) for depth in sorted(settings.depths)[::-1] for run in range(settings.trainings)
    ]
    nets = map_single_threaded(lambda case: _trained(settings, arrays, *case), cases)
    # not side by side: a model that is traced catches the calls of all models of the process
    tables = [_measured(settings, arrays, net) for net in reversed(nets)]
    return pd.DataFrame([row for rows in tables for row in rows])


class Trained(NamedTuple):
    """A net with what its rows have in common."""

    model: nn.Sequential
    seed: int
    about: dict[str, Any]


def build(settings: Settings, depth: int, seed: int) -> nn.Sequential:
    """The net of ``depth`` layers for inputs (1, 40), as the paper's on images.

    Kernel 5 and stride 2; 3 and 2; layers of kernel 3 that keep the size; 3 and 2; and a last one
    over all that is left.
    """
    first, second, third = settings.channels
    shapes = [(1, first, 5, 2), (first, second, 3, 2)]
    shapes += [(second, second, 3, 1)] * (depth - 4)
    shapes += [(second, third, 3, 2), (third, 10, 3, 1)]
    layers: list[nn.Module] = []
    for index, (before, after, kernel, stride) in enumerate(shapes):
        padding = int(2 <= index < depth - 2)
        layers.append(skip_init(nn.Conv1d, before, after, kernel, stride, padding))
        layers.append(nn.ReLU())
    return initialised(nn.Sequential(*layers[:-1], nn.Flatten()), seed)


def _trained(settings: Settings, arrays: Arrays, depth: int, run: int) -> Trained:
    seed = derive_seed(settings.seed, "net", depth=depth, run=run)
    model = build(settings, depth, seed)
    loss = train_with_adam(
        model,
        Points(arrays["x_train"][:, None], arrays["y_train"]),
        "cross_entropy",
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=seed,
        drops=range(settings.drop_every_epochs, settings.epochs, settings.drop_every_epochs),
        drop_factor=settings.drop_factor,
    )
    with torch.no_grad():
        guesses = model(arrays["x_test"][:, None]).argmax(1)
    error = (guesses != arrays["y_test"]).double().mean().item()
    LOG.info("%d layers, training %d: cross-entropy %.3f, test error %.3f", depth, run, loss, error)
    about = {"depth": depth, "training": run, "loss": loss, "test_error": error}
    return Trained(model.double(), seed, about)


def _measured(settings: Settings, arrays: Arrays, net: Trained) -> list[dict[str, Any]]:
    model, x = net.model, arrays["x_train"][:, None].double()
    rows = [timed(TABLE_NAME.get(name, name), partial(_upper, model, name)) for name in CERTIFIED]
    rows.append(timed("seqlip_greedy", lambda: _greedy(model, settings.triplets)))
    rows.append(timed("data", lambda: largest_jacobian(model, x)))
    rows.append(timed("search", lambda: _annealed(settings, model, x, net.seed)))
    return [net.about | row for row in rows]


def _annealed(settings: Settings, model: nn.Module, x: Tensor, seed: int) -> OperatorNorm:
    return annealed_jacobian(
        model,
        x,
        walks=settings.annealing_walks,
        steps=settings.annealing_steps,
        reach=settings.annealing_reach,
        seed=seed,
    )


def _upper(model: nn.Module, method: str) -> OperatorNorm:
    bound = upper_bound(model, (1, 40), method=method)
    return OperatorNorm(bound.value, bound.kind, bound.certified, bound.method)


def _greedy(model: nn.Sequential, triplets: int) -> OperatorNorm:
    """Greedy SeqLip from the leading singular triplets of each layer: an estimate."""
    layers = [torch.linalg.svd(matrix, full_matrices=False) for matrix in _matrices(model)]
    value = 1.0
    for index, (before, after) in enumerate(pairwise(layers)):
        right = before[1] if index == 0 else before[1].sqrt()
        left = after[1] if index == len(layers) - 2 else after[1].sqrt()
        value *= greedy_pair_factor(
            (left[:, None] * after[2])[:triplets], (before[0] * right)[:, :triplets], (0.0, 1.0)
        ).value
    return OperatorNorm(value, "estimate", False, f"greedy SeqLip, {triplets} triplets")


def _matrices(model: nn.Sequential) -> list[Tensor]:
    """The matrix of each convolution, from its values at the unit vectors."""
    matrices = []
    shape = (1, 40)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Conv1d):
                units = torch.eye(shape[0] * shape[1], dtype=torch.float64).view(-1, *shape)
                images = nn.functional.conv1d(
                    units, layer.weight, stride=layer.stride, padding=layer.padding
                )
                matrices.append(images.flatten(1).T)
                shape = (images.shape[1], images.shape[2])
    return matrices
