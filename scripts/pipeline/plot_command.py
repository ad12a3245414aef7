"""The command line that every scripts/plot_NAME.py has."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.figures.looks import save, use_style
from pipeline.jobs.command import run
from pipeline.provenance.sidecar import write_sidecar

Context = dict[str, Any]
Tables = dict[str, pd.DataFrame]


def plot_command(
    draw: Callable[[pd.DataFrame, Context], Figure],
    facts: Callable[[pd.DataFrame, Context], dict[str, Any]],
    *,
    figure: str,
    paper_item: str,
    description: str | None,
) -> None:
    """Run a plotting script: read the table, draw, and write PDF, PNG and sidecar.

    ``draw`` and ``facts`` take the table and the context (scale, settings, departures, code).
    """

    def only(tables: Tables) -> pd.DataFrame:
        (table,) = tables.values()
        return table

    plot_tables_command(
        lambda tables, context: draw(only(tables), context),
        lambda tables, context: facts(only(tables), context),
        figure=figure,
        paper_item=paper_item,
        description=description,
    )


def plot_tables_command(
    draw: Callable[[Tables, Context], Figure],
    facts: Callable[[Tables, Context], dict[str, Any]],
    *,
    figure: str,
    paper_item: str,
    description: str | None,
) -> None:
    """:func:`plot_command` for a figure of several tables, which are passed on by name."""

    def main(arguments: argparse.Namespace) -> None:
        context = json.loads(arguments.context)
        use_style(arguments.style)
        tables = {path.stem: pd.read_csv(path) for path in arguments.table}
        save(draw(tables, context), arguments.pdf, arguments.png)
        write_sidecar(
            arguments.sidecar,
            figure=figure,
            paper_item=paper_item,
            scale=context["scale"],
            inputs=[*arguments.table, arguments.style],
            settings=context["settings"],
            departures=context["departures"],
            code=context["code"],
            facts=facts(tables, context),
        )

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--table", type=Path, nargs="+", required=True, help="input: CSV")
    parser.add_argument("--style", type=Path, required=True, help="input: style sheet")
    parser.add_argument("--context", required=True, help="scale, settings and code as JSON")
    parser.add_argument("--pdf", type=Path, required=True, help="output")
    parser.add_argument("--png", type=Path, required=True, help="output")
    parser.add_argument("--sidecar", type=Path, required=True, help="output: JSON")
    run(parser, main)
