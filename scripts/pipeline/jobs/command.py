"""What the command lines in scripts/ share."""

import argparse
from collections.abc import Callable
from pathlib import Path

from nets.dataset import DataError
from pipeline.jobs.progress import LOG, name_job, start_logging
from pipeline.provenance.files import DamagedFileError, OutputError

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class CommandError(RuntimeError):
    """A job cannot go on, for a reason that its message explains."""


_EXPLAINED = (CommandError, DataError, DamagedFileError, OutputError)


def run(parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None]) -> None:
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
        main(arguments)
    except _EXPLAINED as error:
        LOG.error("%s", error)
        raise SystemExit(1) from None
    except Exception:
        LOG.exception("%s failed", parser.prog)
        raise SystemExit(1) from None
