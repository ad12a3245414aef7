"""What a claim is: a statement of a paper, and a rule that judges it by the facts of figures."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from pipeline.claims.findings import Finding, UntestedError, attempt

Facts = Mapping[str, Any]
"""The facts of one figure, as its ``measure`` has returned them."""

Rule = Callable[..., Finding]
"""From the facts of the claim's own figure, and of those in ``also``, to a finding."""


@dataclass(frozen=True)
class Claim:
    """A statement that facts can speak against; the rule's docstring is what readers see.

    ``reported`` is the paper's number, ``unit`` what the estimate is. ``source`` is empty for the paper
    in whose folder the claim stands, ``figures`` for the figure in whose room it does. ``refuted`` is
    the hypothesis under which the statement is wrong, ``untested`` when the facts cannot tell.
    ``since`` is the day of the rule and its limits, ``changes`` what was changed after a run, by day.
    ``of_a_change`` says that it wants an effect, so that it is false wherever nothing has one, and
    ``not_simulated`` why its intervals cannot be tested by simulated tables. ``within`` is the key of
    the part of its own figure's facts that it is judged on, empty for all of them.
    """

    name: str
    statement: str
    reported: str
    unit: str
    rule: Rule
    source: str = ""
    figures: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    refuted: str = ""
    untested: str = ""
    since: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)
    of_a_change: bool = False
    not_simulated: str = ""
    within: str = ""

    @property
    def explanation(self) -> str:
        """How the verdict is reached, in words."""
        return " ".join((self.rule.__doc__ or "").split())

    def judged(self, own: str, facts: Mapping[str, Facts]) -> Finding:
        """What the facts say; never an error for facts that are missing."""
        return attempt(self._judge, own, facts)

    def _judge(self, own: str, facts: Mapping[str, Facts]) -> Finding:
        needed = [own, *self.also]
        missing = [name for name in needed if name not in facts]
        if missing:
            raise UntestedError(f"there are no facts of {', '.join(missing)}")
        try:
            own_part = {own: facts[own][self.within]} if self.within else {}
            return self.rule(*({**facts, **own_part}[name] for name in needed))
        except KeyError as error:
            raise UntestedError(f"the facts of {', '.join(needed)} lack {error}") from None


def claim(
    name: str,
    statement: str,
    *,
    reported: str = "no number",
    unit: str = "",
    source: str = "",
    figures: Iterable[str] = (),
    also: Iterable[str] = (),
    refuted: str = "",
    untested: str = "",
    since: str = "",
    changes: Mapping[str, str] | None = None,
    of_a_change: bool = False,
    not_simulated: str = "",
) -> Callable[[Rule], Claim]:
    """Make a claim of a function of facts.

    Parameters
    ----------
    name
        C1, N2 and the like: a letter and a number, which give the order in the table.
    statement
        What is claimed, as a sentence without its full stop.
    reported
        The paper's number.
    unit
        What the estimate is.
    source
        Whose claim it is, where it is not that of the paper in whose folder it stands.
    figures
        Figures that show it, where it is not only that of the room.
    also
        Other figures whose facts the rule takes behind those of its own.
    refuted
        The hypothesis that speaks against the statement: what would be seen if it were wrong.
    untested
        When the facts cannot tell, as a sentence.
    since
        The day on which the rule and its limits were set, as 2026-11-28.
    changes
        What was changed in the rule after its result had been seen, by day.
    of_a_change
        Whether it wants an effect, and is false where nothing has one.
    not_simulated
        Why simulated tables say nothing about its intervals, as a sentence.
    """

    def of(rule: Rule) -> Claim:
        return Claim(
            name,
            statement,
            reported,
            unit,
            rule,
            source,
            tuple(figures),
            tuple(also),
            refuted,
            untested,
            since,
            dict(changes or {}),
            of_a_change,
            not_simulated,
        )

    return of


@dataclass(frozen=True)
class Again:
    """A claim of another room, judged once more by the same rule on the facts of this room's figure.

    ``claim`` is its name, ``on`` the data or nets of this figure, which stand behind the name in the
    table. ``within`` is the key of the part of the facts that is meant, empty for all of them, and
    ``of_a_change`` is the claim's.
    """

    claim: str
    on: str
    reported: str
    since: str
    changes: Mapping[str, str] = field(default_factory=dict)
    of_a_change: bool = True
    within: str = ""

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return f"{self.claim} {self.on}"

    def of(self, claim: Claim) -> Claim:
        """The claim that is judged here."""
        return replace(
            claim,
            name=self.name,
            reported=self.reported,
            figures=(),
            also=(),
            since=self.since,
            changes=self.changes,
            within=self.within,
        )


def claims_in(module: ModuleType) -> Iterator[Claim | Again]:
    """All claims of a module, and those of others that it judges again."""
    return (value for value in vars(module).values() if isinstance(value, Claim | Again))


def order(name: str) -> tuple[str, int, str]:
    """Where a claim stands in the table: by letter, by number, and by the data it is judged on."""
    first, _, on = name.partition(" ")
    return first[:1], int(first[1:]) if first[1:].isdigit() else 0, on


def import_claims(module: str) -> list[Claim | Again]:
    """All claims of a module, by its name."""
    return sorted(claims_in(importlib.import_module(module)), key=lambda one: order(one.name))
