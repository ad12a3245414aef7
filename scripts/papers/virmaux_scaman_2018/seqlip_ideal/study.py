"""SeqLip against AutoLip where AutoLip is 1: random weights with given singular values."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from lipbounds.bounds.chain import Chain
from lipbounds.bounds.seqlip import (
    Slopes,
    alternating_pair_factor,
    greedy_pair_factor,
    seqlip,
)
from lipbounds.operator_norm import OperatorNorm
from lipbounds.threads import map_single_threaded
from nets.settings import Count, NonNegative, Section, Share
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays


class Settings(Section):
    """AutoLip against SeqLip for random weights with given singular values."""

    layers: Count = Field(description="largest number of linear layers; one point for each from 1 on")
    width: Count = Field(description="width of the hidden layers")
    ratios: tuple[Share, ...] = Field(
        min_length=1, description="ratio of all other singular values to the leading ones"
    )
    leading: Count = Field(description="number of unit singular values (figure: 1; released default: 5)")
    draws: Count = Field(description="independent draws of the weights (the paper: one, without a seed)")
    searches: tuple[Literal["alternating", "greedy"], ...] = Field(
        min_length=1,
        description="searches for the pair factors; greedy: the best single flips (the paper); "
        "alternating: singular vectors and the best vertex for them in turn",
    )
    seed: NonNegative = Field(description="seed of the weights")


RELU = (0.0, 1.0)
SEARCHES: dict[str, tuple[str, Callable[[Tensor, Tensor, Slopes], OperatorNorm]]] = {
    "alternating": ("seqlip_alternating", alternating_pair_factor),
    "greedy": ("seqlip_greedy", greedy_pair_factor),
}
"""Method in the table, and function, of each search for a pair factor."""


class Factored(NamedTuple):
    """A weight ``left @ diag(values) @ right``."""

    left: Tensor
    values: Tensor
    right: Tensor

    def weight(self) -> Tensor:
        """The weight itself."""
        return self.left * self.values @ self.right


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per ratio, draw, number of layers and way to bound the pair factors."""
    cases = [(ratio, draw) for ratio in settings.ratios for draw in range(settings.draws)]
    tables = map_single_threaded(lambda case: _measured(settings, *case), cases)
    return pd.DataFrame([row for rows in tables for row in rows])


def _measured(settings: Settings, ratio: float, draw: int) -> list[dict[str, Any]]:
    layers = _layers(settings, ratio, torch.Generator().manual_seed(settings.seed + draw))
    found = [row for name in settings.searches for row in _searched(layers, name)]
    LOG.info("ratio %g, draw %d done", ratio, draw)
    return [{"ratio": ratio, "draw": draw} | row for row in [*found, *_certified(layers)]]


def _searched(layers: list[Factored], search: str) -> list[dict[str, Any]]:
    """SeqLip of the first layer, the first two and so on, each pair factor searched for once.

    A weight in the middle of a net gives half of each singular value to either side; the last one
    gives all to the left.
    """
    method, function = SEARCHES[search]
    rows = [_row(method, 1, 1.0, "estimate", False, 0.0)]
    product, spent = 1.0, 0.0
    for count, (before, after) in enumerate(pairwise(layers), start=2):
        started = time.perf_counter()
        right = before.left * (before.values if count == 2 else before.values.sqrt())
        last = function(after.values[:, None] * after.right, right, RELU).value
        seconds = spent + time.perf_counter() - started
        rows.append(_row(method, count, product * last, "estimate", False, seconds))
        if count < len(layers):
            started = time.perf_counter()
            product *= function(after.values.sqrt()[:, None] * after.right, right, RELU).value
            spent += time.perf_counter() - started
    return rows


def _certified(layers: list[Factored]) -> list[dict[str, Any]]:
    rows = []
    weights = tuple(layer.weight() for layer in layers)
    for count in range(1, len(weights) + 1):
        started = time.perf_counter()
        norm = seqlip(Chain(weights[:count], (RELU,) * (count - 1)))
        seconds = time.perf_counter() - started
        rows.append(_row("seqlip", count, norm.value, norm.kind, norm.certified, seconds))
    return rows


def _row(
    method: str, layers: int, value: float, kind: str, certified: bool, seconds: float
) -> dict[str, Any]:
    return {
        "layers": layers,
        "method": method,
        "value": value,
        "kind": kind,
        "certified": certified,
        "seconds": seconds,
    }


def _layers(settings: Settings, ratio: float, generator: torch.Generator) -> list[Factored]:
    """Weights U diag(1, ..., ratio, ...) V^T with U and V uniform over the orthogonal matrices."""
    sizes = [2, *[settings.width] * settings.layers]
    layers = []
    for columns, rows in pairwise(sizes):
        rank = min(rows, columns)
        values = torch.full((rank,), ratio, dtype=torch.float64)
        values[: settings.leading] = 1.0
        left, right = _orthogonal(rows, generator), _orthogonal(columns, generator)
        layers.append(Factored(left[:, :rank], values, right[:rank]))
    return layers


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    return q * r.diagonal().sign()  # uniform (Haar) only with this choice of signs
