"""A result whose inputs are gone is made again.

Snakemake asks for an intermediate file only when something has to be made from it, so one that was
deleted stays missing while the figure behind it is there. Here a missing file is struck from the
record of every result that was made from it. Snakemake then finds that the result has to be made
from other files than it was, and makes it again, and so the missing file first, if what it was
asked for depends on them.
"""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.provenance.files import write_text

METADATA = Path(".snakemake") / "metadata"
"""Where Snakemake keeps a JSON file for each result, with the inputs that it was made from."""


def strike_missing_inputs(folder: Path) -> None:
    """Strike files that are no longer in ``folder`` from the records of what was made from them."""
    there: dict[str, bool] = {}
    for path, _, names in os.walk(folder / METADATA):
        for record in (Path(path) / name for name in names):
            content = _read(record)
            inputs = content.get("input") or []
            for file in inputs:
                if file not in there:
                    there[file] = (folder / file).exists()
            present = [file for file in inputs if there[file]]
            if len(present) < len(inputs):
                write_text(record, json.dumps(content | {"input": present}))


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):  # half written, or gone
        return {}
    return content if isinstance(content, dict) else {}
