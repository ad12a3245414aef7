"""Change a share of the labels of those training points that a training on some of them takes.

Noise in all points will not do: of one seed, the points that a subset takes first are also those whose
labels change first, so that a small subset would get all of the noise.
"""

import argparse
from pathlib import Path

from nets.label_noise import inject
from nets.parts import names
from nets.training.points import subset
from pipeline.jobs.command import Command, run
from pipeline.jobs.progress import LOG
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import read_arrays, write_arrays


def main(arguments: argparse.Namespace) -> None:
    """Write all labels, with noise among those of the subset (``y_train``); test labels as they are."""
    arrays, metadata = read_arrays(arguments.arrays)
    clean, classes = arrays["y_train"], metadata["classes"]
    chosen = subset(len(clean), arguments.points)
    noisy = clean.copy()
    noisy[chosen] = inject(
        clean[chosen],
        arguments.percent,
        kind=arguments.kind,
        classes=classes,
        seed=arguments.seed,
    )
    LOG.info(
        "%s noise of %d %% among %d points: %d labels differ",
        arguments.kind,
        arguments.percent,
        len(chosen),
        (noisy != clean).sum(),
    )
    labels = {"y_train": noisy, "y_test": arrays["y_test"]}
    with only_writer(arguments.labels):
        write_arrays(arguments.labels, labels, {"classes": classes})


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.reads("--arrays", required=True, help="input: prepared data")
    parser.add_argument("--kind", required=True, choices=names("noise"))
    parser.add_argument("--points", type=int, required=True, help="of the subset")
    parser.add_argument("--percent", type=int, required=True, help="0 to 100")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="output: safetensors")
    run(parser, main)
