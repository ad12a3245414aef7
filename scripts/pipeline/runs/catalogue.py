"""Which runs there are, and where each lies. Imports neither torch nor pandas."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.training import Config, Experiments

# Where results lie is no part of them.
AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

State = tuple[str, int, int]  # EXPERIMENT or EXPERIMENT/VARIANT, noise, width


class Catalogue:
    """The runs of all experiments at the configured scale.

    Experiments that state the same training share it: it lies in the folder of the first of them.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        names = list(Experiments.model_fields)
        self._jobs = {
            variant: (config.training_job(variant), config.bounds_job(variant))
            for name in names
            for variant in config.variants(name)
        }
        self._folders: dict[tuple[str, ...], str] = {}
        for name in names:
            for variant, noise, width in self._states(name):
                folder = f"results/{config.scale}/{variant}/noise~{noise}/width~{width}"
                self._folders.setdefault(self._key(variant, noise, width), folder)

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Every run of an experiment, by variant, noise and width.

        Each is a :class:`pipeline.runs.run.Run` with two more entries: ``folder``, and ``name``, which is
        VARIANT/noise~N, or noise~N where there are no variants.
        """
        return [self._run(experiment, *state) for state in self._states(experiment)]

    def labels(self, variant: str, noise: int) -> str:
        """Labels of an experiment or variant at a noise level."""
        setup = self._config.setup(variant)
        kind = f"{setup.label_noise.kind}~{setup.label_noise.seed}"
        return f"results/labels/{setup.dataset}/{kind}/noise~{noise}/labels.safetensors"

    def _run(self, experiment: str, variant: str, noise: int, width: int) -> dict[str, Any]:
        setup = self._config.setup(variant)
        folder = self._folders[self._key(variant, noise, width)]
        own = variant.removeprefix(experiment).removeprefix("/")
        return {
            "name": f"{own}/noise~{noise}" if own else f"noise~{noise}",
            "folder": folder,
            "experiment": experiment,
            "variant": own or "base",
            "noise": noise,
            "width": width,
            "model": setup.model.model_dump(mode="json"),
            "training_points": setup.training_points,
            "labels": self.labels(variant, noise),
            "checkpoints": f"{folder}/checkpoints.safetensors",
            "summary": f"{folder}/run.json",
        }

    def _states(self, experiment: str) -> Iterator[State]:
        for variant in self._config.variants(experiment):
            setup = self._config.setup(variant)
            for noise in sorted(setup.noises) or [setup.label_noise.percent]:
                for width in sorted(setup.widths):
                    yield variant, noise, width

    def _key(self, variant: str, noise: int, width: int) -> tuple[str, ...]:
        """Equal for two runs exactly if all of their files are."""
        return (*self._jobs[variant], self.labels(variant, noise), str(width))
