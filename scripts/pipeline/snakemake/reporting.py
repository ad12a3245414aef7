"""Whether a call makes a report, which no object of Snakemake tells, and what is there for one."""

import json
from collections.abc import Iterable
from pathlib import Path


def reports(arguments: Iterable[str]) -> bool:
    """Whether ``--report`` is among the words of the command line."""
    return any(word.split("=")[0] == "--report" for word in arguments)


def drawn_at(folder: Path, figure: str) -> str:
    """The scale at which a figure in ``folder`` was drawn; empty where it does not say so."""
    try:
        about = json.loads((folder / "figures" / f"{figure}.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(about.get("scale", "")) if isinstance(about, dict) else ""
