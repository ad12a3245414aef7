"""Say what figures will cost before anything runs: jobs, FLOP, time, memory and disk."""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from snakemake.exceptions import WorkflowError

from pipeline.config.command_line import add_settings, settings_of_the_call
from pipeline.config.errors import ConfigError, nearest
from pipeline.config.loading import load_config
from pipeline.config.yaml_files import read_mapping
from pipeline.jobs.command import CommandError
from pipeline.pages.markdown import markdown
from pipeline.plan.estimate import Planner, machine_factors
from pipeline.plan.rates import Rates, probe
from pipeline.plan.report import Row, csv, hours, rows, shown, table, wall_seconds
from pipeline.runs.paths import reader_table
from pipeline.snakemake.private import planned_jobs
from pipeline.snakemake.setup import WorkflowSetup

PROJECT = Path(__file__).resolve().parents[1]
EVERYTHING = ("figures", "figures_images", "tables")

GPU_RATE = 5e12
"""Operations a second, an assumption: a quarter of what an A100 does in float32 at best (19.5e12)."""

_WORK = {"padded": "(products)", "calls": "(calls of torch)", "bytes": "(memory)"}


def main(arguments: argparse.Namespace) -> None:
    """Print the plan."""
    own = Path("config.yaml") if Path("config.yaml").exists() else PROJECT / "config.yaml"
    given = settings_of_the_call(arguments)
    whole = read_mapping(own, str(own)) | given
    setup = WorkflowSetup(load_config(whole, PROJECT / "scripts" / "papers"), PROJECT / "scripts")
    targets = [target_of(setup, name) for name in arguments.figures] or EVERYTHING
    jobs = planned_jobs(Path.cwd(), targets, PROJECT, **given)
    rates = Rates.read()
    factors = machine_factors(rates, probe())
    planner = Planner(setup, rates, factors, Path.cwd())
    estimates = {name: planner.estimate(job) for name, job in jobs.items()}
    found = rows(jobs, estimates, arguments.gpu_rate)
    if arguments.csv:
        print(csv(found), end="")
        return
    print(markdown(table(found)))
    unknown = sorted(jobs[name].wildcards["study"] for name, one in estimates.items() if not one.known)
    measured = sum(planner.is_measured(job) for job in jobs.values())
    for line in notes(found[-1], arguments, rates, factors, unknown, measured):
        print(f"\n{line}")


def target_of(setup: WorkflowSetup, name: str) -> str:
    """The file of a figure or table for readers. Raises :class:`CommandError` for an unknown one."""
    bare = Path(name).stem
    if bare in setup.figures:
        return f"figures/{bare}.pdf"
    if bare in setup.reader_tables:
        return reader_table(setup.config.scale, bare)
    known = [*setup.figures, *setup.reader_tables]
    raise CommandError(
        f"there is no figure or table {name}{nearest(bare, known)}. Those to be had: {', '.join(known)}"
    )


def notes(
    everything: Row,
    arguments: argparse.Namespace,
    rates: Rates,
    factors: Mapping[str, float],
    unknown: Iterable[str],
    measured: int,
) -> Iterable[str]:
    """What the numbers stand for."""
    clock = shown(wall_seconds(everything, arguments.cores), hours)
    yield f"On {arguments.cores:g} cores it takes {clock} h or more."
    yield (
        "Where two numbers stand, a rule may stop trainings early: the least is at min_epochs, the most "
        "at max_epochs; or a study was measured at another scale, and asks for more here. FLOP are "
        "those of trainings and bounds."
    )
    if measured:
        yield f"{measured} of {everything.jobs} jobs have run here before, and count as they took."
    slower = ", ".join(f"{factors[name]:.2f} times {what}" for name, what in _WORK.items())
    yield f"Rates are those of {rates.machine}; this machine takes {slower} as long as that one."
    yield (
        f"GPU-hours are FLOP at {arguments.gpu_rate:.3g} a second, which is assumed and not measured "
        "(--gpu-rate); narrow nets do not come near it."
    )
    if unknown:
        yield f"Left out, for nothing is known of their time: {', '.join(unknown)}."


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", help="names of figures or tables for readers; none: all")
    add_settings(
        parser,
        "laptop, paper or smoke; that of config.yaml by default",
        "more of the configuration, as for snakemake",
    )
    parser.add_argument("--cores", type=positive, default=8, help="for the time on the clock")
    parser.add_argument("--gpu-rate", type=positive, default=GPU_RATE, help="FLOP a second of a GPU")
    parser.add_argument("--csv", action="store_true", help="print CSV with seconds and MB")
    try:
        main(parser.parse_args())
    except (CommandError, ConfigError, OSError, WorkflowError) as error:
        sys.exit(str(error))
