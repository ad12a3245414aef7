"""Lower bounds of the Lipschitz constant by the slopes of secants.

Source: Khromov & Singh, ICLR 2024, appendix S3 (C_alt.lower, table S3).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipbounds.frozen import Frozen
from lipbounds.soundness import check_outputs

_SLICE_ELEMENTS = 1 << 22
"""Elements of the differences that are in memory at a time (32 MiB of float64)."""


@dataclass(frozen=True)
class PairwiseBound:
    """``value = |f(x_i) - f(x_j)| / |x_i - x_j|``, largest over ``pairs`` pairs of distinct points.

    It is attained at i = ``first`` < j = ``second``. Units: logits per unit of input. The network is
    evaluated in float64 at the weights and points as given, so that the value is exact to about
    1e-15 times the ratio of outputs to their difference.
    """

    value: float
    first: int
    second: int
    pairs: int


def pairwise_lower_bound(model: nn.Module, x: Tensor, *, block: int = 1000) -> PairwiseBound:
    """Largest slope (2-norms) of a secant of ``model`` through two of the points ``x`` (n, *input).

    All n (n - 1) / 2 pairs are looked at, ``block`` x ``block`` at a time; pairs of identical points
    are left out. Distances from inner products, which are quick but wrong for points close to each
    other, only rule pairs out, by their error bounds; the others are computed from differences.

    Raises
    ------
    ValueError
        For fewer than two distinct points, points or outputs that are not finite, a block below 1, and
        a model whose samples mix, that is random in eval mode or has no floating outputs.
    """
    if x.dim() < 2 or len(x) < 2:
        raise ValueError(f"x must be (n, *input) with n >= 2, not {tuple(x.shape)}")
    if block < 1:
        raise ValueError(f"block must be at least 1, not {block}")
    outputs = float64_outputs(model, x, batch_size=block, check=True)
    points = x.detach().to(outputs.device, torch.float64).flatten(1)
    if not (points.isfinite().all() and outputs.isfinite().all()):
        raise ValueError("some points or outputs are not finite; look at x and at the weights")
    search = _Pairs(points, outputs)
    starts = range(0, len(x), block)
    for row in starts:
        for column in starts[row // block :]:
            search.compare(slice(row, row + block), slice(column, column + block))
    count = len(x) * (len(x) - 1) // 2 - search.identical
    if count == 0:
        raise ValueError("all points are the same: no pair has a slope")
    return PairwiseBound(search.value, *search.pair, count)


def float64_outputs(
    model: nn.Module, x: Tensor, *, batch_size: int | None = None, check: bool = False
) -> Tensor:
    """Outputs (n, K) of a float64 copy of ``model`` in eval mode at ``x`` (n, *input).

    On the device of ``x``, but on the CPU where a device has no float64. The model handed in stays
    as it is. With ``check``, ValueError where samples mix or calls differ.
    """
    if x.device.type == "mps":
        model, x = Frozen(model, x).module.to("cpu"), x.cpu()
    exact = Frozen(model, x, torch.float64)
    with torch.no_grad(), exact.computing(x.device):
        if check:
            check_outputs(exact, x)
        return torch.cat([exact(part) for part in exact.chunks(x, batch_size or len(x))])


class _Pairs:
    """Pairs of rows of ``points`` (n, d) and ``outputs`` (n, K), and the largest slope so far."""

    def __init__(self, points: Tensor, outputs: Tensor) -> None:
        self.value = -math.inf
        self.pair = (0, 1)
        self.identical = 0
        self._points, self._outputs = points, outputs
        # inner products lose less to rounding around the mean
        self._centred = [points - points.mean(0), outputs - outputs.mean(0)]

    def compare(self, rows: slice, columns: slice) -> None:
        """Looks at the pairs i < j of a block of rows i and columns j."""
        (inputs, input_error), (results, result_error) = (
            _squared_distances(values[rows], values[columns]) for values in self._centred
        )
        most = results.add_(result_error)
        least = inputs.sub_(input_error)
        # infinite where the points may be the same
        slopes = torch.where(least > 0, most / least, math.inf)
        if rows == columns:
            slopes.masked_fill_(torch.ones_like(slopes, dtype=torch.bool).tril_(), -math.inf)
        finite = slopes.masked_fill(slopes.isinf(), -1.0).view(-1)
        likeliest = finite.argmax(0, keepdim=True)
        if finite[likeliest] >= 0:  # a good slope to start with leaves few candidates
            self._measure(likeliest, rows, columns)
        candidates = (slopes.view(-1) > max(self.value, 0.0) ** 2).nonzero().squeeze(1)
        size = max(1, _SLICE_ELEMENTS // (self._points.shape[1] + self._outputs.shape[1]))
        for part in candidates.split(size):
            self._measure(part, rows, columns)

    def _measure(self, flat: Tensor, rows: slice, columns: slice) -> None:
        """Slopes of the pairs at positions ``flat`` of a block, from differences.

        Identical points are always among the candidates and never the likeliest, so that they are
        counted once.
        """
        if len(flat) == 0:
            return
        width = len(range(*columns.indices(len(self._points))))
        first = rows.start + flat // width
        second = columns.start + flat % width
        distances = torch.linalg.vector_norm(self._points[first] - self._points[second], dim=1)
        changes = torch.linalg.vector_norm(self._outputs[first] - self._outputs[second], dim=1)
        same = distances == 0
        self.identical += int(same.sum())
        slopes = torch.where(same, -math.inf, changes / distances)
        best = int(slopes.argmax())
        if slopes[best] > self.value:
            self.value = slopes[best].item()
            self.pair = (int(first[best]), int(second[best]))


def _squared_distances(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (a, b) of the rows of two matrices, and bounds of their rounding errors."""
    norms = first.square().sum(1).unsqueeze(1) + second.square().sum(1)
    distances = torch.addmm(norms, first, second.T, alpha=-2)
    return distances, norms * (4 * (first.shape[1] + 8) * torch.finfo(norms.dtype).eps)
