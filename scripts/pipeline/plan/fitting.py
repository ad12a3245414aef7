"""Fits the rates of a machine to folders in which the figures were made, and tests them.

python -m pipeline.plan.fitting FOLDER... [--machine TEXT]

Writes rates.json beside this file, and docs/plan_errors.md: for the tables there, rates are fitted to
some trainings and compared with what others took.
"""

import argparse
import json
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.optimize import nnls

from pipeline.config.config import Config
from pipeline.config.loading import load_config
from pipeline.config.rooms import SCRIPTS
from pipeline.pages.costs import behind, this_machine
from pipeline.pages.markdown import markdown
from pipeline.plan.datasets import size_of
from pipeline.plan.estimate import Planner, Range
from pipeline.plan.rates import FILE, START, Measured, Rates, probe, read_measured
from pipeline.plan.runs import Run
from pipeline.provenance.files import write_text
from pipeline.runs.catalogue import Catalogue
from pipeline.snakemake.private import PlannedJob, planned_jobs
from pipeline.snakemake.setup import WorkflowSetup

ROOT = SCRIPTS.parent
PAGE = ROOT / "docs" / "plan_errors.md"
SCALE = "laptop"
TARGETS = ("figures", "figures_images", "tables", "claims", "claims_images")
TIMED = ("train", "estimate_bounds")
KINDS = ("train stacked", "train plain", "estimate_bounds")
"""Of jobs that rates are fitted to."""

SHORT = 5.0
"""Seconds below which a job says more about the machine's other work than about its own."""

HELD_OUT = (
    "constrained",
    "cnn_mnist",
    "double_descent",
    "double_descent_wide",
    "equal_updates",
    "evolution_cnn",
    "evolution_wide",
    "fcn_mnist",
    "label_noise_cnn",
    "lipschitz_training",
    "regularisation",
    "seed_sources",
    "vit_cifar10",
)
"""Trainings that the table is about; of the transformers nothing is left to be fitted to."""

_INTRODUCTION = """\
# What the plan is worth

Written by `python -m pipeline.plan.fitting`; do not edit. Machine: {machine}. Written: {day}.

## Trainings and their bounds

Seconds of a core at laptop scale, as they took and as the plan says. For this its rates were fitted to
other trainings, and it was told how many epochs each had trained. Jobs of less than {short:.0f} seconds
are left out. {within} of the {jobs} jobs are within a factor of 2. `make plan` itself uses rates that
are fitted to all. Fitted to:
{fitted}.

"""


_FIGURES = """
## Figures

All trainings and bounds behind each figure or table at laptop scale, by the same rates, without being
told when trainings stopped: the plan's least and most. "Off by" is how far outside of the two lies
what they took, as a factor; 1 is inside. {within} of {count} are off by less than a factor of 2.
Studies, which count as they were measured at this scale, are left out.

"""


class Sample(NamedTuple):
    """A job that was measured, and what its time depends on."""

    training: str
    kind: str
    features: Mapping[str, float]
    seconds: float


def samples(folder: Path, config: Config) -> Iterator[Sample]:
    """Trainings and bounds that were measured in ``folder``, but for trainings that were resumed."""
    catalogue = Catalogue(config)
    places = {run["folder"]: (run, name) for name in config.trainings for run in catalogue.runs(name)}
    for place, (about, name) in places.items():
        summary = folder / place / "run.json"
        if not summary.exists():
            continue
        variant = name if about["variant"] == "base" else f"{name}/{about['variant']}"
        setup = config.setup(variant)
        run = Run(setup, about["width"], size_of(setup.dataset, folder))
        epochs = round(mean(seed["epochs"] for seed in json.loads(summary.read_bytes())["seeds"]))
        found = {
            "train": (run.kind, run.training_features),
            "estimate_bounds": ("estimate_bounds", run.bounds_features),
        }
        for rule, (kind, features) in found.items():
            path = place.removeprefix("results/")
            measured = read_measured(folder / "benchmarks" / "runs" / rule / f"{path}.tsv")
            log = folder / "logs" / rule / f"{path}.log"
            resumed = log.exists() and "going on from epoch" in log.read_text("utf-8")
            if measured is not None and measured.seconds > SHORT and not resumed:
                yield Sample(name, kind, features(epochs), measured.seconds)


def fitted(found: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Rates by kind that are never negative, and have the least squared relative error."""
    rates = {}
    for kind in sorted({one.kind for one in found}):
        own = [one for one in found if one.kind == kind]
        names = list(own[0].features)
        seconds = np.array([one.seconds for one in own])
        features = np.array([[one.features[name] for name in names] for one in own])
        size = features.max(0) + (features.max(0) == 0)
        solution, _ = nnls(features / size / seconds[:, None], (seconds - START) / seconds)
        rates[kind] = {
            name: float(rate) for name, rate in zip(names, solution / size, strict=True) if rate
        }
    return rates


def light_and_studies(
    folders: Iterable[Path], jobs: Mapping[str, PlannedJob]
) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """What jobs took that are neither trainings nor bounds: the median by rule, and each study."""
    light: dict[str, list[Measured]] = defaultdict(list)
    studies: dict[str, Measured] = {}
    for folder in folders:
        for job in jobs.values():
            measured = read_measured(folder / job.benchmark)
            if measured is None or job.rule in TIMED:
                continue
            sizes = [(folder / file).stat().st_size for file in job.outputs if (folder / file).exists()]
            measured = measured._replace(disk_mb=sum(sizes) / 1e6)
            if job.rule == "study":
                studies.setdefault(f"{SCALE}/{job.wildcards['study']}", measured)
            else:
                light[job.rule].append(measured)
    return {rule: _middle(found) for rule, found in sorted(light.items())}, dict(sorted(studies.items()))


def _middle(found: Sequence[Measured]) -> Measured:
    return Measured(*(round(median(values), 2) for values in zip(*found, strict=True)))


NEUTRAL = {"padded": 1.0, "calls": 1.0, "bytes": 1.0}
"""Factors of the machine that was measured."""


def page(found: Sequence[Sample], rates: Rates) -> str:
    """The errors of trainings that ``rates`` were not fitted to."""
    rows, ratios = [], []
    for name in HELD_OUT:
        for kind in sorted({one.kind for one in found if one.training == name}):
            own = [one for one in found if (one.training, one.kind) == (name, kind)]
            said = [rates.seconds(kind, one.features, NEUTRAL) for one in own]
            took = [one.seconds for one in own]
            each = [a / b for a, b in zip(said, took, strict=True)]
            ratios += each
            rows.append(
                {
                    "training": f"`{name}`",
                    "kind of job": kind,
                    "jobs": len(own),
                    "took (s)": f"{sum(took):,.0f}",
                    "plan (s)": f"{sum(said):,.0f}",
                    "plan / took": f"{sum(said) / sum(took):.2f}",
                    "of single jobs": f"{min(each):.2f} to {max(each):.2f}",
                }
            )
    fitted_to = sorted({one.training for one in found} - set(HELD_OUT))
    about = {
        "machine": rates.machine,
        "day": date.today().isoformat(),
        "fitted": textwrap.fill(", ".join(f"`{name}`" for name in fitted_to), 104),
        "short": SHORT,
        "within": sum(0.5 <= ratio <= 2 for ratio in ratios),
        "jobs": len(ratios),
    }
    return _INTRODUCTION.format(**about) + markdown(pd.DataFrame(rows)) + "\n"


def figures(
    folders: Iterable[Path], jobs: Mapping[str, PlannedJob], config: Config, rates: Rates
) -> str:
    """What trainings and bounds behind each figure took, and the plan's range."""
    planner = Planner(WorkflowSetup(config), rates, NEUTRAL, Path("nowhere"))
    took: dict[str, Measured] = {}
    for name in (name for name, job in jobs.items() if job.rule in TIMED):
        found = [m for folder in folders if (m := read_measured(folder / name)) is not None]
        took |= {name: found[0]} if found else {}
    rows, within = [], 0
    for file in sorted(f for job in jobs.values() for f in job.outputs if f.endswith((".pdf", ".md"))):
        own = [name for name, job in behind(jobs, file).items() if job.rule in TIMED]
        if not own or not set(own) <= set(took):
            continue
        seconds = sum(took[name].seconds for name in own)
        said = sum((planner.estimate(jobs[name]).seconds for name in own), Range())
        off = max(1.0, said.least / seconds, seconds / said.most)
        within += off < 2
        rows.append(
            {
                "figure or table": f"`{Path(file).stem}`",
                "jobs": len(own),
                "took (s)": f"{seconds:,.0f}",
                "plan (s)": f"{said.least:,.0f} to {said.most:,.0f}",
                "off by": f"{off:.2f}",
            }
        )
    return _FIGURES.format(within=within, count=len(rows)) + markdown(pd.DataFrame(rows)) + "\n"


def main() -> None:
    """Write rates.json and docs/plan_errors.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="where figures were made at laptop scale")
    parser.add_argument("--machine", default=this_machine(), help="where the jobs ran, in words")
    arguments = parser.parse_args()
    top: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))
    config = load_config(top | {"scale": SCALE})
    found = [one for folder in arguments.folders for one in samples(folder, config)]
    fitted_to = {one.kind for one in found if one.training not in HELD_OUT}
    if lacking := set(KINDS) - fitted_to:
        sys.exit(
            f"no measured jobs of kind {', '.join(sorted(lacking))} there; name folders in which "
            "figures and figures_images were made at laptop scale"
        )
    jobs = planned_jobs(ROOT, TARGETS, scale=SCALE)
    light, studies = light_and_studies(arguments.folders, jobs)
    rates = Rates(arguments.machine, probe(), fitted(found), light, studies)
    write_text(FILE, json.dumps(asdict(rates), indent=1) + "\n")
    some = replace(rates, work=fitted([one for one in found if one.training not in HELD_OUT]))
    write_text(PAGE, page(found, some) + figures(arguments.folders, jobs, config, some))


if __name__ == "__main__":
    main()
