"""Small nets of the studies: built, trained in seconds, and searched for steep places."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import OperatorNorm


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
        if isinstance(layer, nn.Linear | nn.Conv1d):
            limit = layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -limit, limit, generator=generator)
    return model


def train_with_adam(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    drops: Sequence[int] = (),
    drop_factor: float = 0.1,
) -> float:
    """Train in place with Adam, a new batch order each epoch; the last epoch's mean loss.

    The rate is multiplied by ``drop_factor`` after each of the epochs ``drops``.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(drops), drop_factor)
    total = torch.tensor(0.0)
    for _ in range(epochs):
        total = torch.tensor(0.0)
        for batch in torch.randperm(len(x), generator=generator).split(batch_size):
            value = loss(model(x[batch]), y[batch])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            total += value.detach() * len(batch)
        schedule.step()
    return total.item() / len(x)


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
