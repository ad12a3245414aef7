"""Gram iteration and power iteration: error after every step, and the time that it takes."""

import math
from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from lipbounds.operator_norm.gram import certified_gram_norm, gram_enclosure, gram_norm
from lipbounds.threads import one_thread
from nets.settings import Count, Device, NonNegative, Section
from pipeline.jobs.device import choose_device
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.timing import Timing, now, timed


class Settings(Section):
    """Gram iteration and power iteration on dense matrices, step by step."""

    rows: Count = Field(description="rows of the Gaussian matrices, whose top singular value is simple")
    columns: Count = Field(description="columns of the Gaussian matrices")
    orthogonal_size: Count = Field(
        description="size of the orthogonal matrices, whose singular values are all 1"
    )
    draws: Count = Field(description="independent draws of either matrix")
    starts: Count = Field(description="start vectors of the power iteration, for each draw")
    gram_steps: Count = Field(description="largest number of Gram products")
    power_steps: Count = Field(description="largest number of steps of the power iteration")
    repeats: Count = Field(description="timed calls after one that does not count, on the first draw")
    device: Device = Field(description="where to compute, and measure time; auto: CUDA if there is one")
    seed: NonNegative = Field(description="seed of the matrices; the first draw has it itself")


_POINTS_PER_DECADE = 12
_UNTIMED = Timing(math.nan, math.nan, 0)


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per matrix, draw, start, method and number of steps; times for the first draw."""
    device = choose_device(settings.device)
    rows = []
    for name, draw, matrix in _matrices(settings):
        reference = torch.linalg.matrix_norm(matrix, 2).item()
        on_device = matrix.to(device)
        seed = settings.seed + 1000 * draw
        with one_thread():  # threads that wait for each other blur the times on a busy machine
            measured = [
                *_gram_rows(settings, on_device, timed_too=draw == 0),
                *_power_rows(settings, on_device, timed_too=draw == 0, seed=seed),
            ]
        for row in measured:
            rows.append(
                {"matrix": name, "draw": draw, **row, "reference": reference}
                | {"error": row["value"] / reference - 1, "device": device.type}
            )
        LOG.info("%s matrix, draw %d done", name, draw)
    return pd.DataFrame(rows)


def _matrices(settings: Settings) -> Iterator[tuple[str, int, Tensor]]:
    for draw in range(settings.draws):
        generator = torch.Generator().manual_seed(settings.seed + draw)
        shape = (settings.rows, settings.columns)
        yield "gaussian", draw, torch.randn(shape, generator=generator, dtype=torch.float64)
        size = settings.orthogonal_size
        square = torch.randn(size, size, generator=generator, dtype=torch.float64)
        yield "orthogonal", draw, torch.linalg.qr(square)[0]


def _gram_rows(settings: Settings, matrix: Tensor, *, timed_too: bool) -> Iterator[dict]:
    for steps in range(settings.gram_steps + 1):
        timing = _UNTIMED
        if timed_too:
            _, timing = timed(partial(gram_norm, matrix, steps=steps), settings.repeats)
        lower, upper = gram_enclosure(matrix, steps=steps)
        proved = certified_gram_norm(matrix, steps=steps)
        yield _row("gram", "upper", False, steps, upper, timing)
        yield _row("gram_lower", "lower", False, steps, lower, timing)
        yield _row("gram_certified", "upper", True, steps, proved, _UNTIMED)


def _power_rows(settings: Settings, matrix: Tensor, *, timed_too: bool, seed: int) -> Iterator[dict]:
    shown = _shown_steps(settings.power_steps)
    for start in range(settings.starts):
        generator = torch.Generator().manual_seed(seed + start)
        vector = torch.randn(matrix.shape[1], generator=generator, dtype=torch.float64).to(matrix)
        values, _ = _power_iteration(matrix, vector, shown)
        runs = []
        if timed_too and start == 0:
            runs = [_power_iteration(matrix, vector, shown)[1] for _ in range(settings.repeats)]
        for index, steps in enumerate(shown):
            timing = _UNTIMED
            if runs:
                seconds = sorted(run[index] for run in runs)
                timing = Timing(seconds[0], float(pd.Series(seconds).median()), len(seconds))
            row = _row("power", "lower", False, steps, values[index], timing)
            yield row | {"start": start}


def _power_iteration(
    matrix: Tensor, vector: Tensor, shown: list[int]
) -> tuple[list[float], list[float]]:
    """Estimates after the ``shown`` numbers of steps, and the seconds until then."""
    values: list[float] = []
    stamps: list[float] = []
    transposed = matrix.T.contiguous()
    began = now()
    vector = vector / vector.norm()
    for step in range(1, shown[-1] + 1):
        vector = transposed @ (matrix @ vector)
        vector = vector / vector.norm()
        if step == shown[len(values)]:
            stamps.append(now() - began)
            pause = now()
            values.append((matrix @ vector).norm().item())
            began += now() - pause
    return values, stamps


def _shown_steps(last: int) -> list[int]:
    count = max(2, round(_POINTS_PER_DECADE * math.log10(max(last, 2))) + 1)
    spaced = (round(last ** (index / (count - 1))) for index in range(count))
    return sorted({1, last, *spaced})


def _row(method: str, kind: str, certified: bool, steps: int, value: float, timing: Timing) -> dict:
    return {
        "start": 0,
        "method": method,
        "kind": kind,
        "certified": certified,
        "steps": steps,
        "value": value,
        **timing._asdict(),
    }
