"""The command line that every scripts/table_NAME.py has."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipeline.jobs.command import run
from pipeline.plot_command import Context, Tables
from pipeline.provenance.files import write_text
from pipeline.provenance.sidecar import write_sidecar


def table_command(
    rows: Callable[[Tables, Context], pd.DataFrame],
    *,
    table: str,
    paper_item: str,
    description: str,
) -> None:
    """Run a script that makes a table for readers: read tidy tables, write Markdown and sidecar.

    ``rows`` takes the tidy tables by name and the context (scale, settings, departures, code), and
    returns what is printed: texts and numbers as they shall stand there, columns with their headings.
    """

    def main(arguments: argparse.Namespace) -> None:
        context = json.loads(arguments.context)
        tables = {path.stem: pd.read_csv(path) for path in arguments.table}
        found = rows(tables, context)
        about = f"{paper_item}. Scale: {context['scale']}."
        write_text(
            arguments.markdown, "\n".join([description.strip(), "", about, "", markdown(found), ""])
        )
        write_sidecar(
            arguments.sidecar,
            figure=table,
            paper_item=paper_item,
            scale=context["scale"],
            inputs=arguments.table,
            settings=context["settings"],
            departures=context["departures"],
            code=context["code"],
            facts={"rows": found.astype(str).to_dict("records")},
        )

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--table", type=Path, nargs="+", required=True, help="input: CSV")
    parser.add_argument("--context", required=True, help="scale, settings and code as JSON")
    parser.add_argument("--markdown", type=Path, required=True, help="output")
    parser.add_argument("--sidecar", type=Path, required=True, help="output: JSON")
    run(parser, main)


def markdown(rows: pd.DataFrame) -> str:
    """``rows`` as a Markdown table; columns of numbers are aligned on the right."""
    right = [pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes]
    lines = [list(map(str, rows.columns)), ["--:" if r else "---" for r in right]]
    lines += [[_cell(value) for value in row] for row in rows.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value).replace("|", "\\|")
