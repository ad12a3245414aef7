"""Mistakes in settings, in words: what is wrong, in which file and where, and how to mend it."""

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.layers import Location, Node, origin_of

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        self.problems = [readable(problem) for problem in problems]
        super().__init__("\n".join([f"{count} in the configuration:", *self.problems]))


def readable(text: str) -> str:
    """``text`` in one line that any terminal can show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(given: Any) -> str:
    """A value as it stands in messages."""
    if isinstance(given, tuple):
        given = _as_lists(given)
    try:
        text = repr(given)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes
        text = f"a number of {given.bit_length()} bits" if isinstance(given, int) else "this value"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _as_lists(value: Any) -> Any:
    return [_as_lists(part) for part in value] if isinstance(value, tuple) else value


LONGEST = 100
"""How much of a value a message has, in characters."""


class Mistakes:
    """Collects mistakes; one that several set-ups inherit is told once."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._rules: set[tuple[Location, str]] = set()

    def add(self, problem: str) -> None:
        """Note a mistake, unless it is noted already."""
        if problem not in self.problems:
            self.problems.append(problem)

    def add_all(
        self,
        error: ValidationError,
        tree: Node,
        model: type[BaseModel],
        *,
        own_only: bool = False,
        also_valid: Sequence[str] = (),
    ) -> None:
        """Note what is wrong with ``tree``, which ``model`` does not accept.

        With ``own_only``, what may only follow from mistakes further below is left out: keys that are
        missing, and rules between keys. ``also_valid`` are keys that stand beside those of the model.
        """
        details = error.errors()
        if own_only:
            details = [d for d in details if d["type"] not in ("missing", "value_error")]
        misnamed = {d["loc"][:-1] for d in details if d["loc"][-1:] == ("name",)}
        for detail in details:
            location = detail["loc"]
            if detail["type"] == "too_short" and _has_mistaken_items(location, details):
                continue
            if detail["type"] == "missing" and location[:-1] in misnamed:
                continue  # of a section of another kind
            words = what_and_fix(detail, model, also_valid if len(location) == 1 else ())
            if detail["type"] == "value_error":  # a rule between keys: the same one in each set-up
                if (location, words) in self._rules:
                    continue
                self._rules.add((location, words))
            origin = origin_of(tree, location, missing=detail["type"] == "missing")
            self.add(f"{origin}: {words}")

    def raise_any(self) -> None:
        """Raise :class:`ConfigError` if there are any."""
        if self.problems:
            raise ConfigError(self.problems)


def _has_mistaken_items(location: Location, details: list[ErrorDetails]) -> bool:
    return any(other["loc"][:-1] == location for other in details)


def what_and_fix(detail: ErrorDetails, model: type[BaseModel], also_valid: Sequence[str] = ()) -> str:
    """One mistake in words."""
    given = detail.get("input")
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            key = str(detail["loc"][-1])
            valid = [*valid_keys(model, detail["loc"][:-1]), *also_valid]
            return (
                f"unknown key{nearest(key, valid)}; valid here: {', '.join(valid)}; rename or remove it"
            )
        case "missing":
            return "is missing; add it (docs/config.md lists every key)"
        case "literal_error":
            valid = [part.strip(" '") for part in _split_expected(context["expected"])]
            near = nearest(quoted(given).strip("'"), valid)
            return f"{quoted(given)} is not known{near}; use {' or '.join(valid)}"
        case "union_tag_invalid":
            valid = [part.strip(" '") for part in context["expected_tags"].split(",")]
            name = context["tag"]
            return f"name {quoted(name)} is not known{nearest(name, valid)}; use {' or '.join(valid)}"
        case "union_tag_not_found":
            sections = sections_at(model, detail["loc"])
            return f"needs a name; use {' or '.join(name for s in sections for name in _tags(s))}"
        case "value_error":
            return str(context["error"])
        case "tuple_type" | "list_type":
            return f"{quoted(given)} is not a list; write [{_unquoted(given)}]"
        case "string_type":
            return f"{quoted(given)} is not a text; write one, in quotes"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{quoted(given)} is not a section; write keys and values below it"
        case "int_type" | "int_from_float":
            return f"{quoted(given)} is not a whole number; write an integer without quotes or point"
        case "float_type":
            return f"{quoted(given)} is not a number; {_as_a_number(given)}"
        case "bool_type":
            return f"{quoted(given)} is neither true nor false; write one of them, without quotes"
        case "invalid_key":
            return f"key {quoted(given)} is not a text; quote it"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            return f"{quoted(given)} is out of range; {_sentence(detail['msg'])}"
    return f"{quoted(given)}: {_sentence(detail['msg'])}"


def _split_expected(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(",")


def _unquoted(given: Any) -> str:
    return given[:LONGEST] if isinstance(given, str) else quoted(given)


def _as_a_number(given: Any) -> str:
    """How to write the number that is meant."""
    if isinstance(given, int) and not isinstance(given, bool):
        return "it is too large"
    try:
        meant = float(given) if isinstance(given, str) else math.nan
    except ValueError:
        meant = math.nan
    if not math.isfinite(meant):
        return "write one, such as 0.1"
    exponent = " (YAML takes 1e-3, without a point, for a text)" if "e" in given else ""
    return f"write {meant!r} without quotes{exponent}"


def _sentence(message: str) -> str:
    return message.removeprefix("Input ").removeprefix("Value error, ")


def nearest(name: str, valid: list[str]) -> str:
    """The valid name that looks most like ``name``, as an addition to a message."""
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; nearest valid name: {near[0]}" if near else ""


def valid_keys(model: type[BaseModel], location: Location) -> list[str]:
    """Keys allowed at a place, given as the path of pydantic's error."""
    sections = sections_at(model, location)
    return list(dict.fromkeys(key for section in sections for key in section.model_fields))


def sections_at(model: type[BaseModel], location: Location) -> list[type[BaseModel]]:
    """The models that may stand at a place."""
    found = [model]
    for key in location:
        named = [section for section in found if key in _tags(section)]
        if named:
            found = named
            continue
        inner = [
            one
            for section in found
            if key in section.model_fields
            for one in models_in(section.model_fields[str(key)].annotation)
        ]
        found = inner or found
    return found


def _tags(section: type[BaseModel]) -> tuple[str, ...]:
    """What ``name`` has to be in a section that is chosen by it."""
    field = section.model_fields.get("name")
    return () if field is None else get_args(field.annotation)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type: those that may stand there, or in the items of a list."""
    return list(_models_in(annotation))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
