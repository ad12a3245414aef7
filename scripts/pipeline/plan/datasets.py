"""How large a data set is, without reading it."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from nets import parts
from nets.dataset import DataSet
from pipeline.jobs.command import CommandError
from pipeline.runs import paths


class Size(NamedTuple):
    """Points of ``shape``, and how many there are of each kind."""

    training: int
    test: int
    shape: tuple[int, ...]
    classes: int

    @property
    def numbers(self) -> int:
        """Of a point."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Of the prepared arrays: numbers of images have one byte, others four, and labels eight."""
        number = 1 if len(self.shape) == 3 else 4
        return (self.training + self.test) * (number * self.numbers + 8)


_STATED = ("TRAINING_POINTS", "TEST_POINTS", "POINT_SHAPE")


def size_of(name: str, folder: Path) -> Size:
    """What the file of a data set states, or what was prepared in ``folder``.

    Raises :class:`CommandError` where neither says it.
    """
    dataset: DataSet = parts.load("data", name).DATASET
    training, test, shape = (parts.stated("data", name, key) for key in _STATED)
    if training and test and shape:
        return Size(training, test, tuple(shape), dataset.classes)
    manifest = folder / Path(paths.arrays(name)).with_name("manifest.json")
    if not manifest.exists():
        raise CommandError(
            f"scripts/nets/data/{name}.py does not say how large the data set is; state "
            f"{', '.join(_STATED)} there, or prepare it first: snakemake --cores 1 {manifest}"
        )
    arrays = json.loads(manifest.read_bytes())["arrays"]
    training, *shape = arrays["x_train"]["shape"]
    return Size(training, arrays["x_test"]["shape"][0], tuple(shape), dataset.classes)
