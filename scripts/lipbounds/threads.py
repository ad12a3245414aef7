"""Sharing independent pieces of work among threads that do not fight over the cores.

For stacks of small matrices torch either uses one thread, or starts and stops all of them so often
that waiting costs more than the work. Here each worker computes alone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

_PREFIX = "lipbounds"

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_single_threaded(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``[function(item) for item in items]``, as many at a time as torch may use threads.

    Within the ``function`` of another such call, one at a time.
    """
    workers = 1 if _is_worker() else min(torch.get_num_threads(), len(items))
    with one_thread():
        if workers <= 1:
            return [function(item) for item in items]
        return list(_workers(workers).map(function, items))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and its BLAS compute in the calling thread alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Kept for the life of the process. A worker takes over the number of threads, one, that is
    set when it first computes."""
    return ThreadPoolExecutor(count, thread_name_prefix=_PREFIX)


def _is_worker() -> bool:
    """Whether this thread is one of those, all of which may be waiting for each other otherwise."""
    return threading.current_thread().name.startswith(_PREFIX)
