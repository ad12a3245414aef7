"""Trainings, bounds and studies: paths, and the parameters that their jobs depend on.

Imports neither torch nor pandas, for the Snakefile does it on every call.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from snakemake.exceptions import WorkflowError

from nets import parts
from nets.dataset import DataSet
from pipeline.config.config import Config
from pipeline.config.errors import nearest
from pipeline.config.rooms import SCRIPTS
from pipeline.config.training import chain_modules, identity
from pipeline.downloads.records import all_published
from pipeline.jobs.packing import packed
from pipeline.provenance.fingerprint import fingerprint, reachable
from pipeline.runs import paths
from pipeline.runs.catalogue import Catalogue

CHOOSES_CHAINS = "lipbounds.bounds.segments"
"""The module that imports bounds of chains by their names."""

Self = TypeVar("Self")
Given = ParamSpec("Given")
Found = TypeVar("Found")


def kept(
    method: Callable[Concatenate[Self, Given], Found],
) -> Callable[Concatenate[Self, Given], Found]:
    """A method whose answers are kept with its object: rules ask the same for each of many jobs."""

    @wraps(method)
    def asked(self: Self, *args: Given.args, **kwargs: Given.kwargs) -> Found:
        answers = vars(self).setdefault(f"answers of {method.__name__}", {})
        if args not in answers:
            answers[args] = method(self, *args, **kwargs)
        found: Found = answers[args]
        return found

    return asked


@dataclass(frozen=True)
class Jobs:
    """The checked configuration, and what rules of trainings and studies derive from it."""

    config: Config
    scripts: Path = SCRIPTS

    @property
    def studies(self) -> list[str]:
        """Names of all studies."""
        return list(self.config.studies)

    @property
    def trainings(self) -> list[str]:
        """Names of all trainings and of their variants."""
        names = list(self.config.trainings)
        return list(dict.fromkeys([*names, *(v for name in names for v in self.config.variants(name))]))

    def code(self, command: str, modules: Iterable[str] = ()) -> str:
        """Fingerprint of a command in scripts/ with modules that it imports by name."""
        return _fingerprint(self.scripts, command, tuple(sorted(set(modules))))

    def noise_code(self, kind: str) -> str:
        """Fingerprint of how labels are changed."""
        return self.code("inject_noise", [parts.module_name("noise", kind)])

    def noise_code_among(self, kind: str) -> str:
        """Fingerprint of how labels of some points are changed."""
        return self.code("inject_noise_among", [parts.module_name("noise", kind)])

    @kept
    def data_identity(self, *names: str) -> str:
        """What prepared arrays must contain, by checksum, however they came about."""
        return " ".join(_checksum(self.scripts, name) for name in sorted(set(names)))

    def published_files(self, dataset: str) -> list[str]:
        """Where the published files lie that a data set is made of, if it is made of any."""
        return [paths.published_files(folder) for folder in self.published_folders(dataset)]

    def published_folders(self, dataset: str) -> list[str]:
        """The folder of its published files, if it is made of any."""
        published = _dataset(dataset).published
        return [] if published is None else [published.folder]

    def known_published(self, folder: str) -> str:
        """The name of published files. Raises ``WorkflowError`` for an unknown one.

        What they must contain is no parameter of their download: Snakemake, where an input that counts
        as ancient is made again, does not ask whether the job behind it has other reasons to run.
        """
        known = all_published()
        if folder not in known:
            names = ", ".join(known)
            raise WorkflowError(
                f"there are no published files {folder}{nearest(folder, [*known])}. "
                f"Those to be had: {names}"
            )
        return folder

    @kept
    def labels_identity(self, training: str, noise: str) -> str:
        """What labels depend on."""
        setup = self.config.setup(training)
        kind, seed, data = (
            setup.label_noise.kind,
            setup.label_noise.seed,
            self.data_identity(setup.dataset),
        )
        points = self._catalogue.noise_among(training, int(noise))
        if points is None:
            return f"{data} {self.noise_code(kind)} {kind}~{seed} {noise} %"
        return f"{data} {self.noise_code_among(kind)} {kind}~{seed} {noise} % of {points}"

    @kept
    def training_settings(self, training: str) -> str:
        """What the runs of a training depend on, as it enters their identity."""
        return identity(self.config.training_job(training))

    @kept
    def training_code(self, training: str) -> str:
        """Fingerprint of training with the parts that it uses."""
        return self.code("train", self.config.training_job(training).parts())

    @kept
    def bounds_settings(self, training: str) -> str:
        """What the bounds of a training depend on, as it enters their identity."""
        return identity(self.config.bounds_job(training))

    @kept
    def bounds_code(self, training: str) -> str:
        """Fingerprint of the bounds of a training with the family that it uses."""
        return self.code("estimate_bounds", self.config.bounds_job(training).parts())

    def study_code(self, study: str) -> str:
        """Fingerprint of a study, with all that it may import by name.

        These are the parts of the runs that it measures, and bounds of chains if it can ask for them.
        """
        used = [self.config.rooms[study].study]
        if self._file(CHOOSES_CHAINS) in reachable([self._file(used[0])], self.scripts):
            used += chain_modules()
        for training in self.config.about_studies[study].runs:
            for variant in self.config.variants(training):
                used += self.config.training_job(variant).parts()
        return self.code("study", used)

    def _file(self, module: str) -> Path:
        return self.scripts.resolve().joinpath(*module.split(".")).with_suffix(".py")

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self.config)

    @property
    def gpus(self) -> int:
        """GPUs that a training or bounds job reserves."""
        return 1 if self.config.top.device == "cuda" else 0

    def arrays(self, training: str) -> str:
        """Prepared data of a training."""
        return paths.arrays(self.config.setup(training).dataset)

    def labels(self, training: str, noise: str) -> str:
        """Labels of a training at a noise level."""
        return self._catalogue.labels(training, int(noise))

    def runs(self, training: str, name: str) -> list[str]:
        """File ``name`` of every run of a training, by variant, noise and width."""
        return [f"{folder}/{name}" for folder in self._catalogue.folders(training)]

    def run_places(self, training: str) -> str:
        """What each run of a training is called in tables, and its folder, for a command line."""
        return packed([(run["name"], run["folder"]) for run in self._catalogue.runs(training)])

    def training_cost(self, training: str, width: int) -> int:
        """Cost of a training job that runs to the cap, to compare it with that of others."""
        setup = self.config.setup(training)
        units = setup.model.units(width) + 100  # narrow nets are bound by overhead
        extra = math.prod(penalty.work for penalty in setup.training.penalties.values())
        return int(units * setup.seeds * setup.training.max_epochs * extra)

    def training_memory_mb(self, training: str, width: int) -> int:
        """Memory of a training job: the interpreter, and activations with their derivatives."""
        setup = self.config.setup(training)
        activations = 2 * 4 * setup.seeds * setup.model.units(width) * setup.training.batch_size
        return int(1000 + 2 * activations // 10**6)

    def memory_advice(self, rule: str, wildcards: Mapping[str, str], asked_mb: object) -> str:
        """What a job that ran out of memory held, what it had asked for, and what makes it smaller."""
        asked = f"It had asked for mem_mb={asked_mb}" if asked_mb else "It had asked for no memory"
        training, width = wildcards.get("training"), wildcards.get("width")
        if training is None or width is None:
            return (
                f"{asked}. Fewer jobs at a time need less: lower --cores, or give --resources mem_mb=N."
            )
        setup = self.config.setup(training)
        name = f"{training.split('/')[0]}.{self.config.scale}"
        if rule == "estimate_bounds":
            held, keys = f"{setup.bounds.points or 'all'} points", f"{name}.bounds.points"
        else:
            held = f"{setup.seeds} seeds with batches of {setup.training.batch_size}"
            keys = f"{name}.training.batch_size or {name}.seeds"
        return (
            f"Width {width}, {held}. {asked}. Fewer jobs at a time need less: lower --cores, or give "
            f"--resources mem_mb=N; so does a smaller job: lower {keys}, or take {width} out of "
            f"{name}.widths, under overrides in config.yaml."
        )

    def study_data(self, study: str) -> list[str]:
        """Names of the data sets that a study reads."""
        about = self.config.about_studies[study]
        return sorted({*about.data, *(self.config.setup(name).dataset for name in about.runs)})

    def study_arrays(self, study: str) -> list[str]:
        """Prepared data that a study reads."""
        return [paths.arrays(name) for name in self.study_data(study)]

    def study_labels(self, study: str) -> list[str]:
        """Labels of the runs that a study reads, each once."""
        return list(dict.fromkeys(run["labels"] for run in self._study_runs(study)))

    def study_files(self, study: str) -> list[str]:
        """Files of the runs that a study reads, each once."""
        if self.config.about_studies[study].untrained:
            return []
        runs = self._study_runs(study)
        return list(dict.fromkeys(run[name] for run in runs for name in ("checkpoints", "summary")))

    def study_inputs_identity(self, study: str) -> str:
        """What the data and labels of a study depend on."""
        setups = [
            self.labels_identity(variant, str(run["noise"]))
            for run in self._study_runs(study)
            for variant in [_variant(run)]
        ]
        return "; ".join(dict.fromkeys([self.data_identity(*self.study_data(study)), *setups]))

    def study_runs(self, study: str) -> str:
        """The runs that a study reads, for its command line."""
        return packed(self._study_runs(study))

    def study_threads(self, study: str) -> int:
        """Cores that a study can use."""
        return 1 if self.config.about_studies[study].serial else 2

    def study_device(self, study: str) -> str:
        """Where a study computes: on the CPU unless it has a setting for that."""
        return getattr(self.config.study(study), "device", "cpu")

    def study_priority(self, study: str) -> int:
        """Of two studies that can start, the serial one goes first."""
        return 10**9 if self.config.about_studies[study].serial else 1

    def _study_runs(self, study: str) -> list[dict[str, Any]]:
        about = self.config.about_studies[study]
        widths = getattr(self.config.study(study), "widths", None)
        found = []
        for training in about.runs:
            for run in self._catalogue.runs(training):
                if run["width"] in (widths or [run["width"]]):
                    found.append(run | (self._training_of(run) if about.untrained else {}))
        return found

    def _training_of(self, run: dict[str, Any]) -> dict[str, Any]:
        """The training of a run, for a study that does it itself."""
        return {"training": json.loads(identity(self.config.setup(_variant(run)).training))}


def _variant(run: dict[str, Any]) -> str:
    """The training, or variant of it, that a run is of."""
    return run["experiment"] if run["variant"] == "base" else f"{run['experiment']}/{run['variant']}"


@cache
def _fingerprint(scripts: Path, command: str, modules: tuple[str, ...]) -> str:
    files = [scripts.joinpath(*module.split(".")).with_suffix(".py") for module in modules]
    return fingerprint([scripts / f"{command}.py", *files], scripts)


@cache
def _checksum(scripts: Path, dataset: str) -> str:
    """Of the arrays; where it is not known, of the published files and of what makes arrays of them."""
    found = _dataset(dataset)
    if found.sha256 is not None or found.published is None:
        return str(found.sha256)
    module = parts.module_name("data", dataset)
    code = fingerprint([scripts.joinpath(*module.split(".")).with_suffix(".py")], scripts)
    return f"{found.published.identity} {code}"


def _dataset(name: str) -> DataSet:
    dataset: DataSet = parts.load("data", name).DATASET
    return dataset
