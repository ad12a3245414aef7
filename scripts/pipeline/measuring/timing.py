"""How long something takes: best and median of repeats, on whichever device it runs."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch

Result = TypeVar("Result")


class Timing(NamedTuple):
    """Seconds of one call, the fastest and the middle one of ``repeats`` calls."""

    best_s: float
    median_s: float
    repeats: int


def timed(
    function: Callable[[], Result], repeats: int, *, budget_s: float = float("inf")
) -> tuple[Result, Timing]:
    """The result of ``function`` and how long a call takes after a first one that does not count.

    A call that takes ``budget_s`` or longer is not repeated, and repeats end once their sum exceeds
    it.
    """
    result, first = _once(function)
    if first >= budget_s:
        return result, Timing(first, first, 1)
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < budget_s:
        seconds.append(_once(function)[1])
    return result, Timing(min(seconds), statistics.median(seconds), len(seconds))


def now() -> float:
    """A clock in seconds that has waited for the GPU, if there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _once(function: Callable[[], Result]) -> tuple[Result, float]:
    start = now()
    result = function()
    return result, now() - start
