"""Bounds of convolutional ReLU nets of several depths, over one axis or two.

Source: Virmaux & Scaman, NeurIPS 2018, table of convolutional nets on MNIST.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lipbounds.bounds import upper_bound
from lipbounds.operator_norm import OperatorNorm
from lipbounds.threads import map_single_threaded
from nets.training.points import Points
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.chain_methods import largest_jacobian, timed
from pipeline.measuring.small_nets import annealed_jacobian, initialised, train_with_adam

CERTIFIED = ("autolip", "seqlip", "liplt", "eclipse")
"""Methods of ``upper_bound``: they hold the convolutions as matrices where that is tighter."""

TABLE_NAME = {"eclipse": "eclipse_search"}

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
_APPLIED = {1: nn.functional.conv1d, 2: nn.functional.conv2d}

Greedy = Callable[[Tensor, Tensor], float]
"""An estimate of a pair factor, from the leading directions on its left and on its right."""


class Plan(Protocol):
    """The settings that such a study has."""

    @property
    def depths(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def channels(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def trainings(self) -> int: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def drop_every_epochs(self) -> int: ...  # noqa: D102
    @property
    def drop_factor(self) -> float: ...  # noqa: D102
    @property
    def triplets(self) -> int: ...  # noqa: D102
    @property
    def annealing_walks(self) -> int: ...  # noqa: D102
    @property
    def annealing_steps(self) -> int: ...  # noqa: D102
    @property
    def annealing_reach(self) -> float: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


class Trained(NamedTuple):
    """A net with what its rows have in common."""

    model: nn.Sequential
    seed: int
    about: dict[str, Any]


def bounds_by_depth(plan: Plan, train: Points, test: Points, greedy: Greedy) -> pd.DataFrame:
    """A row per depth, training and method; the lower bounds are over the training points."""
    cases = [(depth, run) for depth in sorted(plan.depths)[::-1] for run in range(plan.trainings)]
    nets = map_single_threaded(lambda case: _trained(plan, train, test, *case), cases)
    # not side by side: a model that is traced catches the calls of all models of the process
    tables = [_measured(plan, train.x.double(), net, greedy) for net in reversed(nets)]
    return pd.DataFrame([row for rows in tables for row in rows])


def conv_net(plan: Plan, shape: tuple[int, ...], depth: int, seed: int) -> nn.Sequential:
    """The net of ``depth`` layers for points of ``shape``, one channel with its axes.

    Kernel 5 and stride 2; 3 and 2; layers of kernel 3 that keep the size; 3 and 2; and a last one
    over all that is left.
    """
    first, second, third = plan.channels
    shapes = [(1, first, 5, 2), (first, second, 3, 2)]
    shapes += [(second, second, 3, 1)] * (depth - 4)
    shapes += [(second, third, 3, 2)]
    left, layers = shape[-1], list[nn.Module]()
    for before, after, kernel, stride in shapes:
        padding = int(stride == 1)
        left = (left + 2 * padding - kernel) // stride + 1
        layers += [_convolution(shape)(before, after, kernel, stride, padding), nn.ReLU()]
    layers += [_convolution(shape)(third, 10, left), nn.Flatten()]
    return initialised(nn.Sequential(*layers), seed)


def _convolution(shape: tuple[int, ...]) -> Callable[..., nn.Module]:
    return partial(skip_init, _CONVOLUTIONS[len(shape) - 1])


def _trained(plan: Plan, train: Points, test: Points, depth: int, run: int) -> Trained:
    seed = derive_seed(plan.seed, "net", depth=depth, run=run)
    model = conv_net(plan, tuple(train.x.shape[1:]), depth, seed)
    loss = train_with_adam(
        model,
        train,
        "cross_entropy",
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        seed=seed,
        drops=range(plan.drop_every_epochs, plan.epochs, plan.drop_every_epochs),
        drop_factor=plan.drop_factor,
    )
    with torch.no_grad():
        guesses = model(test.x).argmax(1)
    error = (guesses != test.y).double().mean().item()
    LOG.info("%d layers, training %d: cross-entropy %.3f, test error %.3f", depth, run, loss, error)
    about = {"depth": depth, "training": run, "loss": loss, "test_error": error}
    return Trained(model.double(), seed, about)


def _measured(plan: Plan, x: Tensor, net: Trained, greedy: Greedy) -> list[dict[str, Any]]:
    model, shape = net.model, tuple(x.shape[1:])
    rows = [timed(TABLE_NAME.get(name, name), partial(_upper, model, shape, name)) for name in CERTIFIED]
    rows.append(timed("seqlip_greedy", lambda: _greedy(model, shape, plan.triplets, greedy)))
    rows.append(timed("data", lambda: largest_jacobian(model, x)))
    rows.append(timed("search", lambda: _annealed(plan, model, x, net.seed)))
    return [net.about | row for row in rows]


def _annealed(plan: Plan, model: nn.Module, x: Tensor, seed: int) -> OperatorNorm:
    return annealed_jacobian(
        model,
        x,
        walks=plan.annealing_walks,
        steps=plan.annealing_steps,
        reach=plan.annealing_reach,
        seed=seed,
    )


def _upper(model: nn.Module, shape: tuple[int, ...], method: str) -> OperatorNorm:
    bound = upper_bound(model, shape, method=method)
    return OperatorNorm(bound.value, bound.kind, bound.certified, bound.method)


def _greedy(model: nn.Sequential, shape: tuple[int, ...], triplets: int, greedy: Greedy) -> OperatorNorm:
    """Greedy SeqLip from the leading singular triplets of each layer: an estimate."""
    matrices = conv_matrices(model, shape)
    layers = [torch.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
    value = 1.0
    for index, (before, after) in enumerate(pairwise(layers)):
        right = before[1] if index == 0 else before[1].sqrt()
        left = after[1] if index == len(layers) - 2 else after[1].sqrt()
        value *= greedy((left[:, None] * after[2])[:triplets], (before[0] * right)[:, :triplets])
    return OperatorNorm(value, "estimate", False, f"greedy SeqLip, {triplets} triplets")


def conv_matrices(model: nn.Sequential, shape: tuple[int, ...]) -> list[Tensor]:
    """The matrix of each convolution, from its values at the unit vectors."""
    matrices = []
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Conv1d | nn.Conv2d):
                size = int(torch.Size(shape).numel())
                units = torch.eye(size, dtype=torch.float64).view(-1, *shape)
                images = _APPLIED[len(shape) - 1](
                    units, layer.weight, stride=layer.stride, padding=layer.padding
                )
                matrices.append(images.flatten(1).T)
                shape = tuple(images.shape[1:])
    return matrices
