"""Which runs there are, and where each lies. Imports neither torch nor pandas."""

import json
from collections.abc import Iterator
from typing import Any

from nets import parts
from pipeline.config.config import Config
from pipeline.config.training import identity
from pipeline.runs import paths
from pipeline.runs.paths import RunPlace

# Where results lie is no part of them.
AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class Catalogue:
    """The runs of all trainings at the configured scale.

    Trainings that state the same share it: it lies in the folder of the first of them.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._jobs = {
            variant: (identity(config.training_job(variant)), identity(config.bounds_job(variant)))
            for name in config.trainings
            for variant in config.variants(name)
        }
        self._folders: dict[tuple[str, ...], str] = {}
        for name in config.trainings:
            for place in self._places(name):
                self._folders.setdefault(self._key(place), place.folder)

    def runs(self, training: str) -> list[dict[str, Any]]:
        """Every run of a training, by variant, noise and width.

        Each is a :class:`pipeline.runs.run.Run` with two more entries: ``folder``, and ``name``,
        which is VARIANT/noise~N, or noise~N where there are no variants.
        """
        models = {
            variant: json.loads(identity(self._config.setup(variant).model))
            for variant in self._config.variants(training)
        }
        return [self._run(training, place, models[place.training]) for place in self._places(training)]

    def folders(self, training: str) -> list[str]:
        """Where every run of a training lies, in the same order."""
        return [self._folders[self._key(place)] for place in self._places(training)]

    def labels(self, training: str, noise: int) -> str:
        """Labels of a training or variant at a noise level."""
        setup = self._config.setup(training)
        kind, seed = setup.label_noise.kind, setup.label_noise.seed
        return paths.labels(setup.dataset, kind, seed, noise, self.noise_among(training, noise))

    def noise_among(self, training: str, noise: int) -> int | None:
        """How many points the noise is among, of a training that takes only some; None for all points.

        Noise in all points is not spread evenly over some of them: of one seed, the points that a
        subset takes first are also those whose labels change first.
        """
        setup = self._config.setup(training)
        asked, there = setup.training_points, parts.stated("data", setup.dataset, "TRAINING_POINTS")
        return None if noise == 0 or asked == there else asked

    def _run(self, training: str, place: RunPlace, model: dict[str, Any]) -> dict[str, Any]:
        setup = self._config.setup(place.training)
        folder = self._folders[self._key(place)]
        own = place.training.removeprefix(training).removeprefix("/")
        return {
            "name": f"{own}/noise~{place.noise}" if own else f"noise~{place.noise}",
            "folder": folder,
            "experiment": training,
            "variant": own or "base",
            "noise": place.noise,
            "width": place.width,
            "model": model,
            "training_points": setup.training_points,
            "labels": self.labels(place.training, place.noise),
            "checkpoints": f"{folder}/checkpoints.safetensors",
            "summary": f"{folder}/run.json",
        }

    def _places(self, training: str) -> Iterator[RunPlace]:
        for variant in self._config.variants(training):
            setup = self._config.setup(variant)
            for noise in sorted(setup.noises) or [setup.label_noise.percent]:
                for width in sorted(setup.widths):
                    yield RunPlace(self._config.scale, variant, noise, width)

    def _key(self, place: RunPlace) -> tuple[str, ...]:
        """Equal for two runs exactly if all of their files are."""
        labels = self.labels(place.training, place.noise)
        return (*self._jobs[place.training], labels, str(place.width))
