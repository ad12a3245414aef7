"""Settings on the command lines of commands that people call, as snakemake takes them."""

import argparse
from typing import Any

import yaml


def add_settings(parser: argparse.ArgumentParser, scale: str, config: str) -> None:
    """Add ``--scale`` and ``--config``, with their help."""
    parser.add_argument("--scale", help=scale)
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help=config)


def settings_of_the_call(arguments: argparse.Namespace) -> dict[str, Any]:
    """What they put in the place of ``config.yaml``."""
    given = {"scale": arguments.scale} if arguments.scale else {}
    for word in arguments.config:
        key, _, value = word.partition("=")
        given[key] = yaml.safe_load(value)
    return given
