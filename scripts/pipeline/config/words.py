"""What stands on the command line of a program of ours in place of ``config.yaml``."""

from collections.abc import Iterable
from typing import Any

import yaml


def stated(scale: str | None, words: Iterable[str]) -> dict[str, Any]:
    """The configuration of ``--scale`` and of ``--config KEY=VALUE ...``, as snakemake would take it."""
    given: dict[str, Any] = {"scale": scale} if scale else {}
    for word in words:
        key, _, value = word.partition("=")
        given[key] = yaml.safe_load(value)
    return given
