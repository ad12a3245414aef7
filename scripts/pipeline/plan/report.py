"""The plan as a table: a row per figure or table for readers, and one for all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from pipeline.pages.costs import behind
from pipeline.plan.estimate import Estimate, Range
from pipeline.snakemake.private import PlannedJob

Jobs = Mapping[str, PlannedJob]
HOUR = 3600.0
ALL = "all, each job once"


@dataclass(frozen=True)
class Row:
    """What a target comes to; seconds are of cores, and of the longest chain of jobs."""

    target: str
    jobs: int
    flop: Range
    core_seconds: Range
    gpu_seconds: Range
    chain_seconds: Range
    memory_mb: float
    disk_mb: Range


def rows(jobs: Jobs, estimates: Mapping[str, Estimate], gpu_rate: float) -> list[Row]:
    """A row per target and one for all; GPUs do ``gpu_rate`` operations a second."""
    drawn = [file for job in jobs.values() for file in job.outputs if file.endswith((".pdf", ".md"))]
    found = [_row(Path(file).stem, behind(jobs, file), estimates, gpu_rate) for file in sorted(drawn)]
    return [*found, _row(ALL, jobs, estimates, gpu_rate)]


def _row(target: str, jobs: Jobs, estimates: Mapping[str, Estimate], gpu_rate: float) -> Row:
    own = [estimates[name] for name in jobs]
    flop = _sum(one.flop for one in own)
    return Row(
        target,
        len(jobs),
        flop,
        _sum(one.seconds for one in own),
        Range(flop.least / gpu_rate, flop.most / gpu_rate),
        Range(longest(jobs, estimates, 0), longest(jobs, estimates, 1)),
        max((one.memory_mb for one in own), default=0),
        _sum(one.disk_mb for one in own),
    )


def _sum(ranges: Iterable[Range]) -> Range:
    return sum(ranges, Range())


def longest(jobs: Jobs, estimates: Mapping[str, Estimate], end: int) -> float:
    """Seconds of the slowest sequence of jobs that wait for each other; ``end`` of their ranges."""

    @cache
    def until_end_of(name: str) -> float:
        own = estimates[name].seconds[end] / jobs[name].threads
        return own + max((until_end_of(need) for need in jobs[name].needs), default=0.0)

    return max((until_end_of(name) for name in jobs), default=0.0)


def wall_seconds(row: Row, cores: float) -> Range:
    """The least time in which ``cores`` can do it all."""
    pairs = zip(row.core_seconds, row.chain_seconds, strict=True)
    return Range(*(max(work / cores, chain) for work, chain in pairs))


def table(found: Iterable[Row]) -> pd.DataFrame:
    """For people to read."""
    return pd.DataFrame(
        {
            "figure or table": row.target,
            "jobs": row.jobs,
            "FLOP": shown(row.flop, lambda value: f"{value:.1e}" if value else "0"),
            "core-hours": shown(row.core_seconds, hours),
            "GPU-hours": shown(row.gpu_seconds, hours),
            "longest chain (h)": shown(row.chain_seconds, hours),
            "memory (MB)": f"{row.memory_mb:,.0f}",
            "disk (MB)": shown(row.disk_mb, lambda value: f"{value:,.0f}"),
        }
        for row in found
    )


def csv(found: Iterable[Row]) -> str:
    """For programs to read: seconds, MB and operations, the least and the most of each."""
    numbers = []
    for row in found:
        numbers.append({"target": row.target, "jobs": row.jobs, "memory_mb": round(row.memory_mb)})
        for name in ("flop", "core_seconds", "gpu_seconds", "chain_seconds", "disk_mb"):
            least, most = getattr(row, name)
            numbers[-1] |= {f"{name}_least": f"{least:.4g}", f"{name}_most": f"{most:.4g}"}
    return pd.DataFrame(numbers).to_csv(index=False, lineterminator="\n")


def hours(seconds: float) -> str:
    """With two digits that count."""
    value = seconds / HOUR
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def shown(pair: Range, form: Callable[[float], str]) -> str:
    """One number, or two."""
    least, most = map(form, pair)
    return most if least == most else f"{least} to {most}"
