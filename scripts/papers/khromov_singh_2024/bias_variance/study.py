"""Variance over seeds of trained nets, its bounds by Lipschitz constants, and the squared bias.

After Khromov & Singh, ICLR 2024, Figures 8, S18 and S20 and appendix S4.1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.jacobian import jacobian_norms
from lipbounds.threads import map_single_threaded
from nets.ensembles import bias_variance, mean_function, output_variance, variance_bound
from nets.models.fcn import linear_weights
from nets.settings import Count, NonNegative, Section
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.chain_methods import CHAIN_METHODS, relu_chain
from pipeline.runs.run import Run
from pipeline.runs.trained_nets import one_hot
from pipeline.statistics.intervals import bootstrap_interval


class Settings(Section):
    """Bias and variance over seeds of trained nets, and bounds of the variance."""

    draws: Count = Field(description="bootstrap samples of the test points, for the intervals")
    seed: NonNegative = Field(description="seed of these samples")


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per width with two seeds at least that did not diverge; values at the test points.

    The intervals are over test points, the seeds being what they are.
    """
    usable = [run for run in runs if len(run.at_stop()) > 1]
    return pd.DataFrame(map_single_threaded(lambda run: _row(settings, arrays, run), usable))


def _row(settings: Settings, arrays: Arrays, run: Run) -> dict[str, Any]:
    models = [net.model for net in run.at_stop()]
    train, test = run.points(arrays), run.points(arrays, "test")
    classes = models[0](test.x[:1]).shape[1]
    parts = bias_variance(models, test.x, one_hot(test.y, classes))
    low, high = _interval(settings, parts.point_variance)
    return run.about | {
        "seeds": len(models),
        "capped": sum(seed["stop_reason"] == "epoch_cap" for seed in run.seeds()),
        "bias_squared": parts.bias_squared,
        "variance": parts.variance,
        "variance_low": low,
        "variance_high": high,
        "expected_loss": parts.expected_loss,
        **_bounds(models, train.x, test.x),
    }


def _interval(settings: Settings, values: Tensor) -> tuple[float, float]:
    found = bootstrap_interval(values.numpy(), np.mean, draws=settings.draws, seed=settings.seed)
    return found.low, found.high


def _bounds(models: Sequence[nn.Module], train: Tensor, test: Tensor) -> dict[str, float]:
    """Lipschitz constants and the bounds of the variance that they give.

    ``bound_paper`` is the paper's, with the squared mean of the constants of the seeds in place of
    the mean of their squares. ``upper_`` marks what is made from the certified upper bounds; that of
    the mean net is the mean of those of the seeds. All others are made from the largest Jacobian
    norms at the training points, which are lower bounds of the constants.
    """
    lower = torch.tensor([jacobian_norms(model, train).max() for model in models], dtype=torch.float64)
    chains = [relu_chain(linear_weights(model)) for model in models]
    upper = torch.tensor(
        [CHAIN_METHODS["autolip"](chain).value for chain in chains], dtype=torch.float64
    )
    of_mean = {
        "": jacobian_norms(mean_function(models), train).max().item(),
        "upper_": upper.mean().item(),
    }
    found = {
        "c_mean_net": of_mean[""],
        "c_seed_mean": lower.mean().item(),
        "c_seed_square_mean": lower.square().mean().item(),
    }
    references = {"zero": torch.zeros_like(test[0]), "mean": test.mean(0)}
    for name, point in references.items():
        found[f"variance_at_{name}"] = output_variance(models, point.unsqueeze(0)).item()
    kinds = {"zero": ("zero", False), "mean": ("mean", False), "paper": ("zero", True)}
    for mark, constants in (("", lower), ("upper_", upper)):
        for kind, (name, squared_mean) in kinds.items():
            found[f"{mark}bound_{kind}"] = variance_bound(
                of_mean[mark],
                constants,
                test,
                references[name],
                found[f"variance_at_{name}"],
                squared_mean=squared_mean,
            )
    return found
