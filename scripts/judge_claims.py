"""Verdicts on what the papers claim, from the facts of the figures."""

import argparse
import json
from pathlib import Path

from pipeline.claims.report import ClaimError, Source, claims_frame, markdown, totals
from pipeline.claims.simulated import read_simulated
from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.progress import LOG
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import write_text


def main(arguments: argparse.Namespace) -> None:
    """Judge every claim; facts that are absent leave theirs untested."""
    with only_writer(arguments.claims):
        facts = {path.stem: json.loads(path.read_bytes()) for path in arguments.facts}
        simulated = {path.name.split(".")[0]: read_simulated(path) for path in arguments.simulated}
        sources = [Source(**one) for one in json.loads(arguments.sources)]
        try:
            claims = claims_frame(sources, facts, simulated)
        except ClaimError as error:
            raise CommandError(str(error)) from None
        LOG.info("%s", totals(claims))
        write_text(arguments.claims, claims.to_csv(index=False, lineterminator="\n"))
        write_text(arguments.markdown, markdown(claims, arguments.scale, _picture))


def _picture(figure: str) -> str:
    """Where a figure is, from results/SCALE/; tables for readers have none."""
    drawn = any(Path(__file__).parent.glob(f"papers/*/{figure}/figure.yaml"))
    return f"../../figures/{figure}.png" if drawn else ""


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.reads("--facts", nargs="+", required=True, help="input: JSON")
    parser.reads("--simulated", nargs="*", default=[], help="input: facts on simulated tables")
    parser.add_argument("--sources", required=True, help="modules with claims, as JSON")
    parser.add_argument("--scale", required=True, help="scale of the facts")
    parser.add_argument("--claims", type=Path, required=True, help="output: CSV")
    parser.add_argument("--markdown", type=Path, required=True, help="output: Markdown")
    run(parser, main)
