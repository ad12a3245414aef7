"""Run the study of a room: check its settings, measure, and write its tidy table whole."""

import argparse
import importlib
from pathlib import Path

import pandas as pd
import torch

from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.packing import unpacked
from pipeline.jobs.resume import only_writer
from pipeline.measuring.arrays import together
from pipeline.provenance.files import read_tensors, write_text
from pipeline.runs.run import Run


def main(arguments: argparse.Namespace) -> None:
    """Import the room's module and call its ``study`` on settings, arrays and, if it has any, runs."""
    with only_writer(arguments.table):
        torch.set_num_threads(arguments.threads)
        module = importlib.import_module(arguments.module)
        arrays = together({path.parent.name: read_tensors(path)[0] for path in arguments.arrays})
        runs = [Run.model_validate(run) for run in unpacked(arguments.runs)]
        settings = module.Settings.model_validate_json(arguments.settings)
        table = module.study(settings, arrays, *([runs] if runs else []))
        if not isinstance(table, pd.DataFrame):
            kind = type(table).__name__
            raise CommandError(f"study() of {arguments.module} returned {kind}; return a DataFrame")
        if table.empty:
            raise CommandError(
                f"{arguments.module} has nothing to measure: none of its nets has reached a stop; "
                "lower learning_rate where they diverged"
            )
        write_text(arguments.table, table.to_csv(index=False, lineterminator="\n"))


def _files_of_runs(arguments: argparse.Namespace) -> list[Path]:
    """Labels, and what the trainings have written, unless the study trains itself."""
    runs = [Run.model_validate(run) for run in unpacked(arguments.runs)]
    trained = [path for run in runs if run.training is None for path in (run.checkpoints, run.summary)]
    return [*(run.labels for run in runs), *trained]


if __name__ == "__main__":
    parser = Command(__doc__, also_reads=_files_of_runs)
    parser.add_argument("--module", required=True, help="module with Settings and study()")
    parser.reads("--arrays", nargs="*", default=[], help="input: prepared data")
    parser.add_argument("--runs", default="[]", help="list of pipeline.runs.run.Run as JSON")
    parser.add_argument("--settings", required=True, help="settings of the study as JSON")
    parser.computes()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, required=True, help="output: CSV")
    run(parser, main)
