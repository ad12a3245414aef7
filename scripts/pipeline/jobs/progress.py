"""What a person who waits sees: a line per training every few seconds, and the same in the log."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nets.training.run import TrainingRun

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

LOG = logging.getLogger("pipeline")

_LONGEST_NAME = 54
_job = ""


def name_job(name: str) -> None:
    """Say what messages are to call this process; a name too long for a line is cut in the middle."""
    global _job
    half = (_LONGEST_NAME - 1) // 2
    _job = name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def job_name() -> str:
    """What this process is called; empty where nobody has said."""
    return _job


def start_logging(log: Path | None) -> None:
    """Messages go to ``log`` and to the terminal; in CI only warnings go to the terminal."""
    LOG.setLevel(logging.INFO)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.setLevel(logging.WARNING if os.environ.get("CI") else logging.INFO)
    LOG.addHandler(terminal)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        LOG.addHandler(file)


class Timer:
    """Says every so many seconds that it is time."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the interval has passed since the last time this was true."""
        now = time.monotonic()
        if now - self._last < self._interval:
            return False
        self._last = now
        return True


class Progress:
    """Emits a line of progress at most every ``interval`` seconds.

    A training may stop before its last epoch, so the time left is an upper limit. The name of the
    job, if it has one, stands in the place of ``title``.
    """

    def __init__(self, title: str, interval: float, first_epoch: int) -> None:
        self._title = job_name() or title
        self._timer = Timer(interval)
        self._started = time.monotonic()
        self._first_epoch = first_epoch

    def report(self, run: "TrainingRun") -> None:
        """Say where the training is, if it is time to."""
        if not self._timer.due() or run.last is None:
            return
        speed = (run.epoch - self._first_epoch) / (time.monotonic() - self._started)
        left = (run.settings.max_epochs - run.epoch) / speed
        LOG.info(
            "%s  epoch %d/%d, loss %.4f, gradient %.4f, at most %s left",
            self._title,
            run.epoch,
            run.settings.max_epochs,
            _mean([run.last.mean_loss(net) for net in range(len(run.last.loss))]),
            _mean(run.last.gradient_norm),
            clock(left),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
