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

from pipeline.config import Config, ConfigError, Experiments, load_config
from pipeline.fingerprint import fingerprint
from pipeline.run_lock import remove_stale_locks
from pipeline.studies import Studies

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"

EXPERIMENT_OF_FIGURE = {
    "double_descent": "double_descent",
    "lipschitz_training": "lipschitz_training",
}
"""Figures of experiments. Every study has a figure of its own name besides."""

ARRAYS_OF_STUDY = {"seqlip_cnn": "mnist1d", "tightness": "mnist1d"}
"""Data sets of the studies that need one."""


@dataclass(frozen=True)
class WorkflowSetup:
    """The checked configuration, and the paths and parameters that rules derive from it."""

    config: Config

    @property
    def figures(self) -> list[str]:
        """Names of all figure targets."""
        return sorted([*EXPERIMENT_OF_FIGURE, *self.studies])

    @property
    def studies(self) -> list[str]:
        """Names of all studies."""
        return list(Studies.model_fields)

    @property
    def experiments(self) -> list[str]:
        """Names of all experiments and of their variants."""
        names = list(Experiments.model_fields)
        return list(dict.fromkeys([*names, *(v for name in names for v in self.config.variants(name))]))

    def study_inputs(self, study: str) -> list[str]:
        """Files that a study reads."""
        dataset = ARRAYS_OF_STUDY.get(study)
        return [] if dataset is None else [f"results/data/{dataset}/arrays.safetensors"]

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
        setup = self.config.setup(experiment)
        kind = f"{setup.label_noise.kind}~{setup.label_noise.seed}"
        return f"results/labels/{setup.dataset}/{kind}/noise~{noise}/labels.safetensors"

    def runs(self, experiment: str, name: str) -> list[str]:
        """File ``name`` of every run of an experiment, by variant and width."""
        setup = self.config.setup(experiment)
        within = f"noise~{setup.label_noise.percent}"
        return [
            f"results/{self.config.scale}/{variant}/{within}/width~{width}/{name}"
            for variant in self.config.variants(experiment)
            for width in sorted(setup.widths)
        ]

    def table(self, experiment: str) -> str:
        """The tidy table of an experiment."""
        return f"results/{self.config.scale}/tables/{experiment}.csv"

    def figure_table(self, figure: str) -> str:
        """The table that a figure is drawn from. Raises ``WorkflowError`` for an unknown figure."""
        if figure not in self.figures:
            known = ", ".join(f"figures/{name}.pdf" for name in self.figures)
            raise WorkflowError(f"there is no figure named {figure}. Figures to be had: {known}")
        return self.table(EXPERIMENT_OF_FIGURE.get(figure, figure))

    def figure_caption(self, figure: str) -> str:
        """Caption of a figure in the report, with the scale it is drawn at."""
        text = (ROOT / "docs" / "captions" / f"{figure}.txt").read_text().strip()
        return f"{text} Scale: {self.config.scale}."

    def training_memory_mb(self, experiment: str, width: int) -> int:
        """Memory of a training job: the interpreter, and activations with their derivatives."""
        setup = self.config.setup(experiment)
        layers = setup.model.hidden_layers
        activations = 2 * 4 * setup.seeds * layers * width * setup.training.batch_size
        return 1000 + 2 * activations // 10**6

    def figure_context(self, figure: str) -> str:
        """What a figure and its sidecar say about their origin, as JSON."""
        name = EXPERIMENT_OF_FIGURE.get(figure, figure)
        if figure in self.studies:
            steps = [*(["prepare_data"] if self.study_inputs(figure) else []), f"study_{figure}"]
            settings = self.config.study(name).model_dump(mode="json")
        else:
            steps = ["prepare_data", "inject_noise", "train", "estimate_bounds", "collect"]
            settings = self.config.setup(name).model_dump(mode="json")
            settings["random_seed"] = self.config.random_seed
        return json.dumps(
            {
                "scale": self.config.scale,
                "settings": settings,
                "departures": self.config.departures(name),
                "code": {step: self.code[step] for step in [*steps, f"plot_{figure}"]},
            }
        )


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
    if not workflow.deployment_settings.deployment_method:
        # jobs run in the environment that snakemake itself was started from, activated or not
        shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")
    return setup
