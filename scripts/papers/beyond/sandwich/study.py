"""Every lower and upper bound of trained nets, between which the Lipschitz constant must lie.

No figure of a paper: Khromov & Singh, ICLR 2024, have the mean and the largest Jacobian norm at the
training points, and the product of the layers' norms.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from torch import Tensor

from lipbounds.bounds import search_lower_bound
from lipbounds.jacobian import DenseLayer, dense_layers, jacobian_norms
from lipbounds.operator_norm import OperatorNorm
from nets.settings import Count, NonNegative, PositiveFloat, Section
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.chain_methods import measured, relu_chain, timed
from pipeline.measuring.exact_constant import exact_constant
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import rows_of_nets


class Settings(Section):
    """Every lower and upper bound of trained nets, between which the truth must lie."""

    searches: Count = Field(description="searches for large Jacobian norms per net; the best one counts")
    search_starts: Count = Field(description="points that each search starts from, the steepest ones")
    search_steps: Count = Field(description="moves of each search")
    search_radius: PositiveFloat = Field(
        description="how far from its start a search may go, in units of the largest norm of a point"
    )
    exact_width: Annotated[int, Field(strict=True, ge=0, le=20)] = Field(
        description="widest net whose 2^width activation patterns are enumerated for the exact constant"
    )
    seqlip_width: NonNegative = Field(description="widest net for SeqLip")
    descent_width: NonNegative = Field(description="widest net for LipSDP by descent")
    seed: NonNegative = Field(description="root of the seeds of the searches")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and method; ``kind`` is lower, upper or, for the constant itself, exact."""

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        x = run.points(arrays).x
        yield timed("mean", lambda: _lower(jacobian_norms(net.model, x).mean().item(), "mean Jacobian"))
        yield timed("data", lambda: _lower(jacobian_norms(net.model, x).max().item(), "Jacobians"))
        found = timed("search", lambda: _searched(settings, run, net, x))
        yield found
        layers = dense_layers(net.model, flat=True)
        assert layers is not None  # experiments train fully connected nets only
        chain = relu_chain([layer.weight for layer in layers])
        for method in _methods(settings, run.width):
            yield measured(method, chain)
        if len(layers) == 2 and run.width <= min(settings.exact_width, x.shape[1]):
            yield timed("exact", lambda: _exact(layers, found["value"])) | {"kind": "exact"}

    return rows_of_nets(runs, arrays, measure)


def _methods(settings: Settings, width: int) -> list[str]:
    """The upper bounds that are affordable."""
    methods = ["autolip", "liplt", "eclipse"]
    if width <= settings.seqlip_width:
        methods.append("seqlip")
    if width <= settings.descent_width:
        methods.append("lipsdp_descent")
    return methods


def _searched(settings: Settings, run: Run, net: Checkpoint, x: Tensor) -> OperatorNorm:
    """The best of several searches in the whole space.

    There are no biases, so that the Jacobian is the same along each ray from the origin: a box
    around the origin holds all of them, and restricting the search to the range of the data would
    restrict nothing.
    """
    radius = settings.search_radius * x.flatten(1).norm(dim=1).max().item()
    values = [
        search_lower_bound(
            net.model,
            x,
            radius=radius,
            starts=settings.search_starts,
            steps=settings.search_steps,
            seed=derive_seed(settings.seed, "search", width=run.width, seed=net.seed, search=search),
        ).value
        for search in range(settings.searches)
    ]
    return _lower(max(values), "search")


def _exact(layers: list[DenseLayer], at_least: float) -> OperatorNorm:
    first, last = layers
    value = exact_constant(first.weight, last.weight, last.slope, at_least)
    return OperatorNorm(value, "upper", False, "all linear regions")


def _lower(value: float, method: str) -> OperatorNorm:
    return OperatorNorm(value, "lower", False, method)
