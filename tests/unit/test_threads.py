"""Work shared among threads, each of which computes alone."""

import pytest
import torch

from lipbounds import threads
from lipbounds.threads import map_single_threaded


@pytest.fixture
def two_threads():
    """With workers of their own: other tests let theirs believe in two threads."""
    threads._workers.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_workers_compute_alone_and_the_caller_keeps_its_threads():
    assert map_single_threaded(lambda _: torch.get_num_threads(), range(5)) == [1] * 5
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_map_within_a_map_comes_to_an_end():
    inner = range(3)
    found = map_single_threaded(lambda n: map_single_threaded(lambda m: (n, m), inner), range(4))
    assert found == [[(n, m) for m in inner] for n in range(4)]
