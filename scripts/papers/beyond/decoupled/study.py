"""Size of the outputs of trained nets at the training points: norm of the logits, and margin."""

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from nets.settings import Section
from pipeline.measuring.arrays import Arrays
from pipeline.runs.checkpoints import checkpoints_at
from pipeline.runs.run import Run


class Settings(Section):
    """Norm of the logits and margin of trained nets, at shares of their epochs."""

    shares: tuple[float, ...] = Field(
        min_length=1, description="shares of all epochs, the last 1; their epochs must be kept ones"
    )


def study(settings: Settings, arrays: Arrays, runs: list[Run]) -> pd.DataFrame:
    """A row per net and epoch: means over the training points of the 2-norm of the logits, and of the
    logit of a point's own class less the largest of the others."""
    rows = []
    for run in runs:
        points = run.points(arrays)
        last = max(seed["epochs"] for seed in run.seeds())
        epochs = [round(share * last) for share in settings.shares]
        for net in checkpoints_at(run, epochs):
            if net.epoch == 0:
                continue
            with torch.no_grad():
                logits = net.model(points.x).double()
            rows.append(
                run.about
                | {"seed": net.seed, "epoch": net.epoch}
                | {"logit_norm": logits.norm(dim=1).mean().item()}
                | {"margin": margins(logits, points.y).mean().item()}
            )
    return pd.DataFrame(rows)


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """Logit of the class less the largest other one, (n,)."""
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return own.squeeze(1) - others.amax(1)
