"""The command line that every scripts/study_NAME.py has."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch

from pipeline.command import run
from pipeline.files import read_tensors, write_text
from pipeline.studies import Settings

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

    def main(arguments: argparse.Namespace) -> None:
        torch.set_num_threads(arguments.threads)
        arrays = read_tensors(arguments.arrays)[0] if arguments.arrays else {}
        table = study(settings.model_validate_json(arguments.settings), arrays)
        write_text(arguments.table, table.to_csv(index=False, lineterminator="\n"))

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--arrays", type=Path, help="input: prepared data, where the study needs it")
    parser.add_argument("--settings", required=True, help="settings of the study as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, required=True, help="output: CSV")
    run(parser, main)
