"""Where results lie: the only place that puts paths together and takes them apart."""

from pathlib import Path
from typing import NamedTuple

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class RunPlace(NamedTuple):
    """One training run: ``training`` is NAME, or NAME/VARIANT."""

    scale: str
    training: str
    noise: int
    width: int

    @property
    def folder(self) -> str:
        """Its folder."""
        return f"results/{self.scale}/{self.training}/noise~{self.noise}/width~{self.width}"


def arrays(dataset: str) -> str:
    """Prepared arrays of a data set."""
    return f"results/data/{dataset}/arrays.safetensors"


def published_files(folder: str) -> str:
    """Where each of the published files lies that a data set is made of."""
    return f"results/raw/{folder}/files.json"


def labels(dataset: str, kind: str, seed: int, percent: int, among: int | None = None) -> str:
    """Labels with noise, in all training points or ``among`` so many of them."""
    points = "" if among is None else f"~of~{among}"
    return f"results/labels/{dataset}/{kind}~{seed}{points}/noise~{percent}/labels.safetensors"


def dataset_of(labels: Path) -> str:
    """The data set of a file of :func:`labels`."""
    return labels.parents[2].name


def table(scale: str, name: str) -> str:
    """A tidy table."""
    return f"results/{scale}/tables/{name}.csv"


def reader_table(scale: str, name: str) -> str:
    """A table for readers."""
    return f"results/{scale}/tables/{name}.md"


def facts(scale: str, figure: str) -> str:
    """The numbers of a figure."""
    return f"results/{scale}/facts/{figure}.json"


def simulated(scale: str, figure: str) -> str:
    """The numbers of a figure on simulated tables."""
    return f"results/{scale}/simulated/{figure}.json.gz"


def numbered(segment: str) -> tuple[str, int]:
    """``width~64`` as ``("width", 64)``. Raises ``ValueError`` for anything else."""
    name, _, number = segment.partition("~")
    return name, int(number)


def checkpoint_key(seed: int, epoch: int, name: str) -> str:
    """Name of a tensor in a file of checkpoints; ``name`` is that in the net's state."""
    return f"seed~{seed}/epoch~{epoch}/{name}"


def parse_checkpoint_key(key: str) -> tuple[int, int, str]:
    """Seed, epoch and name of a weight in a file of checkpoints."""
    seed, epoch, name = key.split("/", 2)
    return numbered(seed)[1], numbered(epoch)[1], name
