"""A true lower and a certified upper bound of nets that were trained on clean and on random labels."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from pydantic import Field
from torch import Tensor

from lipbounds.bounds import search_lower_bound
from lipbounds.jacobian import dense_layers
from lipbounds.operator_norm import OperatorNorm
from nets.settings import Count, NonNegative, PositiveFloat, Section
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.chain_methods import measured, relu_chain, timed
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import rows_of_nets


class Settings(Section):
    """A lower and an upper bound of nets, at the least and the largest label noise."""

    widths: tuple[Count, ...] = Field(min_length=1, description="widths of the nets")
    seeds: Count = Field(description="nets of each width and noise, the first ones")
    search_starts: Count = Field(description="points that the search starts from, the steepest ones")
    search_steps: Count = Field(description="moves of the search")
    search_radius: PositiveFloat = Field(
        description="how far from its start a search may go, in units of the largest norm of a point"
    )
    descent_widths: tuple[Count, ...] = Field(description="widths for LipSDP by descent")
    seed: NonNegative = Field(description="root of the seeds of the searches")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and method; ``kind`` is lower or upper."""
    noises = {run.noise for run in runs}
    chosen = [run for run in runs if run.noise in (min(noises), max(noises))]
    errors = {
        (run.noise, run.width, net["seed"]): net["train_error"] for run in chosen for net in run.seeds()
    }

    def measure(run: Run, net: Checkpoint) -> Iterator[dict[str, Any]]:
        if net.seed >= settings.seeds:
            return
        error = {"train_error": errors[run.noise, run.width, net.seed]}
        x = run.points(arrays).x
        yield error | timed("search", lambda: _searched(settings, run, net, x))
        layers = dense_layers(net.model, flat=True)
        assert layers is not None  # experiments train fully connected nets only
        chain = relu_chain([layer.weight for layer in layers])
        for method in ("seqlip", *(["lipsdp_descent"] if run.width in settings.descent_widths else [])):
            yield error | measured(method, chain)

    return rows_of_nets(chosen, arrays, measure)


def _searched(settings: Settings, run: Run, net: Checkpoint, x: Tensor) -> OperatorNorm:
    """In the whole space: without biases the Jacobian is the same along each ray from the origin."""
    radius = settings.search_radius * x.flatten(1).norm(dim=1).max().item()
    place = {"noise": run.noise, "width": run.width, "seed": net.seed}
    value = search_lower_bound(
        net.model,
        x,
        radius=radius,
        starts=settings.search_starts,
        steps=settings.search_steps,
        seed=derive_seed(settings.seed, "search", **place),
    ).value
    return OperatorNorm(value, "lower", False, "search")
