"""The command line that every scripts/study_NAME.py has."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch

from pipeline.config.studies import Settings
from pipeline.jobs.command import run
from pipeline.provenance.files import read_tensors, write_text
from pipeline.runs.run import Run

AnySettings = TypeVar("AnySettings", bound=Settings)
Arrays = dict[str, torch.Tensor]


def study_command(
    study: Callable[[AnySettings, Arrays], pd.DataFrame],
    settings: type[AnySettings],
    description: str | None,
) -> None:
    """Run a study: check its settings, compute its table and write it whole.

    ``study`` takes the settings and the prepared arrays (empty for a study without data).
    """
    _command(lambda own, arrays, runs: study(own, arrays), settings, description)


def runs_command(
    study: Callable[[AnySettings, Arrays, list[Run]], pd.DataFrame],
    settings: type[AnySettings],
    description: str | None,
) -> None:
    """:func:`study_command` for a study of trained nets, which also takes the runs that hold them."""
    _command(study, settings, description)


def _command(
    study: Callable[[AnySettings, Arrays, list[Run]], pd.DataFrame],
    settings: type[AnySettings],
    description: str | None,
) -> None:
    def main(arguments: argparse.Namespace) -> None:
        torch.set_num_threads(arguments.threads)
        arrays = read_tensors(arguments.arrays)[0] if arguments.arrays else {}
        runs = [Run.model_validate(run) for run in json.loads(arguments.runs)]
        table = study(settings.model_validate_json(arguments.settings), arrays, runs)
        write_text(arguments.table, table.to_csv(index=False, lineterminator="\n"))

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--arrays", type=Path, help="input: prepared data, where the study needs it")
    parser.add_argument("--runs", default="[]", help="list of pipeline.runs.run.Run as JSON")
    parser.add_argument("--settings", required=True, help="settings of the study as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, required=True, help="output: CSV")
    run(parser, main)
