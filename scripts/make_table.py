"""Write a table for readers, in Markdown, with a JSON file beside it."""

import argparse
import importlib
import json
from pathlib import Path

from pipeline.figures.tables import read_tables
from pipeline.jobs.command import Command, run
from pipeline.jobs.resume import only_writer
from pipeline.pages.markdown import markdown
from pipeline.provenance.files import write_text
from pipeline.provenance.sidecar import write_sidecar


def main(arguments: argparse.Namespace) -> None:
    """Call ``rows`` of the room's module on its tidy tables and facts.

    It returns what is printed: texts and numbers as they shall stand there, and columns by headings.
    """
    with only_writer(arguments.markdown):
        module = importlib.import_module(arguments.module)
        context = json.loads(arguments.context)
        facts = json.loads(arguments.facts.read_bytes())
        tables = read_tables(arguments.table)
        found = module.rows(tables, facts, context)
        about = f"{context['paper']}. Scale: {context['scale']}."
        text = [context["caption"].strip(), "", about, "", markdown(found), ""]
        write_text(arguments.markdown, "\n".join(text))
        write_sidecar(
            arguments.sidecar,
            figure=arguments.markdown.stem,
            context=context,
            inputs=[*arguments.table, arguments.facts],
            code=json.loads(arguments.code),
            facts=facts | {"rows": found.astype(str).to_dict("records")},
        )


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--module", required=True, help="module with rows()")
    parser.reads("--table", nargs="+", required=True, help="input: CSV")
    parser.reads("--facts", required=True, help="input: JSON")
    parser.add_argument("--context", required=True, help="scale, settings, numbers of the paper as JSON")
    parser.add_argument("--code", required=True, help="fingerprints of all steps as JSON")
    parser.add_argument("--markdown", type=Path, required=True, help="output")
    parser.add_argument("--sidecar", type=Path, required=True, help="output: JSON")
    run(parser, main)
