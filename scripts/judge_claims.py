"""Verdicts on what the papers claim, from the tidy tables."""

import argparse
from pathlib import Path

import pandas as pd
from pandas.errors import EmptyDataError

from pipeline.claims.report import claims_frame, markdown, totals
from pipeline.jobs.command import run
from pipeline.jobs.progress import LOG
from pipeline.provenance.files import write_text


def main(arguments: argparse.Namespace) -> None:
    """Judge every claim; tables that are empty or absent leave theirs untested."""
    claims = claims_frame(_read(arguments.table))
    LOG.info("%s", totals(claims))
    write_text(arguments.claims, claims.to_csv(index=False, lineterminator="\n"))
    write_text(arguments.markdown, markdown(claims, arguments.scale, _picture))


def _read(paths: list[Path]) -> dict[str, pd.DataFrame]:
    tables = {}
    for path in paths:
        try:
            tables[path.stem] = pd.read_csv(path)
        except EmptyDataError:
            LOG.warning("%s is empty", path)
    return tables


def _picture(figure: str) -> str:
    """Where a figure is, from results/SCALE/; tables for readers have none."""
    drawn = any(Path(__file__).parent.glob(f"papers/*/{figure}/figure.py"))
    return f"../../figures/{figure}.png" if drawn else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, nargs="+", required=True, help="input: CSV of each table")
    parser.add_argument("--scale", required=True, help="scale of the tables")
    parser.add_argument("--claims", type=Path, required=True, help="output: CSV")
    parser.add_argument("--markdown", type=Path, required=True, help="output: Markdown")
    run(parser, main)
