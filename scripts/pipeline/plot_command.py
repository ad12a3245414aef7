"""The command line that every scripts/plot_NAME.py has."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.command import run
from pipeline.figures import save, use_style
from pipeline.provenance import write_sidecar

Context = dict[str, Any]


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

    def main(arguments: argparse.Namespace) -> None:
        context = json.loads(arguments.context)
        use_style(arguments.style)
        table = pd.read_csv(arguments.table)
        save(draw(table, context), arguments.pdf, arguments.png)
        write_sidecar(
            arguments.sidecar,
            figure=figure,
            paper_item=paper_item,
            scale=context["scale"],
            inputs=[arguments.table, arguments.style],
            settings=context["settings"],
            departures=context["departures"],
            code=context["code"],
            facts=facts(table, context),
        )

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--table", type=Path, required=True, help="input: CSV")
    parser.add_argument("--style", type=Path, required=True, help="input: style sheet")
    parser.add_argument("--context", required=True, help="scale, settings and code as JSON")
    parser.add_argument("--pdf", type=Path, required=True, help="output")
    parser.add_argument("--png", type=Path, required=True, help="output")
    parser.add_argument("--sidecar", type=Path, required=True, help="output: JSON")
    run(parser, main)
