"""Have the published files of a data set, from where they lie already or from the internet."""

import argparse
import os
from pathlib import Path

from pipeline.downloads.obtain import Sources, obtain
from pipeline.downloads.records import all_published, write_records
from pipeline.downloads.transfer import Limits
from pipeline.jobs.command import Command, CommandError, run

VARIABLE = "DATA_ROOT"
"""The environment variable that names a data root where the configuration names none."""


def _data_root(given: str) -> Path | None:
    """The folder asked for. Raises :class:`CommandError` where it is none."""
    named = given or os.environ.get(VARIABLE, "")
    if not named:
        return None
    path = Path(named).expanduser()
    if not path.is_dir():
        by = "config.yaml: data_root" if given else f"the environment variable {VARIABLE}"
        raise CommandError(
            f"{by}: {path.absolute()} is not a folder; make it, or name the folder that holds published "
            "files of data sets, or none to have them downloaded into results/raw/"
        )
    return path.absolute()


def main(arguments: argparse.Namespace) -> None:
    """Write ``files.json``."""
    published = all_published()[arguments.published]
    sources = Sources(_data_root(arguments.data_root or ""), arguments.mirror or None)
    limits = Limits(timeout=arguments.timeout, progress_every=arguments.progress_every)
    records = obtain(published, sources, arguments.output.parent, limits)
    write_records(arguments.output, published, records)


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--published", required=True, choices=sorted(all_published()))
    parser.add_argument("--data-root", nargs="?", help="a folder where published files may lie")
    parser.add_argument("--mirror", nargs="?", help="an address that is asked before all others")
    parser.add_argument("--timeout", type=float, default=Limits.timeout, help="seconds without a byte")
    parser.add_argument("--progress-every", type=float, default=Limits.progress_every)
    parser.add_argument("--output", type=Path, required=True, help="output: files.json")
    run(parser, main)
