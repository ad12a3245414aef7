"""Bounds of nets of several depths, trained on a draw of a Gaussian process on the plane."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from lipbounds.bounds.chain import Chain
from lipbounds.operator_norm import OperatorNorm
from lipbounds.rounding import product_up, sqrt_up, squared_frobenius_upper
from lipbounds.threads import map_single_threaded
from nets.models.fcn import linear_weights
from pipeline.config.studies import SeqlipMlp
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.chain_methods import largest_jacobian, measured, relu_chain, timed
from pipeline.measuring.small_nets import annealed_jacobian, seeded_mlp, train_with_adam
from pipeline.study_command import Arrays, study_command

METHODS = (
    "autolip",
    "seqlip",
    "seqlip_greedy",
    "seqlip_alternating",
    "liplt",
    "eclipse",
    "eclipse_search",
    "lipsdp_descent",
)


def study(settings: SeqlipMlp, arrays: Arrays) -> pd.DataFrame:
    """A row per depth, training and method."""
    x, y = sampled_function(settings)
    # the longest trainings first, so that all threads end at about the same time
    cases = [
        (depth, run) for depth in sorted(settings.depths)[::-1] for run in range(settings.trainings)
    ]
    tables = map_single_threaded(lambda case: _measured(settings, x, y, *case), cases)
    rows = [row for table in reversed(tables) for row in table]
    return pd.DataFrame(rows)


def sampled_function(settings: SeqlipMlp) -> tuple[Tensor, Tensor]:
    """Points and the values of a Gaussian process there, (n, 2) and (n, 1), float32."""
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "function"))
    x = torch.randn(settings.points, 2, dtype=torch.float64, generator=generator) * settings.spread
    covariance = (-0.5 * (torch.cdist(x, x) / settings.length_scale) ** 2).exp()
    covariance.diagonal().add_(1e-8)  # near points make the matrix singular to rounding
    normal = torch.randn(settings.points, 1, dtype=torch.float64, generator=generator)
    return x.float(), (torch.linalg.cholesky(covariance) @ normal).float()


def _measured(settings: SeqlipMlp, x: Tensor, y: Tensor, depth: int, run: int) -> list[dict[str, Any]]:
    seed = derive_seed(settings.seed, "net", depth=depth, run=run)
    model = seeded_mlp([2, *[settings.width] * (depth - 1), 1], seed)
    loss = train_with_adam(
        model,
        x,
        y,
        nn.functional.mse_loss,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=seed,
    )
    LOG.info("%d layers, training %d: mean squared error %.4f", depth, run, loss)
    exact = model.double()
    rows = _upper_bounds(settings, relu_chain(linear_weights(exact)), depth)
    rows += _lower_bounds(settings, exact, x.double(), seed)
    return [{"depth": depth, "training": run, "loss": loss} | row for row in rows]


def _upper_bounds(settings: SeqlipMlp, chain: Chain, depth: int) -> list[dict[str, Any]]:
    methods = [*METHODS, *(["seqlip_exact"] if depth in settings.exact_depths else [])]
    rows = [timed("frobenius", lambda: _frobenius(chain))]
    return rows + [measured(method, chain) for method in methods]


def _frobenius(chain: Chain) -> OperatorNorm:
    norms = [sqrt_up(squared_frobenius_upper(weight)) for weight in chain.weights]
    return OperatorNorm(product_up(norms), "upper", True, "product of Frobenius norms")


def _lower_bounds(settings: SeqlipMlp, model: nn.Module, x: Tensor, seed: int) -> list[dict[str, Any]]:
    line = torch.linspace(-1, 1, settings.grid_points, dtype=torch.float64) * settings.grid_half_side
    grid = torch.cartesian_prod(line, line)
    return [
        timed("data", lambda: largest_jacobian(model, x)),
        timed("grid", lambda: largest_jacobian(model, grid)),
        timed(
            "search",
            lambda: annealed_jacobian(
                model,
                x,
                walks=settings.annealing_walks,
                steps=settings.annealing_steps,
                reach=settings.length_scale,
                seed=seed,
            ),
        ),
    ]


if __name__ == "__main__":
    study_command(study, SeqlipMlp, __doc__)
