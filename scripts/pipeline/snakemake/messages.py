"""What the terminal shows of Snakemake's messages; its own log in .snakemake/log has them all.

- One line for each job that ends: how many of all are done, and about how long the others take.
- Ctrl-C ends in a few lines: what the jobs say of themselves, and that the same call goes on.
- A job that fails says how it ended, once. One that was killed for memory says what it held and what
  to lower. The others go on, so the last lines name all that have failed, with their logs.
- A mistake of the user's is told without the place in this code at which it was found.
"""

import logging
import re
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from snakemake_interface_logger_plugins.common import LogEvent

from pipeline.config.errors import nearest
from pipeline.jobs.progress import clock
from pipeline.snakemake.run_lock import occupied

_LOGGER = "snakemake.logging"
_FEW = 3
"""After so few jobs the time of one says little about that of another."""

_LONGEST = 300
"""How much of the command of a failed job is shown, in characters; those that draw have all settings."""

_ENDED = re.compile(r"(died with <Signals\.\w+: \d+>|returned non-zero exit status \d+)\.")
_SOME_FAILED = "At least one job did not complete successfully"
_LOCKED = "Directory cannot be locked"
_KILLED = ("died with <Signals.SIGKILL: 9>", "returned non-zero exit status 137")

_MISTAKE = re.compile(r"WorkflowError(?: in [^\n]*)?:\n(.*?)(?:\n  File [^\n]*)*", re.DOTALL)
_IN_INPUT = re.compile(
    r"InputFunctionException in [^\n]*:\nError:\n  WorkflowError:\n(.*?)Wildcards:.*", re.DOTALL
)
_UNKNOWN = re.compile(r"MissingRuleException.*No rule to produce (.*) \(if you use input .*", re.DOTALL)


class Advisor(Protocol):
    """Who knows what a job of some rule holds in memory."""

    def memory_advice(self, rule: str, wildcards: Mapping[str, str], asked_mb: object) -> str:
        """What the job held, what it had asked for, and what to lower."""


class _State:
    interrupted = False


def note_interruption() -> None:
    """Have Ctrl-C noted before it ends the call, unless it is ignored, as it is behind nohup."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    if threading.current_thread() is not threading.main_thread():
        return

    def note(number: int, frame: FrameType | None) -> None:
        _State.interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)


def shape_mistakes(targets: Callable[[], Iterable[str]]) -> None:
    """Have mistakes told in their own words from now on; ``targets`` gives what can be asked for."""
    _shape_terminal(lambda inner: Mistakes(inner, targets))


def shape_messages(advisor: Advisor) -> None:
    """Shape what Snakemake writes to the terminal from now on."""
    _shape_terminal(lambda inner: Messages(inner, advisor))


def _shape_terminal(shape: Callable[[logging.Formatter], logging.Formatter]) -> None:
    for handler in logging.getLogger(_LOGGER).handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setFormatter(shape(handler.formatter or logging.Formatter()))


class Mistakes(logging.Formatter):
    """Snakemake's formatter; of a mistake it leaves the words, and not where it was found."""

    def __init__(self, inner: logging.Formatter, targets: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self._inner, self._targets = inner, targets

    def format(self, record: logging.LogRecord) -> str:
        """The text of a message."""
        text = self._inner.format(record)
        if getattr(record, "event", None) is not LogEvent.ERROR:
            return text
        if unknown := _UNKNOWN.fullmatch(text):
            near = nearest(unknown[1], list(self._targets()))
            return f"Error: nothing makes {unknown[1]}{near}; make without a target lists what there is"
        found = _MISTAKE.fullmatch(text) or _IN_INPUT.fullmatch(text)
        return f"Error: {textwrap.dedent(found[1]).rstrip()}" if found else text


class Messages(logging.Formatter):
    """Snakemake's formatter, with other words for some events; the terminal leaves out empty ones."""

    def __init__(
        self,
        inner: logging.Formatter,
        advisor: Advisor,
        interrupted: Callable[[], bool] = lambda: _State.interrupted,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._inner, self._advisor, self._interrupted, self._now = inner, advisor, interrupted, now
        self._started: float | None = None
        self._kills = _kills_for_memory()
        self._jobs: dict[int, dict[str, Any]] = {}
        self._endings: dict[int | None, str] = {}
        self._failed: dict[int, str] = {}
        self._said = False

    def format(self, record: logging.LogRecord) -> str:
        """The text of a message."""
        event = getattr(record, "event", None)
        if self._interrupted():
            return self._after_interruption(record)
        shapes: dict[Any, Callable[[logging.LogRecord], str]] = {
            LogEvent.JOB_INFO: self._job_starts,
            LogEvent.JOB_FINISHED: self._job_finished,
            LogEvent.JOB_STARTED: lambda _: "",
            LogEvent.PROGRESS: self._progress,
            LogEvent.ERROR: self._error,
            LogEvent.JOB_ERROR: self._job_error,
        }
        if record.getMessage() == "Select jobs to execute...":
            return ""
        return shapes.get(event, self._inner.format)(record)

    def _job_starts(self, record: logging.LogRecord) -> str:
        if self._started is None:
            self._started = self._now()
        about = vars(record)
        kept = ("resources", "wildcards", "rule_msg")
        self._jobs[about["jobid"]] = {key: about.get(key) for key in kept}
        return self._inner.format(record)

    def _job_finished(self, record: logging.LogRecord) -> str:
        """Nothing, for the line of progress follows; it may have failed at an earlier attempt."""
        self._failed.pop(getattr(record, "job_id", -1), None)
        return ""

    def _progress(self, record: logging.LogRecord) -> str:
        about = vars(record)
        done, total = about["done"], about["total"]
        line = self._inner.format(record)
        if self._started is None:
            return line
        passed = self._now() - self._started
        line += f" in {clock(passed)}"
        if _FEW <= done < total:
            line += f", about {clock(passed / done * (total - done))} left if the others take as long"
        return f"{line}; a log of each job is in logs/" if done < total else line

    def _error(self, record: logging.LogRecord) -> str:
        """How a command ended is kept for the message on its job, which the same thread sends next."""
        text = self._inner.format(record)
        if _LOCKED in text:  # Snakemake adds how to unlock, which nobody should while a call runs
            return f"Error: {occupied(Path.cwd())}"
        if _SOME_FAILED in text and self._failed:
            return self._all_failed()
        ended = _ENDED.search(text)
        if ended is None or "CalledProcessError" not in text:
            return text
        self._endings[record.thread] = ended[1]
        return ""

    def _all_failed(self) -> str:
        few = "a job has" if len(self._failed) == 1 else f"{len(self._failed)} jobs have"
        said = [f"Error: {few} failed, and what needs it was not made:", *self._failed.values()]
        return "\n".join(
            [*said, "What is done is kept; once the cause is mended the same call goes on."]
        )

    def _job_error(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        about = vars(record)
        what = self._jobs.get(about["jobid"], {}).get("rule_msg") or about["rule_name"]
        command = about["shellcmd"] or ""
        if len(command) > _LONGEST:
            text = text.replace(command, f"{command[:_LONGEST]} ... (all of it in .snakemake/log)", 1)
        self._failed[about["jobid"]] = "  ".join(["", what, *map(str, about["log"] or ())])
        ended = self._endings.pop(record.thread, None)
        if ended is None:
            return text
        reason = f"the command {ended}"
        if ended in _KILLED:
            reason = self._killed(about)
        return text.replace("message: None", f"message: {reason}", 1)

    def _killed(self, about: Mapping[str, Any]) -> str:
        job = self._jobs.get(about["jobid"], {})
        kills = _kills_for_memory() - self._kills
        why = f"Since this call began the system has killed {kills} for want of memory."
        if not kills:
            why = (
                "Linux does that when memory runs out, but has not counted such a case since this call "
                "began, so somebody may have done it."
            )
        asked = getattr(job.get("resources"), "mem_mb", None)
        advice = self._advisor.memory_advice(about["rule_name"], job.get("wildcards") or {}, asked)
        return f"killed (SIGKILL). {why} {advice}"

    def _after_interruption(self, record: logging.LogRecord) -> str:
        if not self._said:
            self._said = True
            return "Interrupted. Trainings save and stop; the same call goes on from there."
        text = record.getMessage()
        return text if text.startswith("Complete log") else ""


def _kills_for_memory(counters: Path = Path("/proc/vmstat")) -> int:
    """How many processes Linux has killed for want of memory since it started; 0 where it is unknown."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
