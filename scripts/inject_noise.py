"""Change a share of the training labels; the test labels stay as they are."""

import argparse
from pathlib import Path

from nets.label_noise import inject
from nets.parts import names
from pipeline.jobs.command import Command, run
from pipeline.jobs.progress import LOG
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import read_arrays, write_arrays


def main(arguments: argparse.Namespace) -> None:
    """Write the labels that training sees (``y_train``) and the untouched test labels (``y_test``)."""
    arrays, metadata = read_arrays(arguments.arrays)
    clean, classes = arrays["y_train"], metadata["classes"]
    noisy = inject(
        clean,
        arguments.percent,
        kind=arguments.kind,
        classes=classes,
        seed=arguments.seed,
    )
    LOG.info(
        "%s noise of %d %%: %d of %d labels differ",
        arguments.kind,
        arguments.percent,
        (noisy != clean).sum(),
        len(clean),
    )
    labels = {"y_train": noisy, "y_test": arrays["y_test"]}
    with only_writer(arguments.labels):
        write_arrays(arguments.labels, labels, {"classes": classes})


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.reads("--arrays", required=True, help="input: prepared data")
    parser.add_argument("--kind", required=True, choices=names("noise"))
    parser.add_argument("--percent", type=int, required=True, help="0 to 100")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="output: safetensors")
    run(parser, main)
