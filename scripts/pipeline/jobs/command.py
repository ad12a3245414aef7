"""What the command lines in scripts/ share."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nets.dataset import DataError
from pipeline.jobs.gpu_slots import hold_gpu
from pipeline.jobs.progress import LOG, name_job, start_logging
from pipeline.provenance.files import DamagedFileError, OutputError
from pipeline.provenance.seals import sealing

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class CommandError(RuntimeError):
    """A job cannot go on, for a reason that its message explains."""


_EXPLAINED = (CommandError, DataError, DamagedFileError, OutputError)

WITHOUT_EFFECT = frozenset(
    {
        "--data-root",
        "--device",
        "--jobs-per-gpu",
        "--log",
        "--mirror",
        "--name",
        "--progress-every",
        "--save-every",
        "--threads",
        "--timeout",
    }
)
"""Options that change no number in the outputs, and so are no part of what made them."""


class Command(argparse.ArgumentParser):
    """The command line of a job: what it reads is checked first, what it writes is sealed.

    See :mod:`pipeline.provenance.seals`. ``also_reads`` gives more files that the job reads, which the
    parsed command line names in other ways.
    """

    def __init__(
        self,
        description: str | None,
        also_reads: Callable[[argparse.Namespace], Iterable[Path]] = lambda _: (),
    ) -> None:
        super().__init__(description=description)
        self._also_reads = also_reads
        self._inputs: list[str] = []
        self._sources: list[str] = []

    def reads(self, option: str, **how: Any) -> None:
        """Add an option for one or several results of other jobs."""
        self._inputs.append(self.add_argument(option, type=Path, **how).dest)

    def reads_source(self, option: str, **how: Any) -> None:
        """Add an option for a file of the project, which no job has made."""
        self._sources.append(self.add_argument(option, type=Path, **how).dest)

    def computes(self) -> None:
        """Add options for where the job computes; :func:`run` waits for a GPU that has room for it."""
        self.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        self.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that share a GPU")

    def sources(self, arguments: argparse.Namespace) -> list[Path]:
        """The files of the project that the job reads."""
        named: list[Path] = []
        for name in self._sources:
            value = getattr(arguments, name)
            named += value if isinstance(value, list) else [value]
        return named

    def inputs(self, arguments: argparse.Namespace) -> list[Path]:
        """All results of other jobs that the job reads, each once."""
        named: list[Path] = []
        for name in self._inputs:
            value = getattr(arguments, name)
            named += value if isinstance(value, list) else [value] if value is not None else []
        return list(dict.fromkeys([*named, *self._also_reads(arguments)]))


def made_by(words: Sequence[str]) -> str:
    """Sixteen hex digits for a command line, without the options that change no number."""
    kept: list[str] = []
    counts = True
    for word in words:
        if word.startswith("--"):
            counts = word.split("=")[0] not in WITHOUT_EFFECT
        if counts:
            kept.append(word)
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def run(parser: Command, main: Callable[[argparse.Namespace], None]) -> None:
    """Parse the command line, set up logging and call ``main``.

    Errors whose message says what to do end the process with that message, others with a
    traceback, which goes to the log as well.
    """
    parser.add_argument("--log", type=Path, help="file that gets all messages")
    parser.add_argument("--name", default="", help="what messages call the job")
    arguments = parser.parse_args()
    name_job(arguments.name)
    start_logging(arguments.log)
    try:
        with sealing(made_by(sys.argv[1:]), parser.inputs(arguments), parser.sources(arguments)):
            if "jobs_per_gpu" in arguments:
                hold_gpu(arguments.device, arguments.jobs_per_gpu)
            main(arguments)
    except _EXPLAINED as error:
        LOG.error("%s", error)
        raise SystemExit(1) from None
    except Exception:
        LOG.exception("%s failed", parser.prog)
        raise SystemExit(1) from None
