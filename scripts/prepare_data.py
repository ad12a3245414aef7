"""Make a registered data set and check that it is the right one, number by number."""

import argparse
from pathlib import Path

from nets import parts
from nets.dataset import Arrays, DataSet
from pipeline.downloads.records import reader
from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import sha256, write_arrays, write_json


def _prepare(dataset: DataSet, name: str, files: Path | None) -> Arrays:
    if dataset.published is None:
        return dataset.prepare(name)
    if files is None:
        raise CommandError(f"{name} is made of published files; say where they lie with --files")
    return dataset.prepare(name, reader(files, dataset.published))


def main(arguments: argparse.Namespace) -> None:
    """Write the arrays as safetensors and a manifest beside them."""
    dataset: DataSet = parts.load("data", arguments.dataset).DATASET
    made = _prepare(dataset, arguments.dataset, arguments.files)
    arrays = made.named()
    with only_writer(arguments.arrays):
        write_arrays(arguments.arrays, arrays, {"classes": dataset.classes})
        write_json(
            arguments.manifest,
            {
                "dataset": arguments.dataset,
                "source": dataset.source,
                "classes": dataset.classes,
                "arrays": {
                    name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in arrays.items()
                },
                "sha256 of the arrays": dataset.sha256 or made.sha256(),
                "sha256 of the file": sha256(arguments.arrays),
            },
        )


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--dataset", required=True, choices=parts.names("data"))
    parser.reads("--files", nargs="?", help="files.json of the published files")
    parser.add_argument("--arrays", type=Path, required=True, help="output: safetensors")
    parser.add_argument("--manifest", type=Path, required=True, help="output: JSON")
    run(parser, main)
