"""Sharing independent pieces of work among threads that do not fight over the cores.

For stacks of small matrices torch either uses one thread, or starts and stops all of them so often
that waiting costs more than the work. Here each worker computes alone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import TypeVar

import torch

_PREFIX = "lipbounds"

Item = TypeVar("Item")
Result = TypeVar("Result")


_own = threading.local()
_lock = threading.Lock()
_before: list[int] = []
"""Torch's number of threads outside, once for each thread that is in :func:`one_thread`."""


def map_single_threaded(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``[function(item) for item in items]``, as many at a time as torch may use threads.

    Within the ``function`` of another such call, one at a time.
    """

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)  # of this worker, which may be new
        return function(item)

    workers = 1 if _is_worker() else min(torch.get_num_threads(), len(items))
    with one_thread():
        if workers <= 1:
            return [function(item) for item in items]
        return list(_workers(workers).map(alone, items))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and its BLAS compute in the calling thread alone.

    A thread that torch meets for the first time takes over the number that was set last, whoever did:
    of several callers at once the first one knows what was there before.
    """
    if _is_worker() or getattr(_own, "alone", False):
        yield
        return
    with _lock:
        _before.append(_before[0] if _before else torch.get_num_threads())
        torch.set_num_threads(1)
    _own.alone = True
    try:
        yield
    finally:
        _own.alone = False
        with _lock:
            torch.set_num_threads(_before.pop())


class Everywhere:
    """A surrounding that is one of all threads: the first to come enters it, the last to go leaves it.

    ``surrounding`` makes a context manager, which need not be left by the thread that entered it.
    """

    def __init__(self, surrounding: Callable[[], AbstractContextManager[object]]) -> None:
        self._surrounding = surrounding
        self._lock, self._inside, self._stack = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._stack.enter_context(self._surrounding())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._stack.close()


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Kept for the life of the process."""
    return ThreadPoolExecutor(count, thread_name_prefix=_PREFIX)


def _is_worker() -> bool:
    """Whether this thread is one of those, all of which may be waiting for each other otherwise."""
    return threading.current_thread().name.startswith(_PREFIX)
