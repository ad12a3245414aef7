"""What an analysis says of each node of a graph, beside the values that the node takes.

A wrong range or a wrong bound in the middle seldom shows in what the whole model does.
"""

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from lipbounds.operators import Analysis
from tests.fuzz.truth import Ball

_TOLERANCE = 1e-6


@contextmanager
def recorded() -> Iterator[list[Analysis]]:
    """The analyses that are run within."""
    found: list[Analysis] = []

    class Recorded(Analysis):
        def run(self) -> Any:
            found.append(self)
            return super().run()

    with patch.object(importlib.import_module("lipbounds.bounds.upper"), "Analysis", Recorded):
        yield found


def fault(analysis: Analysis, seed: int, pairs: int = 6) -> str:
    """The first node whose values are not as was said, in words; empty if there is none."""
    ball = Ball(tuple(analysis.graph.input.shape[1:]), analysis.ord, analysis.radius)
    generator = torch.Generator().manual_seed(seed)
    for number in range(pairs):
        x, y = _point(ball, generator, number), _point(ball, generator, number + 1)
        if number % 2:
            y = ball.within(x + 1e-3 * ball.point(generator))
        found = _fault_between(analysis, ball, x, y)
        if found:
            return found
    return ""


def _point(ball: Ball, generator: torch.Generator, number: int) -> Tensor:
    """A point, on the sphere or along an axis now and then: there ranges are reached."""
    x = ball.point(generator)
    if number % 3 == 1:
        x = x * (ball.size / max(ball.norm(x), 1e-300))
    if number % 3 == 2:
        x = torch.zeros_like(x)
        x.view(-1)[number % x.numel()] = ball.size * (-1.0) ** (number // 3)
    return ball.within(x)


def _fault_between(analysis: Analysis, ball: Ball, x: Tensor, y: Tensor) -> str:
    ones, others = (analysis.graph.run(point, wide=True) for point in (x, y))
    length = ball.norm(x - y)
    for node in analysis.graph:
        a, b = ones[node], others[node]
        if node not in analysis.values or not (a.isfinite().all() and b.isfinite().all()):
            continue
        size = max(a.abs().max().item(), b.abs().max().item(), 1e-300) if a.numel() else 0.0
        known = analysis.ranges.of(node)
        spare = _TOLERANCE * (size + 1e-9)
        if a.numel() and not known.low - spare <= a.min() <= a.max() <= known.high + spare:
            return f"{node.place}: values {a.min():.6g} to {a.max():.6g}, said to be within {known}"
        token = analysis.ranges.token(node)
        largest = torch.linalg.vector_norm(a, dim=-1).max().item() if a.dim() and a.numel() else 0.0
        if largest > token * (1 + _TOLERANCE) + spare:
            return f"{node.place}: a token of norm {largest:.6g}, said to be at most {token:.6g}"
        bound = analysis.bound(node).value
        change = ball.norm(a - b)
        if bound < math.inf and change > bound * length * (1 + _TOLERANCE) + 1e-11 * size:
            return f"{node.place}: quotient {change / length:.8g}, said to be at most {bound:.8g}"
    return ""
