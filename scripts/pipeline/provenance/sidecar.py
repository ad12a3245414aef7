"""The JSON beside each figure: what it was made from, with what, and how the paper differs."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.provenance.files import sha256, write_json

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "mnist1d",
    "safetensors",
    "snakemake",
)


def write_sidecar(
    path: Path,
    *,
    figure: str,
    context: Mapping[str, Any],
    inputs: Iterable[Path],
    code: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write the provenance of a figure, or of a table for readers.

    ``inputs`` are named by path and checksum; ``context`` says what it is of, at which scale, with
    which settings, and how these depart from the paper; ``code`` holds the fingerprint of the program
    of each step; ``facts`` are the numbers that are shown.
    """
    write_json(
        path,
        {
            "figure": figure,
            "paper": context["paper"],
            "scale": context["scale"],
            "inputs": {str(p): {"sha256": sha256(p)} for p in inputs},
            "facts": dict(facts),
            "settings": dict(context["settings"]),
            "departures_from_the_paper": context["departures"],
            "code": dict(code),
            "versions_when_drawn": {"python": platform.python_version()}
            | {p: version(p) for p in PACKAGES},
        },
    )
