"""What belongs to a finished run: its figures, tables and verdicts, and all that they were made from."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.archives.about import Step
from pipeline.config.errors import nearest
from pipeline.jobs.command import CommandError
from pipeline.provenance.seals import Seal, fault_of, read_seal
from pipeline.snakemake.private import PlannedJob
from pipeline.snakemake.verification import Found, of_origins, outdated_of

PRODUCTS = ("draw", "make_table", "judge_claims")
"""Rules whose outputs are what a run is for."""

DRAWN = ("measure", *PRODUCTS)
"""Rules whose outputs are made again from tables, without data or nets."""

LEFT_OUT = ("results/raw/", "results/data/", "results/labels/")
"""Data and labels, which are made or downloaded again and known by their checksums."""

WEIGHTS = "checkpoints.safetensors"

_SHOWN = 5


@dataclass(frozen=True)
class Contents:
    """The steps of a run, and the seals of all files in them."""

    steps: tuple[Step, ...]
    seals: Mapping[str, Seal]

    @property
    def drawn(self) -> list[str]:
        """Files that can be made again from the others."""
        return sorted(file for step in self.steps if step.rule in DRAWN for file in step.outputs)


def contents(
    jobs: Mapping[str, PlannedJob], scale: str, asked: Collection[str] = (), weights: bool = True
) -> Contents:
    """What belongs to the targets that are there at ``scale``, or to those of them that are ``asked``.

    ``jobs`` are all that could be done, by their benchmark files. Everything is compared with its seal.
    Raises :class:`CommandError` where nothing is finished, and where a file is missing, damaged or
    stale.
    """
    products = _finished(jobs, scale, asked)
    taken = [jobs[name] for name in _behind(jobs, products)]
    steps = tuple(step for step in (_step(job, weights) for job in taken) if step.outputs)
    seals, faults = {}, []
    for file in sorted(file for step in steps for file in step.outputs):
        seal, fault = fault_of(Path(file))
        if fault is not None:
            faults.append(Found(fault.kind, file, fault.message))
        elif seal is not None:
            seals[file] = seal
    known = {fault.file for fault in faults}
    faults += [fault for fault in of_origins(seals, known) if fault.kind == "stale"]
    outdated = outdated_of(taken, Path()).items()
    faults += [Found("stale", file, why) for file, why in outdated if file in seals]
    if faults:
        raise CommandError(_refusal(faults))
    return Contents(steps, seals)


def targets_of(files: Iterable[str]) -> str:
    """Those of ``files`` that one asks for, without what is made beside them, for a message."""
    beside = (".json", ".png")
    return ", ".join(sorted(file for file in files if not file.endswith(beside)))


def _finished(jobs: Mapping[str, PlannedJob], scale: str, asked: Collection[str]) -> list[PlannedJob]:
    """Jobs of which an output is there that was made at the scale."""
    found = [
        job
        for job in jobs.values()
        if job.rule in PRODUCTS and any(_is_of(file, scale) for file in job.outputs)
    ]
    there = [file for job in found for file in job.outputs]
    if unknown := [file for file in asked if file not in there]:
        has = f"; there are {targets_of(there)}" if there else ""
        near = nearest(unknown[0], there)
        raise CommandError(f"{', '.join(unknown)} has not been made at scale {scale}{near}{has}")
    if not found:
        raise CommandError(
            f"nothing is finished at scale {scale}: no figure, table or verdict; make one first, for "
            f"example: make figures SCALE={scale}"
        )
    return [job for job in found if not asked or set(asked) & set(job.outputs)]


def _is_of(file: str, scale: str) -> bool:
    """Whether a file is there and of the scale; figures of all scales have the same places."""
    if not Path(file).is_file():
        return False
    seal = read_seal(Path(file))
    names = [file, *(seal.made_from if seal is not None else ())]
    return any(name.startswith(f"results/{scale}/") for name in names)


def _behind(jobs: Mapping[str, PlannedJob], products: Iterable[PlannedJob]) -> list[str]:
    """These jobs and all that they need, sorted."""
    found: set[str] = set()
    waiting = [job.benchmark for job in products]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(jobs[name].needs)
    return sorted(found)


def _step(job: PlannedJob, weights: bool) -> Step:
    """A job with the files of it that belong to the run."""
    outputs = [file for file in job.outputs if not file.startswith(LEFT_OUT)]
    return Step(
        name=job.benchmark.removeprefix("benchmarks/runs/").removesuffix(".tsv"),
        rule=job.rule,
        outputs=tuple(file for file in outputs if weights or Path(file).name != WEIGHTS),
    )


def _refusal(faults: list[Found]) -> str:
    lines = [f"  {fault.file} {fault.message}" for fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"  ... and {len(faults) - _SHOWN} more")
    return "\n".join(
        [
            f"{len(faults)} files are not as the finished run would have them:",
            *lines,
            "Have them made again by the call that made them, or pack others: "
            "make archive TARGETS=figures/NAME.pdf; make verify says more",
        ]
    )
