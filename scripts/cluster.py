"""Hand a job over to a scheduler, or say what has become of one; the profiles for clusters call it.

cluster.py submit --queue COMMAND -- SUBMIT... SCRIPT    prints the number of the job
cluster.py status --queue COMMAND -- NUMBER              prints running, success or failed

COMMAND lists the jobs of the user. No argparse and no pathlib, which take longer than the rest.
"""

import shlex
import sys
import time


def main(words: list[str]) -> None:
    """Do what the words say."""
    match words:
        case ["status", "--queue", queue, "--", job]:
            from pipeline.cluster.status import told

            print(told(job, shlex.split(queue), time.time()))
        case ["submit", "--queue", queue, "--", *command, script]:
            _submit(command, shlex.split(queue), script)
        case _:
            raise SystemExit(f"cluster.py: not called as it has to be\n{__doc__}")


def _submit(command: list[str], queue: list[str], script: str) -> None:
    from pathlib import Path

    from pipeline.cluster.submit import SubmissionError, submit

    try:
        print(submit(command, queue, Path(script)))
    except SubmissionError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(sys.argv[1:])
