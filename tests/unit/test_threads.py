"""Work shared among threads, each of which computes alone."""

import threading

import pytest
import torch
from torch import nn

from lipbounds import threads
from lipbounds.frozen import Frozen
from lipbounds.threads import map_single_threaded, one_thread


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


def in_turn(surrounding, seen):
    """Of two threads the first enters, then the second, and the first leaves; what the second sees then.

    And what is seen in a third thread when both have left.
    """
    steps = [threading.Event() for _ in range(3)]
    found = []

    def first():
        with surrounding():
            steps[0].set()
            steps[1].wait(10)
        steps[2].set()

    def second():
        steps[0].wait(10)
        with surrounding():
            steps[1].set()
            steps[2].wait(10)
            found.append(seen())

    for group in ([first, second], [lambda: found.append(seen())]):
        started = [threading.Thread(target=work) for work in group]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    return found


def kernels_of_attention():
    cuda = torch.backends.cuda  # those of the CPU too
    return cuda.math_sdp_enabled(), cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled()


def test_two_callers_at_once_leave_the_kernels_of_attention_as_they_were():
    frozen = Frozen(nn.Linear(3, 2), torch.zeros(1, 3))
    before = kernels_of_attention()
    assert before == (True, True, True)
    within, after = in_turn(lambda: frozen.computing(torch.device("cpu")), kernels_of_attention)
    assert within == (True, False, False)
    assert after == before


@pytest.mark.usefixtures("two_threads")
def test_two_callers_at_once_leave_the_number_of_threads_as_it_was():
    _, after = in_turn(one_thread, torch.get_num_threads)
    assert after == 2
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_within_itself_a_single_thread_stays_alone():
    with one_thread():
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
