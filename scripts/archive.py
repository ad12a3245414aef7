"""Pack a finished run: figures, tables, facts, verdicts and what they were made from, as an RO-Crate."""

import argparse
import platform
import sys
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from pipeline.archives.about import FORMAT, About, code_of, installed, machine
from pipeline.archives.contents import contents
from pipeline.archives.packing import pack, texts
from pipeline.config.command_line import add_settings, settings_of_the_call
from pipeline.config.errors import ConfigError
from pipeline.config.loading import load_config
from pipeline.config.yaml_files import read_mapping
from pipeline.jobs.command import CommandError
from pipeline.provenance.files import DamagedFileError, OutputError
from pipeline.snakemake.private import planned_jobs, records_of
from pipeline.snakemake.run_lock import holding
from pipeline.snakemake.verification import TARGETS

PROJECT = Path(__file__).resolve().parents[1]


def main(arguments: argparse.Namespace) -> None:
    """Write the archive of what is in the working directory."""
    given = settings_of_the_call(arguments)
    own = Path("config.yaml") if Path("config.yaml").exists() else PROJECT / "config.yaml"
    config: dict[str, Any] = read_mapping(own, str(own))
    update_config(config, given)
    scale = load_config(config, PROJECT / "scripts" / "papers").scale
    jobs = planned_jobs(Path.cwd(), TARGETS, PROJECT, **given)
    with holding(Path.cwd()):
        found = contents(jobs, scale, arguments.targets, weights=not arguments.without_weights)
        about = About(
            format=FORMAT,
            code=code_of(PROJECT),
            scale=scale,
            weights=not arguments.without_weights,
            machine=machine(),
            python=platform.python_version(),
            packages=installed(),
            steps=found.steps,
        )
        records = records_of(Path.cwd(), found.seals)
        written = texts(about, found, records, config, PROJECT)
        size = pack(arguments.output, about, found, written)
    print(f"{arguments.output}: {len(found.seals)} results at scale {scale}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "targets", nargs="*", help="files to pack with what is behind them; default: all"
    )
    add_settings(
        parser, "of the run; default: that of config.yaml", "more of its settings, as for snakemake"
    )
    parser.add_argument("--without-weights", action="store_true", help="leave out the weights of nets")
    parser.add_argument("--output", type=Path, default=Path("archive.zip"), help="default: archive.zip")
    try:
        main(parser.parse_intermixed_args())
    except (CommandError, ConfigError, DamagedFileError, OutputError, WorkflowError) as error:
        sys.exit(str(error))
