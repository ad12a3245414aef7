"""Small nets of the studies: built, trained in seconds, and searched for steep places."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import OperatorNorm
from nets import parts
from nets.training.assemble import assemble
from nets.training.ensemble import Ensemble
from nets.training.loss import loss_named
from nets.training.points import Points
from nets.training.recipe import Recipe
from nets.training.run import Memory, Settings, TrainingRun
from nets.training.schedule import Schedule


def seeded_mlp(sizes: Sequence[int], seed: int) -> nn.Sequential:
    """Fully connected ReLU net with biases, PyTorch's default initialisation from ``seed``."""
    layers: list[nn.Module] = []
    for columns, rows in pairwise(sizes):
        layers += [skip_init(nn.Linear, columns, rows), nn.ReLU()]
    return initialised(nn.Sequential(*layers[:-1]), seed)


def initialised(model: nn.Sequential, seed: int) -> nn.Sequential:
    """``model`` with weights and biases uniform on +-1/sqrt(fan-in).

    The global random state, which all threads share, is neither used nor changed.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            limit = layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -limit, limit, generator=generator)
    return model


def train_with_adam(
    model: nn.Module,
    points: Points,
    loss: str,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    drops: Sequence[int] = (),
    drop_factor: float = 0.1,
) -> float:
    """Train in place with Adam, a new batch order each epoch; the mean loss at the end.

    ``loss`` is a file in nets/training/losses. The rate is multiplied by ``drop_factor`` after each
    of the epochs ``drops``.
    """

    def factor(update: int, updates_per_epoch: int) -> float:
        return float(drop_factor ** sum(update >= epoch * updates_per_epoch for epoch in drops))

    adam = parts.load("optimizer", "adam").Settings()
    recipe = Recipe(loss_named(loss), optimiser=adam.optimiser)
    settings = until(epochs, learning_rate, factor, batch_size, shuffle=True, order_seed=seed)
    outputs = points.y.shape[1] if points.y.dim() == 2 else int(points.y.max()) + 1
    found = trained(assemble([model], recipe, points.x.device, outputs), points, settings)
    model.load_state_dict(found.nets[0, epochs])
    return found.records[-1].train_loss


def until(
    epochs: int,
    learning_rate: float,
    schedule: Schedule,
    batch_size: int,
    **more: Any,
) -> Settings:
    """Settings of a run that ends after so many epochs, whatever the gradient is."""
    return Settings(
        learning_rate=learning_rate,
        schedule=schedule,
        batch_size=batch_size,
        min_epochs=epochs,
        max_epochs=epochs,
        target_gradient_norm=0.0,
        gradient_norm_every=epochs,
        record_every=epochs,
        **more,
    )


def trained(ensemble: Ensemble[Any], points: Points, settings: Settings) -> Memory:
    """The nets and records of a whole run on the same points for training and test."""
    store = Memory()
    run = TrainingRun(ensemble, range(len(ensemble)), points, points, settings, store)
    run.start()
    while not run.finished:
        run.advance()
    return store


def annealed_jacobian(
    model: nn.Module, points: Tensor, *, walks: int, steps: int, reach: float, seed: int
) -> OperatorNorm:
    """The largest Jacobian norm that simulated annealing meets: a lower bound.

    The walks start at the points with the largest norms and take normal steps. Their size falls from
    ``reach`` to a hundredth of it, and the temperature, on the logarithm of the norm, from 0.1 to
    0.001.
    """
    generator = torch.Generator().manual_seed(seed)
    norms, steepest = jacobian_norms(model, points).topk(min(walks, len(points)))
    places = points[steepest]
    best = norms.max().item()
    for step in range(steps):
        shrinking = 100.0 ** (-step / steps)
        moves = torch.randn(places.shape, generator=generator, dtype=places.dtype)
        trials = places + reach * shrinking * moves
        found = jacobian_norms(model, trials)
        chance = ((found / norms).log() / (0.1 * shrinking)).exp()
        # 0 / 0 where a dead region was left and met: accept
        taken = ~(chance < torch.rand(chance.shape, generator=generator, dtype=chance.dtype))
        places[taken], norms[taken] = trials[taken], found[taken]
        best = max(best, found.max().item())
    return OperatorNorm(best, "lower", False, "simulated annealing")
