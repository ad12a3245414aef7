"""Everything the Snakefile needs that is not a rule. Imports neither torch nor pandas."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.shell import shell

from pipeline.config.studies import Studies
from pipeline.config.training import Config, ConfigError, Experiments, load_config
from pipeline.provenance.fingerprint import fingerprint
from pipeline.runs.catalogue import Catalogue
from pipeline.snakemake.private import strike_missing_inputs
from pipeline.snakemake.run_lock import remove_stale_locks

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"

TABLES_OF_FIGURE = {
    "constrained": ["constrained"],
    "depth": ["depth", "depth_epochs"],
    "double_descent": ["double_descent"],
    "double_descent_matched": ["double_descent_epochs", "double_descent_mse_epochs"],
    "double_descent_mse": ["double_descent_mse"],
    "evolution": [
        "evolution_epochs",
        "evolution_wide_epochs",
        "double_descent_mse_epochs",
        "extended_set",
    ],
    "initialisation": ["double_descent_epochs"],
    "label_noise": ["label_noise"],
    "lipschitz_training": ["lipschitz_training"],
    "optimizer": ["optimizer", "optimizer_epochs"],
    "parameter_distance": ["double_descent", "double_descent_mse"],
    "pairwise": ["pairwise", "paper_run"],
    "regularisation": ["regularisation", "regularisation_epochs"],
    "sample_size": ["sample_size"],
    "seed_sources": ["seed_sources"],
    "slopes": ["evolution_epochs", "double_descent_mse_epochs"],
    "theory": ["theory_epochs", "theory_bounds"],
}
"""Tables that a figure, or a table for readers, is made from; by default the study of its name.

``NAME`` is a study's table or an experiment's table at the stop, ``NAME_epochs`` an experiment's
table at every kept checkpoint.
"""

ARRAYS_OF_STUDY = {"seqlip_cnn": "mnist1d", "tightness": "mnist1d"}
"""Data sets of the studies that need one, besides those of their runs."""

RUNS_OF_STUDY = {
    "adversarial": ["double_descent"],
    "bias_variance": ["double_descent_mse"],
    "distribution": ["double_descent", "double_descent_mse"],
    "extended_set": ["evolution", "evolution_wide"],
    "linearisation": ["evolution"],
    "loss_function": ["double_descent", "double_descent_mse"],
    "out_of_distribution": ["double_descent"],
    "pairwise": ["evolution"],
    "paper_run": ["evolution"],
    "sandwich": ["double_descent"],
    "subsampling": ["double_descent"],
    "theory_bounds": ["theory"],
}
"""Experiments whose trained nets a study measures, at the widths in its settings if they have any."""

UNTRAINED_STUDIES = {"paper_run"}
"""Studies that train the nets of their experiment themselves, and do not wait for its runs."""

SERIAL_STUDIES = {"bound_claims", "paper_run", "toy"}
"""Studies that compute one thing after the other, on one core. The others use two."""

_EPOCHS = "_epochs"


@dataclass(frozen=True)
class WorkflowSetup:
    """The checked configuration, and the paths and parameters that rules derive from it."""

    config: Config

    @property
    def figures(self) -> list[str]:
        """Names of all figure targets."""
        return sorted({path.stem.removeprefix("plot_") for path in SCRIPTS.glob("plot_*.py")})

    @property
    def reader_tables(self) -> list[str]:
        """Names of all tables for readers."""
        return sorted({path.stem.removeprefix("table_") for path in SCRIPTS.glob("table_*.py")})

    @property
    def studies(self) -> list[str]:
        """Names of all studies."""
        return list(Studies.model_fields)

    @property
    def experiments(self) -> list[str]:
        """Names of all experiments and of their variants."""
        names = list(Experiments.model_fields)
        return list(dict.fromkeys([*names, *(v for name in names for v in self.config.variants(name))]))

    def study_arrays(self, study: str) -> list[str]:
        """Prepared data that a study reads."""
        names: set[str] = {self.config.setup(name).dataset for name in RUNS_OF_STUDY.get(study, [])}
        if study in ARRAYS_OF_STUDY:
            names.add(ARRAYS_OF_STUDY[study])
        return [f"results/data/{name}/arrays.safetensors" for name in sorted(names)]

    def study_threads(self, study: str) -> int:
        """Cores that a study can use."""
        return 1 if study in SERIAL_STUDIES else 2

    def study_priority(self, study: str) -> int:
        """Of two studies that can start, the serial one goes first."""
        return 10**9 if study in SERIAL_STUDIES else 1

    def study_files(self, study: str) -> list[str]:
        """Files of the runs that a study reads, each once."""
        names = ["labels"] if study in UNTRAINED_STUDIES else ["labels", "checkpoints", "summary"]
        return list(dict.fromkeys(run[name] for run in self._study_runs(study) for name in names))

    def study_settings(self, study: str) -> str:
        """The settings of a study as JSON, with those of the training if it does that itself."""
        settings = self.config.study_job(study)
        if study not in UNTRAINED_STUDIES:
            return settings
        (experiment,) = RUNS_OF_STUDY[study]
        training = self.config.setup(experiment).training.model_dump(mode="json")
        return json.dumps(json.loads(settings) | {"training": training})

    def study_runs(self, study: str) -> str:
        """The runs that a study reads, as JSON for its command line."""
        return json.dumps(self._study_runs(study))

    def _study_runs(self, study: str) -> list[dict[str, Any]]:
        return [
            run
            for experiment in RUNS_OF_STUDY.get(study, [])
            for run in self._catalogue.runs(experiment)
            if run["width"] in (getattr(self.config.study(study), "widths", None) or [run["width"]])
        ]

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self.config)

    @cached_property
    def code(self) -> dict[str, str]:
        """Fingerprint of each command line in scripts/ with everything of ours that it imports."""
        return {path.stem: fingerprint(path) for path in sorted(SCRIPTS.glob("*.py"))}

    @property
    def gpus(self) -> int:
        """GPUs that a training or bounds job reserves."""
        return 1 if self.config.device == "cuda" else 0

    @property
    def intervals(self) -> str:
        """Options of train.py that do not change its results."""
        return f"--save-every {self.config.save_every} --progress-every {self.config.progress_every}"

    def arrays(self, experiment: str) -> str:
        """Prepared data of an experiment."""
        return f"results/data/{self.config.setup(experiment).dataset}/arrays.safetensors"

    def labels(self, experiment: str, noise: str) -> str:
        """Labels of an experiment at a noise level."""
        return self._catalogue.labels(experiment, int(noise))

    def runs(self, experiment: str, name: str) -> list[str]:
        """File ``name`` of every run of an experiment, by variant, noise and width."""
        return [f"{run['folder']}/{name}" for run in self._catalogue.runs(experiment)]

    def run_names(self, experiment: str) -> list[str]:
        """VARIANT/noise~N of every run of an experiment, or noise~N, in the order of :meth:`runs`."""
        return [run["name"] for run in self._catalogue.runs(experiment)]

    def tables(self, figure: str) -> list[str]:
        """The tables that a figure, or a table for readers, is made from.

        Raises ``WorkflowError`` for an unknown one.
        """
        if figure not in (*self.figures, *self.reader_tables):
            known = ", ".join(f"figures/{name}.pdf" for name in self.figures)
            raise WorkflowError(f"there is no figure named {figure}. Figures to be had: {known}")
        names = TABLES_OF_FIGURE.get(figure, [figure])
        return [f"results/{self.config.scale}/tables/{name}.csv" for name in names]

    @property
    def all_tables(self) -> list[str]:
        """Every tidy table that some figure or table for readers is made from."""
        names = [*self.figures, *self.reader_tables]
        return sorted({table for name in names for table in self.tables(name)})

    def figure_caption(self, figure: str) -> str:
        """Caption of a figure in the report, with the scale it is drawn at."""
        text = (ROOT / "docs" / "captions" / f"{figure}.txt").read_text().strip()
        return f"{text} Scale: {self.config.scale}."

    def training_cost(self, experiment: str, width: int) -> int:
        """Cost of a training job that runs to the cap, to compare it with that of others."""
        setup = self.config.setup(experiment)
        weights = setup.model.hidden_layers * (width + 100)  # narrow nets are bound by overhead
        penalised = 6 if setup.training.jacobian_penalty else 1
        return weights * setup.seeds * setup.training.max_epochs * penalised

    def training_memory_mb(self, experiment: str, width: int) -> int:
        """Memory of a training job: the interpreter, and activations with their derivatives."""
        setup = self.config.setup(experiment)
        layers = setup.model.hidden_layers
        activations = 2 * 4 * setup.seeds * layers * width * setup.training.batch_size
        return 1000 + 2 * activations // 10**6

    def figure_context(self, figure: str) -> str:
        """What a figure and its sidecar say about their origin, as JSON.

        Settings are those of the figure's only experiment or study, or by name if it has several.
        """
        tables = [name.removesuffix(_EPOCHS) for name in TABLES_OF_FIGURE.get(figure, [figure])]
        sources = list(dict.fromkeys(source for table in tables for source in self._sources(table)))
        settings = {name: self._settings(name) for name in sources}
        steps = dict.fromkeys(step for name in sources for step in self._steps(name))
        return json.dumps(
            {
                "scale": self.config.scale,
                "settings": settings[sources[0]] if len(sources) == 1 else settings,
                "departures": [
                    {"of": name} | row for name in sources for row in self.config.departures(name)
                ],
                "code": {step: self.code[step] for step in [*steps, *self._makers(figure)]},
            }
        )

    def _makers(self, name: str) -> list[str]:
        return [step for step in (f"plot_{name}", f"table_{name}") if step in self.code]

    def _sources(self, name: str) -> list[str]:
        """The experiment or study of a table, a study behind the experiments that it measures."""
        return [*RUNS_OF_STUDY.get(name, []), name]

    def _settings(self, name: str) -> dict[str, Any]:
        if name in self.studies:
            return self.config.study(name).model_dump(mode="json")
        settings = self.config.setup(name).model_dump(mode="json")
        return settings | {"random_seed": self.config.random_seed}

    def _steps(self, name: str) -> list[str]:
        if name in self.studies:
            return [*(["prepare_data"] if self.study_arrays(name) else []), f"study_{name}"]
        return ["prepare_data", "inject_noise", "train", "estimate_bounds", "collect"]


def prepare_workflow(workflow: Any, raw_config: Mapping[str, Any]) -> WorkflowSetup:
    """Check the configuration and clear what a killed call left behind.

    ``workflow`` is Snakemake's object of that name. Raises its ``WorkflowError`` with an
    explanation and no traceback.
    """
    try:
        setup = WorkflowSetup(load_config(raw_config))
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
    if workflow.is_main_process:
        remove_stale_locks(Path.cwd())
        strike_missing_inputs(Path.cwd())
    if not workflow.deployment_settings.deployment_method:
        # jobs run in the environment that snakemake itself was started from, activated or not
        shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")
    return setup


def lift_rate_limit(workflow: Any) -> None:
    """Let a call that runs its jobs on this machine start them without a limit per second.

    The limit is of use on clusters only, and for its sake every job that ends starts one more timer
    that wakes the scheduler each second for good: after 150 jobs that took a fifth of a core.
    """
    if workflow.local_exec and workflow.scheduler is not None:
        workflow.scheduler.job_rate_limiter = None
