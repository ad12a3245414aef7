"""Draw a figure from its tidy tables and its facts, as PDF and PNG with a JSON file beside them."""

import argparse
import importlib
import json
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.figures.looks import save, use_style
from pipeline.figures.tables import read_tables
from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.resume import only_writer
from pipeline.provenance.sidecar import write_sidecar


def main(arguments: argparse.Namespace) -> None:
    """Call ``draw`` of the room's module."""
    with only_writer(arguments.pdf):
        module = importlib.import_module(arguments.module)
        context = json.loads(arguments.context)
        facts = json.loads(arguments.facts.read_bytes())
        use_style(arguments.style)
        tables = read_tables(arguments.table)
        figure = module.draw(tables, facts, context)
        if not isinstance(figure, Figure):
            raise CommandError(
                f"draw() of {arguments.module} returned {type(figure).__name__}; return the Figure"
            )
        save(figure, arguments.pdf, arguments.png)
        write_sidecar(
            arguments.sidecar,
            figure=arguments.pdf.stem,
            context=context,
            inputs=[*arguments.table, arguments.facts, arguments.style],
            code=json.loads(arguments.code),
            facts=facts,
        )


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--module", required=True, help="module with draw()")
    parser.reads("--table", nargs="+", required=True, help="input: CSV")
    parser.reads("--facts", required=True, help="input: JSON")
    parser.reads_source("--style", required=True, help="input: style sheet")
    parser.add_argument("--context", required=True, help="scale, settings, numbers of the paper as JSON")
    parser.add_argument("--code", required=True, help="fingerprints of all steps as JSON")
    parser.add_argument("--pdf", type=Path, required=True, help="output")
    parser.add_argument("--png", type=Path, required=True, help="output")
    parser.add_argument("--sidecar", type=Path, required=True, help="output: JSON")
    run(parser, main)
