"""The JSON beside each figure: what it was made from, with what, and how the paper differs."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.provenance.files import sha256, write_json

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
    paper_item: str,
    scale: str,
    inputs: Iterable[Path],
    settings: Mapping[str, Any],
    departures: list[dict[str, Any]],
    code: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write the provenance of a figure.

    ``inputs`` are named by path and checksum; ``departures`` lists every setting that differs from
    the paper; ``code`` holds the fingerprint of the program of each step; ``facts`` are numbers
    that the figure shows.
    """
    write_json(
        path,
        {
            "figure": figure,
            "paper": paper_item,
            "scale": scale,
            "inputs": {str(p): {"sha256": sha256(p)} for p in inputs},
            "facts": dict(facts),
            "settings": dict(settings),
            "departures_from_the_paper": departures,
            "code": dict(code),
            "versions_when_drawn": {"python": platform.python_version()}
            | {p: version(p) for p in PACKAGES},
        },
    )
