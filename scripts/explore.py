"""Make one page of HTML on which the figures can be explored: their numbers, runs, facts and claims."""

import argparse
from pathlib import Path

import pandas as pd

from pipeline.claims.report import COLUMNS, read_claims
from pipeline.explore.gather import gather
from pipeline.explore.page import page, read_parts
from pipeline.figures.looks import use_style
from pipeline.jobs.command import Command, run
from pipeline.jobs.packing import unpacked
from pipeline.jobs.progress import LOG
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import write_text


def main(arguments: argparse.Namespace) -> None:
    """Gather every figure, and write the page."""
    with only_writer(arguments.page):
        use_style(arguments.style)
        parts = read_parts(arguments.parts)
        claims = {path.parent.name: read_claims(path) for path in arguments.claims}
        none = pd.DataFrame(columns=COLUMNS)
        figures = [
            gather(about, claims.get(about["scale"], none)) for about in unpacked(arguments.figures)
        ]
        text = page(figures, parts)
        write_text(arguments.page, text)
        LOG.info("%s: %d figures, %.1f MB", arguments.page, len(figures), len(text.encode()) / 1e6)


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--figures", required=True, help="modules, contexts and files, packed")
    parser.reads("--facts", nargs="+", required=True, help="input: JSON of every figure")
    parser.reads("--tables", nargs="+", required=True, help="input: CSV of every figure")
    parser.reads("--claims", nargs="*", default=[], help="input: CSV by scale")
    parser.reads_source("--style", required=True, help="input: style sheet")
    parser.reads_source("--parts", nargs="+", required=True, help="input: files of the page")
    parser.add_argument("--page", type=Path, required=True, help="output: HTML")
    run(parser, main)
