"""YAML as the project reads it: each key once, and every mistake with its file and line."""

import json
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.errors import LONGEST, ConfigError, quoted, readable
from pipeline.config.layers import leaves

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

DEEPEST = 50
"""How many sections and lists can stand within each other."""

LONGEST_NUMBER = 10_000
"""How many bits a whole number can have."""

MOST = 100_000
"""How many values a file can have, those that aliases repeat included."""

_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""What constructors of YAML raise for a tag or a date that does not fit its text."""


class _Loader(_Base):
    """Refuses a key that a section has twice, and remembers the line that it has come to."""

    line = 0

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        self.line = node.start_mark.line + 1
        return super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise _StatedTwiceError(key.value, lines[key.value], line)
                lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


class _StatedTwiceError(Exception):
    """A section has a key twice."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(
            f"{readable(key)}: is stated twice, first in line {first}, and only one can count; "
            "remove one"
        )
        self.line = second


_RUNS_CODE = "__use_yte__"
"""A key that makes a configuration file a program, which Snakemake then runs unasked."""


def read_mapping(path: Path, name: str) -> dict[Any, Any]:
    """The content of a file of keys and values, which is called ``name`` in messages.

    Raises :class:`ConfigError`, with the line where there is one.
    """
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        problem = f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigError([f"{name}, line {line}: {problem}"]) from None
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; make it a file that can"
        raise ConfigError([f"{name}: {problem}"]) from None
    content = _parsed_json(text, name) or _parsed(text, name)
    if not isinstance(content, dict):
        raise ConfigError([f"{name}: must be a mapping of keys to values; write KEY: value"])
    if _RUNS_CODE in content:
        problem = "would have Snakemake run the Python in the file; write values, and remove it"
        raise ConfigError([f"{name}: {_RUNS_CODE}: {problem}"])
    check_size(content, name)
    return content


def check_stated_once(content: Mapping[Any, Any], name: str) -> None:
    """Raise :class:`ConfigError` for what a file states with dots and nested, or in two places."""
    paths = Counter(path for path, _ in leaves(content))
    twice = [path for path, times in paths.items() if times > 1]
    if twice:
        raise ConfigError(
            [f"{name}: {path}: is stated twice, nested and with dots; remove one" for path in twice]
        )


def _parsed(text: str, name: str) -> Any:
    if sum(map(text.count, "[{-:?")) > 10 * DEEPEST:
        _check_depth(text, name)
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise _no_yaml(error, name) from None
    except _StatedTwiceError as error:
        raise ConfigError([f"{name}, line {error.line}: {error}"]) from None
    except UNREADABLE as error:
        line = "" if loader is None else f", line {loader.line}"
        words = readable(" ".join(str(error).split()))
        problem = f"has a value that cannot be read ({words}); correct it, or quote it as a text"
        raise ConfigError([f"{name}{line}: {problem}"]) from None
    finally:
        if loader is not None:
            loader.dispose()


def _parsed_json(text: str, name: str) -> Any:
    """The content of JSON, which need not be YAML; None of anything else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, name))
    except ConfigError:
        raise
    except UNREADABLE:
        return None


def _once(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1:
            raise ConfigError([f"{name}: {readable(key)}: is stated twice; remove one"])
    return dict(pairs)


def _check_depth(text: str, name: str) -> None:
    """Before anything recurses, as libyaml does without a limit until the stack is full."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Base):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEEPEST:
                line = event.start_mark.line + 1
                raise ConfigError([f"{name}, line {line}: {_TOO_DEEP}"])
    except yaml.YAMLError as error:
        raise _no_yaml(error, name) from None


_TOO_DEEP = f"more than {DEEPEST} sections or lists stand within each other; nest them less"


def _no_yaml(error: yaml.YAMLError, name: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = "" if mark is None else f", line {mark.line + 1}"
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    words = readable(" ".join(f"{said} {context or ''}".split()))
    advice = "indent with spaces, close what is opened, and quote texts that have : or #"
    return ConfigError([f"{name}{line}: is no YAML: {words}; {advice}"])


def check_size(content: Any, name: str) -> None:
    """Raise :class:`ConfigError` for what aliases make endless, depth, and keys that are no texts.

    Truth values and numbers will do as keys, which YAML makes of texts such as ``on`` and ``1``.
    """
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(content, ())]
    seen = 0
    while waiting:
        value, path = waiting.pop()
        seen += 1
        if is_endless(value):
            place = readable(".".join(map(str, path)))
            raise ConfigError([f"{name}: {place}: {quoted(value)} is out of range; write a smaller one"])
        if len(path) >= DEEPEST:
            raise ConfigError([f"{name}: {_TOO_DEEP}"])
        if seen > MOST:
            problem = f"has more than {MOST} values; shorten its lists, or repeat less by aliases"
            raise ConfigError([f"{name}: {problem}"])
        if isinstance(value, Mapping):
            for key in value:
                if (
                    not isinstance(key, str | int | float)
                    or is_endless(key)
                    or len(quoted(key)) >= LONGEST
                ):
                    raise ConfigError([f"{name}: {quoted(key)} is no name of a setting; correct it"])
            waiting += [(part, (*path, key)) for key, part in value.items()]
        elif isinstance(value, list | tuple | set):
            waiting += [(part, (*path, place)) for place, part in enumerate(value)]


def is_endless(value: Any) -> bool:
    """Whether it is a whole number of more digits than Python writes."""
    return isinstance(value, int) and value.bit_length() > LONGEST_NUMBER
