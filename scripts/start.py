"""Run another command of this folder so that Ctrl-C ends it with one line, even while it imports torch.

python scripts/start.py scripts/train.py --width 16 ...

A training takes over Ctrl-C when it has something to save.
"""

import os
import runpy
import signal
import sys
from itertools import pairwise
from pathlib import Path
from types import FrameType


def _name(arguments: list[str]) -> str:
    """What messages call the job: the value of ``--name``, or else the command."""
    named = dict(pairwise(arguments)).get("--name")
    return named or Path(arguments[0]).stem


def _stop(number: int, frame: FrameType | None) -> None:
    """Half-written outputs have names of their own, which the next call removes."""
    os.write(2, f"{_name(sys.argv)}: stopped; call again to go on\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    del sys.argv[0]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as behind nohup
        signal.signal(signal.SIGINT, _stop)
    # of this project, wherever the working directory is
    sys.argv[0] = str(Path(__file__).resolve().parents[1] / sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
