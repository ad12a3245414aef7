"""One epoch of updates, launched kernel by kernel or replayed as one CUDA graph."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")


class EpochRunner(Generic[Batch]):
    """Runs ``update(batch, rate)`` on one batch after another, at one learning rate each.

    Small nets are bound by the time it takes to launch kernels, so on a GPU the whole epoch is
    captured once and replayed. ``graph`` are then the tensors that updates change, which are read
    where they lie, as are the batches: refill them in place. None where updates cannot be captured.
    """

    def __init__(
        self,
        update: Callable[[Batch, Tensor], None],
        batches: Sequence[Batch],
        device: torch.device,
        graph: Sequence[Tensor] | None = None,
    ) -> None:
        self._update = update
        self.batches = batches
        self._rates = torch.zeros(len(batches), device=device)
        self._each = self._rates.unbind()
        self._graph = None if graph is None else self._capture(graph)

    def run(self, rates: Sequence[float]) -> None:
        """One epoch at learning rates ``rates``, one per batch."""
        self._rates.copy_(torch.tensor(rates))
        if self._graph is None:
            self._updates()
        else:
            self._graph.replay()

    def _updates(self) -> None:
        for batch, rate in zip(self.batches, self._each, strict=True):
            self._update(batch, rate)

    def _capture(self, state: Sequence[Tensor]) -> "torch.cuda.CUDAGraph":
        # Capture needs a few runs on a side stream first, which are undone.
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
