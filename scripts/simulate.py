"""Measure what other seeds might have given, to see how often intervals cover and rules err."""

import argparse
import importlib
import json
from pathlib import Path

from pipeline.claims.claim import claims_in
from pipeline.claims.simulated import simulate, write_simulated
from pipeline.figures.tables import read_tables
from pipeline.jobs.command import Command, run
from pipeline.jobs.resume import only_writer


def main(arguments: argparse.Namespace) -> None:
    """Call ``measure`` of the room's module on tables like its own."""
    with only_writer(arguments.simulated):
        module = importlib.import_module(arguments.module)
        tables = read_tables(arguments.table)
        context = json.loads(arguments.context)
        found = simulate(
            lambda drawn: module.measure(drawn, context),
            tables,
            arguments.simulations,
            flat=any(claim.of_a_change for claim in claims_in(module)),
        )
        write_simulated(arguments.simulated, found)


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--module", required=True, help="module with measure()")
    parser.reads("--table", nargs="+", required=True, help="input: CSV")
    parser.add_argument("--context", required=True, help="scale, settings, numbers of the paper as JSON")
    parser.add_argument("--simulations", type=int, required=True, help="how many of each kind")
    parser.add_argument("--simulated", type=Path, required=True, help="output: compressed JSON")
    run(parser, main)
