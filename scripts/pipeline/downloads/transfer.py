"""One file from one address: resumed after a cut, restarted where that is not possible, and checked."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ReadTimeoutError

from nets.dataset import PublishedFile
from pipeline.downloads.records import checksum_of
from pipeline.jobs.progress import LOG, Timer, clock
from pipeline.provenance.files import OutputError, space_left

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

_BLOCK = 1 << 14
_TRY_AGAIN_LATER = (408, 425, 429, 500, 502, 503, 504)


class TransferError(RuntimeError):
    """An address does not give the file; the message says what came back."""


class _CutError(TransferError):
    """It may give the file, or the rest of it, if it is asked again."""


@dataclass(frozen=True)
class Limits:
    """How long to wait for a server, in seconds, and how often to ask it."""

    timeout: float = 30.0
    tries: int = 3
    pause: float = 1.0
    progress_every: float = 5.0


def transfer(address: str, file: PublishedFile, part: Path, limits: Limits) -> None:
    """Have all of ``file`` in ``part``, which goes on from what is in it. Its checksum is right then.

    Raises :class:`TransferError`; what has come before a cut stays in ``part``.
    """
    tries = 0
    while True:
        before = _size(part)
        try:
            _ask(address, file, part, limits)
        except _CutError as error:
            tries = 0 if _size(part) - before > (file.size or 0) // 10 + _BLOCK else tries + 1
            if tries >= limits.tries:
                raise TransferError(f"{error} ({_times(tries)})") from error
            LOG.info("%s: %s; asking again", shown(address), error)
            time.sleep(limits.pause * tries)
            continue
        found = checksum_of(part, file.checksum)
        if found == file.checksum:
            return
        part.unlink()
        if not before:
            raise TransferError(f"wrong checksum: got {found}, expected {file.checksum}")
        LOG.info("%s: what was resumed has a wrong checksum; starting again", file.name)


def shown(address: str) -> str:
    """An address without a password."""
    split = urlsplit(address)
    return urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2]))


def _ask(address: str, file: PublishedFile, part: Path, limits: Limits) -> None:
    """Ask once, for what is missing in ``part``."""
    start = _size(part)
    if file.size is not None and start > file.size:
        part.unlink()
        start = 0
    if start == file.size:
        return
    # of a compressed transfer neither the length nor a range would be that of the file
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with (
        _explained(part, file, limits),
        requests.get(address, headers=headers, stream=True, timeout=limits.timeout) as response,
    ):
        start = _accepted(response, start, part)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else file.size
        _receive(response, file, part, start, total, limits)


def _accepted(response: requests.Response, start: int, part: Path) -> int:
    """Where the bytes that come begin. Raises :class:`TransferError` where none of the file come."""
    status = f"HTTP {response.status_code} {response.reason or ''}".strip()
    if response.status_code in _TRY_AGAIN_LATER:
        raise _CutError(status)
    if response.status_code == 416:  # there is nothing behind the end of `part`
        part.unlink(missing_ok=True)
        raise _CutError(status)
    if response.status_code == 206:
        if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            return start
        part.unlink(missing_ok=True)
        raise _CutError(f"{status} with another range than the one asked for")
    if response.status_code != 200:
        raise TransferError(status)
    return 0


def _receive(
    response: requests.Response,
    file: PublishedFile,
    part: Path,
    start: int,
    total: int | None,
    limits: Limits,
) -> None:
    blocks = response.raw.stream(_BLOCK, decode_content=False)
    first = next(blocks, b"")
    if start == 0 and _is_page(response, first):
        raise TransferError(f"an HTML page where a file{_of(file.size)} was expected")
    if file.size is not None and total is not None and total != file.size:
        raise TransferError(f"a file of {total:,} bytes where one of {file.size:,} was expected")
    progress = _Progress(file, start, limits.progress_every)
    done = start
    with part.open("r+b" if start else "wb") as output:
        output.seek(start)
        for block in _chain(first, blocks):
            done += len(block)
            if file.size is not None and done > file.size:
                raise TransferError(f"more than the {file.size:,} bytes that were expected")
            output.write(block)
            progress.report(done)
        output.flush()
        os.fsync(output.fileno())
    if total is not None and done < total:
        raise _CutError(f"cut after {done:,} of {total:,} bytes")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _is_page(response: requests.Response, first: bytes) -> bool:
    beginning = first[:64].lstrip().lower()
    return beginning.startswith((b"<!doctype html", b"<html")) or response.headers.get(
        "Content-Type", ""
    ).startswith("text/html")


@contextlib.contextmanager
def _explained(part: Path, file: PublishedFile, limits: Limits) -> Iterator[None]:
    """Turn what the libraries and the system say into words."""
    try:
        yield
    except (requests.RequestException, HTTPError) as error:
        raise _in_words(error, part, file, limits) from error
    except OSError as error:
        raise OutputError(f"cannot write {part}: {error.strerror}{space_left(part)}") from error


def _in_words(error: Exception, part: Path, file: PublishedFile, limits: Limits) -> TransferError:
    came = f"after {_size(part):,}{_of(file.size, ' of')}"
    inner = {type(one) for one in _causes(error)}
    if isinstance(error, requests.ConnectTimeout):
        return TransferError(f"no connection within {limits.timeout:g} s")
    if isinstance(error, requests.ReadTimeout) or ReadTimeoutError in inner:
        words = f"time-out: nothing came for {limits.timeout:g} s, {came}"
        return _CutError(words) if _size(part) else TransferError(words)
    if NameResolutionError in inner:
        return TransferError("the name of the host is not known: no route to the internet?")
    if ConnectionRefusedError in inner:
        return TransferError("the connection was refused")
    if isinstance(error, requests.exceptions.SSLError):
        return TransferError(f"no secure connection: {error}")
    if NewConnectionError in inner:
        return TransferError(f"no connection: {_last_words(error)}")
    if isinstance(error, requests.TooManyRedirects):
        return TransferError("redirected in a circle")
    if isinstance(error, (requests.ConnectionError, HTTPError)):
        return _CutError(f"the connection was cut {came} ({_last_words(error)})")
    return TransferError(f"{type(error).__name__}: {error}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from or holds."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            further = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
            waiting += [e for e in further if isinstance(e, BaseException)]


def _last_words(error: BaseException) -> str:
    *_, last = _causes(error)
    return str(last) or type(last).__name__


class _Progress:
    """A bar, bytes, speed and the time left, every so many seconds."""

    _WIDTH = 24

    def __init__(self, file: PublishedFile, start: int, every: float) -> None:
        self._file, self._start = file, start
        self._timer = Timer(every)
        self._began = time.monotonic()

    def report(self, done: int) -> None:
        """Say how much there is, if it is time to."""
        if not self._timer.due():
            return
        speed = (done - self._start) / (time.monotonic() - self._began)
        size = self._file.size
        if size is None:
            LOG.info("%s  %s  %s/s", self._file.name, in_bytes(done), in_bytes(speed))
            return
        full = self._WIDTH * done // size
        LOG.info(
            "%s  [%s%s]  %s of %s  %s/s  %s left",
            self._file.name,
            "#" * full,
            "." * (self._WIDTH - full),
            in_bytes(done),
            in_bytes(size),
            in_bytes(speed),
            clock((size - done) / speed) if speed else "?",
        )


def in_bytes(number: float) -> str:
    """Bytes, kB or MB."""
    for unit, size, digits in (("MB", 1e6, 1), ("kB", 1e3, 1)):
        if number >= size:
            return f"{number / size:.{digits}f} {unit}"
    return f"{number:.0f} bytes"


def _of(size: int | None, word: str = " of") -> str:
    return "" if size is None else f"{word} {in_bytes(size)}"


def _times(number: int) -> str:
    return "asked once" if number == 1 else f"asked {number} times"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
