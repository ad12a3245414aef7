"""Measure, once, every number that a figure shows or a claim is judged by."""

import argparse
import importlib
import json
from pathlib import Path

from pipeline.figures.tables import read_tables
from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import write_json


def main(arguments: argparse.Namespace) -> None:
    """Call ``measure`` of the room's module on its tidy tables, and write what it returns."""
    with only_writer(arguments.facts):
        module = importlib.import_module(arguments.module)
        tables = read_tables(arguments.table)
        facts = module.measure(tables, json.loads(arguments.context))
        try:
            write_json(arguments.facts, facts)
        except TypeError as error:
            raise CommandError(
                f"measure() of {arguments.module} returned something that is no JSON: {error}; "
                "return a dict of texts, numbers, lists and dicts"
            ) from None


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--module", required=True, help="module with measure()")
    parser.reads("--table", nargs="+", required=True, help="input: CSV")
    parser.add_argument("--context", required=True, help="scale, settings, numbers of the paper as JSON")
    parser.add_argument("--facts", type=Path, required=True, help="output: JSON")
    run(parser, main)
