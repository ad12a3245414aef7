"""Hand a job over to a scheduler, or say what has become of one; the profiles for clusters call it.

cluster.py submit --queue COMMAND -- SUBMIT... SCRIPT    prints the number of the job
cluster.py status --queue COMMAND -- NUMBER              prints running, success or failed
"""

import shlex
import sys
import time

USAGE = "usage: cluster.py submit|status --queue 'COMMAND that lists jobs' -- ..."


def main(words: list[str]) -> None:
    """Do it; without argparse, which would take as long as the rest."""
    match words:
        case ["status", "--queue", queue, "--", job]:
            from pipeline.cluster.status import status

            print(status(job, shlex.split(queue), time.time()))
        case ["submit", "--queue", queue, "--", *command, script]:
            from pathlib import Path

            from pipeline.cluster.submit import SubmissionError, submit

            try:
                print(submit(command, shlex.split(queue), Path(script)))
            except SubmissionError as error:
                raise SystemExit(str(error)) from None
        case _:
            raise SystemExit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
