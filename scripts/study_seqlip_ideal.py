"""SeqLip against AutoLip where AutoLip is 1: random weights with given singular values."""

from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor

from lipschitz.bounds.chain import Chain
from lipschitz.bounds.seqlip import seqlip
from pipeline.progress import LOG
from pipeline.studies import SeqlipIdeal
from pipeline.study_command import Arrays, study_command

METHODS = {"seqlip": "alternating", "seqlip_greedy": "greedy", "seqlip_certified": "certified"}


def study(settings: SeqlipIdeal, arrays: Arrays) -> pd.DataFrame:
    """A row per ratio, draw, number of layers and way to bound the pair factors."""
    rows = []
    for ratio in settings.ratios:
        for draw in range(settings.draws):
            weights = _weights(settings, ratio, torch.Generator().manual_seed(settings.seed + draw))
            for count in range(1, settings.layers + 1):
                chain = Chain(tuple(weights[:count]), ((0.0, 1.0),) * (count - 1))
                for method, pairs in METHODS.items():
                    norm = seqlip(chain, pairs=pairs)
                    rows.append(
                        {
                            "ratio": ratio,
                            "draw": draw,
                            "layers": count,
                            "method": method,
                            "value": norm.value,
                            "kind": norm.kind,
                            "certified": norm.certified,
                        }
                    )
        LOG.info("ratio %g done", ratio)
    return pd.DataFrame(rows)


def _weights(settings: SeqlipIdeal, ratio: float, generator: torch.Generator) -> list[Tensor]:
    """Weights U diag(1, ..., ratio, ...) V^T with U and V uniform over the orthogonal matrices."""
    sizes = [2, *[settings.width] * settings.layers]
    weights = []
    for columns, rows in pairwise(sizes):
        rank = min(rows, columns)
        values = torch.full((rank,), ratio, dtype=torch.float64)
        values[: settings.leading] = 1.0
        left, right = _orthogonal(rows, generator), _orthogonal(columns, generator)
        weights.append(left[:, :rank] * values @ right[:rank])
    return weights


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    return q * r.diagonal().sign()  # uniform (Haar) only with this choice of signs


if __name__ == "__main__":
    study_command(study, SeqlipIdeal, __doc__)
