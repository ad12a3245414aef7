"""A random model for every seed, as source that can be read and run alone."""

import linecache
import math
import random
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.fuzz.builder import Builder, Shape, UnfitError, names
from tests.fuzz.moves import ILLEGITIMATE, ORDINARY, endings, returned

_SHAPES: tuple[Shape, ...] = ((1,), (3,), (4,), (2, 3), (3, 2), (4, 4), (2, 4, 4), (1, 3, 3), (4, 2, 2))

_TYPES = ("float64", "float64", "float64", "float32", "float32", "bfloat16")

_COUNTS = (1, 1, 1, 2, 2, 2, 3, 4, 6)
"""Moves of a model; in short ones bounds are tight, so that a wrong factor shows."""

_METHODS = ("autolip", "autolip", "best", "liplt", "eclipse", "seqlip")


@dataclass(frozen=True)
class Case:
    """A model and what is asked about it. ``traits`` say what a comparison has to mind."""

    seed: int
    source: str
    shape: Shape
    dtype: str
    ord: float
    radius: float
    method: str
    traits: frozenset[str]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``upper_bound``."""
        return {"ord": self.ord, "radius": self.radius, "method": self.method}

    def build(self) -> nn.Module:
        """A fresh model, the same each time."""
        file = f"<fuzz {self.seed}>"
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(keepends=True), file)
        space = names()
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(self.source, file, "exec"), space)
            return space["build"]()  # type: ignore[operator]


def case_of(seed: int, moves: int = 6) -> Case:
    """The case of a seed; ``moves`` is about how many moves its forward has at most."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _case_of(random.Random(seed), seed, moves)


def _case_of(chance: random.Random, seed: int, moves: int) -> Case:
    b = Builder(chance, chance.choice(_SHAPES))
    wanted = min(moves, chance.choice(_COUNTS))
    strange = chance.randrange(wanted) if chance.random() < 0.12 else None
    for number in range(wanted):
        _grow(b, illegitimate=number == strange)
    last = _ended(b)
    order = chance.choice([2, 2, 2, 1, math.inf])
    return Case(
        seed,
        b.source(last, seed, dtype := chance.choice(_TYPES)),
        b.shape,
        dtype,
        order,
        chance.choice([math.inf, 1.0, 1.0, 0.1, 5.0, 1e-3]),
        "autolip" if order != 2 else chance.choice(_METHODS),
        frozenset(b.traits),
    )


def _grow(b: Builder, *, illegitimate: bool) -> None:
    """One more move that runs; none if twenty do not."""
    weights, ordinary = zip(*[(weight, move) for weight, move in ORDINARY], strict=True)
    for _ in range(20):
        chosen = (
            b.random.choice(ILLEGITIMATE) if illegitimate else b.random.choices(ordinary, weights)[0]
        )
        mark, traits, defaults = b.mark(), set(b.traits), b.defaults
        try:
            chosen(b)
            return
        except UnfitError:
            b.back_to(mark)
            b.traits, b.defaults = traits, defaults


def _ended(b: Builder) -> str:
    result = returned(b)
    endings(b)
    return result
