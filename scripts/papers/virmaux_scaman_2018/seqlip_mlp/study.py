"""Bounds of nets of several depths, trained on a draw of a Gaussian process on the plane."""

from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.bounds.chain import Chain
from lipbounds.operator_norm import OperatorNorm
from lipbounds.rounding import product_up, sqrt_up, squared_frobenius_upper
from lipbounds.threads import map_single_threaded
from nets.models.fcn import linear_weights
from nets.settings import Count, NonNegative, PositiveFloat, Section
from nets.training.points import Points
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.chain_methods import largest_jacobian, measured, relu_chain, timed
from pipeline.measuring.small_nets import annealed_jacobian, seeded_mlp, train_with_adam


class Settings(Section):
    """Bounds of nets of several depths, trained on a draw of a Gaussian process on the plane."""

    depths: tuple[Annotated[int, Field(strict=True, ge=2)], ...] = Field(
        min_length=1, description="numbers of linear layers"
    )
    width: Annotated[int, Field(strict=True, ge=1, le=22)] = Field(
        description="width of the hidden layers (not printed in the paper)"
    )
    trainings: Count = Field(description="independent initialisations per depth")
    points: Count = Field(description="training points, normal, of the standard deviation spread")
    spread: PositiveFloat = Field(description="standard deviation of the training points (a guess)")
    length_scale: PositiveFloat = Field(
        description="length scale of the process, of squared exponential covariance and variance 1"
    )
    epochs: Count = Field(description="epochs of Adam, mean squared error")
    batch_size: Count = Field(description="points per update")
    learning_rate: PositiveFloat = Field(description="learning rate of Adam")
    exact_depths: tuple[Count, ...] = Field(
        description="depths whose pair factors are found by enumeration of 2^width vertices too"
    )
    grid_half_side: PositiveFloat = Field(description="the grid covers [-this, this]^2")
    grid_points: Count = Field(description="points of the grid on each side")
    annealing_walks: Count = Field(description="walks of simulated annealing, from the steepest points")
    annealing_steps: Count = Field(description="steps of each walk")
    seed: NonNegative = Field(description="root of all seeds of the study")


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


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per depth, training and method."""
    x, y = sampled_function(settings)
    # the longest trainings first, so that all threads end at about the same time
    cases = [
        (depth, run) for depth in sorted(settings.depths)[::-1] for run in range(settings.trainings)
    ]
    tables = map_single_threaded(lambda case: _measured(settings, x, y, *case), cases)
    rows = [row for table in reversed(tables) for row in table]
    return pd.DataFrame(rows)


def sampled_function(settings: Settings) -> tuple[Tensor, Tensor]:
    """Points and the values of a Gaussian process there, (n, 2) and (n, 1), float32."""
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "function"))
    x = torch.randn(settings.points, 2, dtype=torch.float64, generator=generator) * settings.spread
    covariance = (-0.5 * (torch.cdist(x, x) / settings.length_scale) ** 2).exp()
    covariance.diagonal().add_(1e-8)  # near points make the matrix singular to rounding
    normal = torch.randn(settings.points, 1, dtype=torch.float64, generator=generator)
    return x.float(), (torch.linalg.cholesky(covariance) @ normal).float()


def _measured(settings: Settings, x: Tensor, y: Tensor, depth: int, run: int) -> list[dict[str, Any]]:
    seed = derive_seed(settings.seed, "net", depth=depth, run=run)
    model = seeded_mlp([2, *[settings.width] * (depth - 1), 1], seed)
    loss = train_with_adam(
        model,
        Points(x, y),
        "mean_squared_error",
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


def _upper_bounds(settings: Settings, chain: Chain, depth: int) -> list[dict[str, Any]]:
    methods = [*METHODS, *(["seqlip_exact"] if depth in settings.exact_depths else [])]
    rows = [timed("frobenius", lambda: _frobenius(chain))]
    return rows + [measured(method, chain) for method in methods]


def _frobenius(chain: Chain) -> OperatorNorm:
    norms = [sqrt_up(squared_frobenius_upper(weight)) for weight in chain.weights]
    return OperatorNorm(product_up(norms), "upper", True, "product of Frobenius norms")


def _lower_bounds(settings: Settings, model: nn.Module, x: Tensor, seed: int) -> list[dict[str, Any]]:
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
