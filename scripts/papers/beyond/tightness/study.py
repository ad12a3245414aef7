"""How tight the bounds of small and deep fully connected nets are, random and trained."""

from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.bounds.chain import Chain
from lipbounds.threads import map_single_threaded
from nets.models.fcn import linear_weights
from nets.settings import Count, Flag, NonNegative, PositiveFloat, Section
from nets.training.points import Points
from pipeline.jobs.progress import LOG
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.chain_methods import (
    as_module,
    exact_maximum,
    has_solver,
    largest_jacobian,
    measured,
    normal_chain,
    relu_chain,
    short_name,
    timed,
)
from pipeline.measuring.small_nets import seeded_mlp, train_with_adam


class Settings(Section):
    """Every bound against AutoLip, on random and on trained fully connected nets."""

    random_nets: tuple[tuple[Count, ...], ...] = Field(
        description="sizes of the nets with random weights (normal, variance 1 / fan-in), no biases"
    )
    draws: Count = Field(description="independent draws of each random net")
    trained_nets: tuple[tuple[Count, ...], ...] = Field(
        description="hidden sizes of the nets trained on MNIST-1D"
    )
    trainings: Count = Field(description="independent trainings of each trained net")
    epochs: Count = Field(description="epochs of Adam, cross-entropy")
    batch_size: Count = Field(description="points per update")
    learning_rate: PositiveFloat = Field(description="learning rate of Adam")
    points: Count = Field(description="normal points at which a random net's Jacobian is taken")
    exact_neurons: Annotated[int, Field(strict=True, ge=0, le=20)] = Field(
        description="most hidden neurons in all for the exact maximum, and most neurons of a layer "
        "for exact SeqLip: 2^n vertices are enumerated"
    )
    greedy_neurons: NonNegative = Field(description="most hidden neurons for greedy SeqLip")
    descent_neurons: NonNegative = Field(description="most hidden neurons for LipSDP by descent")
    solver: Flag = Field(
        description="whether to run LipSDP by a semidefinite solver; left out without cvxpy"
    )
    solver_neurons: Annotated[int, Field(strict=True, ge=0, le=250)] = Field(
        description="most hidden neurons for LipSDP by the solver (200: some minutes each)"
    )
    seed: NonNegative = Field(description="root of all seeds of the study")


ALWAYS = ("autolip", "seqlip", "liplt", "eclipse", "eclipse_search")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per net, draw and method; ``ratio`` is the value over that of AutoLip."""
    random = [(sizes, draw) for sizes in settings.random_nets for draw in range(settings.draws)]
    trained = [(hidden, draw) for hidden in settings.trained_nets for draw in range(settings.trainings)]
    tables = map_single_threaded(lambda case: _random(settings, *case), random)
    tables += map_single_threaded(lambda case: _trained(settings, arrays, *case), trained)
    return pd.DataFrame([row for rows in tables for row in rows])


def _random(settings: Settings, sizes: tuple[int, ...], draw: int) -> list[dict[str, Any]]:
    seed = derive_seed(settings.seed, short_name(sizes), draw=draw)
    generator = torch.Generator().manual_seed(seed)
    chain = normal_chain(sizes, generator)
    points = torch.randn(settings.points, sizes[0], dtype=torch.float64, generator=generator)
    rows = _bounds(settings, chain, as_module(chain), points)
    LOG.info("random net %s, draw %d done", short_name(sizes), draw)
    return [{"net": short_name(sizes), "origin": "random", "draw": draw} | row for row in rows]


def _trained(
    settings: Settings, arrays: Arrays, hidden: tuple[int, ...], draw: int
) -> list[dict[str, Any]]:
    x, y = arrays["x_train"], arrays["y_train"]
    sizes = [x.shape[1], *hidden, int(y.max()) + 1]
    seed = derive_seed(settings.seed, "trained", depth=len(hidden), width=max(hidden), draw=draw)
    model = seeded_mlp(sizes, seed)
    loss = train_with_adam(
        model,
        Points(x, y),
        "cross_entropy",
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=seed,
    )
    model = model.double()
    rows = _bounds(settings, relu_chain(linear_weights(model)), model, x.double())
    LOG.info("trained net %s, draw %d done: loss %.3f", short_name(sizes), draw, loss)
    return [{"net": short_name(sizes), "origin": "trained", "draw": draw} | row for row in rows]


def _bounds(settings: Settings, chain: Chain, model: nn.Module, points: Tensor) -> list[dict[str, Any]]:
    hidden = [len(weight) for weight in chain.weights[:-1]]
    methods = list(ALWAYS)
    if max(hidden) <= settings.exact_neurons:
        methods.append("seqlip_exact")
    if sum(hidden) <= settings.greedy_neurons:
        methods.append("seqlip_greedy")
    if sum(hidden) <= settings.descent_neurons:
        methods.append("lipsdp_descent")
    if settings.solver and has_solver() and sum(hidden) <= settings.solver_neurons:
        methods.append("lipsdp")
    rows = [measured(method, chain) for method in methods]
    if sum(hidden) <= settings.exact_neurons:
        rows.append(timed("exact", lambda: exact_maximum(chain)))
    rows.append(timed("data", lambda: largest_jacobian(model, points)))
    return [row | {"ratio": row["value"] / rows[0]["value"]} for row in rows]
