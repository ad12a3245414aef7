"""Read every result and say which are damaged, foreign, missing, unsealed or stale; 1 if any are."""

import argparse
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from pipeline.config.command_line import add_settings, settings_of_the_call
from pipeline.provenance.seals import seal_path, set_aside, write_seal
from pipeline.snakemake.verification import FOLDERS, KINDS, Found, Verified, outdated, results, verify

PROJECT = Path(__file__).resolve().parents[1]

SHOWN = 20
"""Files of a kind that are named; ``--all`` names all."""


def main(arguments: argparse.Namespace) -> int:
    """Verify, vouch, or set aside."""
    if arguments.vouch:
        return _vouch(arguments.vouch)
    found = verify()
    known = {fault.file for fault in found.faults}
    stale = [
        Found("stale", file, why)
        for file, why in outdated(Path.cwd(), PROJECT, settings_of_the_call(arguments)).items()
        if file not in known
    ]
    found = found._replace(faults=[*found.faults, *stale])
    for line in _lines(found, None if arguments.all else SHOWN):
        print(line)
    if arguments.set_aside:
        for fault in found.faults:
            ours = Path(fault.file).parts[0] in FOLDERS  # and not a published file where others use it
            if ours and fault.kind in ("damaged", "foreign"):
                print(f"{fault.file} is now {set_aside(Path(fault.file)).name}")
    return 1 if found.faults else 0


def _vouch(paths: list[Path]) -> int:
    """Seal files, or all results in folders that have no seal."""
    for path in paths:
        for file in results([str(path)]) if path.is_dir() else [path]:
            if file == path or not seal_path(file).exists():
                write_seal(file)
                print(f"sealed {file} as it is")
    return 0


def _lines(found: Verified, most: int | None) -> list[str]:
    lines = []
    for kind, meaning in KINDS.items():
        faults = [fault for fault in found.faults if fault.kind == kind]
        if faults:
            lines.append(f"{len(faults)} {kind} ({meaning}):")
            lines += [f"  {fault.file} {fault.message}" for fault in faults[:most]]
            lines += [f"  ... and {len(faults) - most} more; --all names them"] * (
                most is not None and len(faults) > most
            )
    whole = "all as they were written" if not found.faults else "the others as they were written"
    return [*lines, f"{found.files:,} files with {found.bytes / 1e6:,.0f} MB, {whole}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings(
        parser, "of the configuration that results are compared with", "more of it, as for snakemake"
    )
    parser.add_argument("--all", action="store_true", help="name every file")
    parser.add_argument(
        "--set-aside",
        action="store_true",
        help="move damaged and foreign files aside, so that the next call makes them again",
    )
    parser.add_argument(
        "--vouch", type=Path, nargs="+", metavar="PATH", help="seal files, or unsealed files of folders"
    )
    try:
        sys.exit(main(parser.parse_args()))
    except (OSError, WorkflowError) as error:
        sys.exit(str(error))
