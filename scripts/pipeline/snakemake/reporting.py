"""Whether a call makes a report, which no object of Snakemake tells a Snakefile."""

from collections.abc import Iterable


def reports(arguments: Iterable[str]) -> bool:
    """Whether ``--report`` is among the words of the command line."""
    return any(word.split("=")[0] == "--report" for word in arguments)
