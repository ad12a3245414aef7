"""One epoch of updates, launched kernel by kernel or replayed as one CUDA graph."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nets.training.stacked import Batch, StackedFCN


def make_batches(x: Tensor, y: Tensor, batch_size: int) -> list[Batch]:
    """Cut inputs (features, n) and one-hot targets (classes, n) into contiguous batches, in order."""
    return [
        Batch(part_x.contiguous(), part_y.contiguous())
        for part_x, part_y in zip(x.split(batch_size, 1), y.split(batch_size, 1), strict=True)
    ]


class EpochRunner:
    """Runs the updates of one epoch of ``stack`` over ``batches``, at one learning rate per update.

    Small nets are bound by the time it takes to launch kernels, so on a GPU the whole epoch is
    captured once and replayed, unless the updates wait for the CPU. Weights and batches are read
    where they lie: refill them in place.
    """

    def __init__(self, stack: StackedFCN, batches: Sequence[Batch]) -> None:
        self._stack = stack
        self._batches = batches
        device = stack.weights[0].device
        self._rates = torch.zeros(len(batches), device=device)
        capture = device.type == "cuda" and stack.capturable
        self._graph = self._capture() if capture else None

    def run(self, rates: Sequence[float]) -> None:
        """One epoch at learning rates ``rates``, one per batch."""
        self._rates.copy_(torch.tensor(rates))
        if self._graph is None:
            self._updates()
        else:
            self._graph.replay()

    def _updates(self) -> None:
        for batch, rate in zip(self._batches, self._rates, strict=True):
            self._stack.update(batch, rate)

    def _capture(self) -> "torch.cuda.CUDAGraph":
        # Capture needs a few runs on a side stream first, which are undone.
        state = [*self._stack.weights, *self._stack.carried.values()]
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._updates()
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._updates()
        return graph
