"""The table of all claims: as a frame, in Markdown and as plain text.

python -m pipeline.claims.report [--images] [SCALE]   prints results/SCALE/claims.csv
"""

import argparse
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.claims.claim import Again, Claim, Facts, import_claims, order
from pipeline.claims.findings import Finding
from pipeline.claims.simulated import Calibration, Simulated, calibrate
from pipeline.pages.markdown import markdown as markdown_table

ROOT = Path(__file__).resolve().parents[3]

VERDICTS = ("holds", "holds in part", "undecided", "does not hold", "not tested")

THEOREM = "theorem"
"""The kind of a statement that was proved, and that random instances check."""

COLUMNS = [
    "claim",
    "source",
    "kind",
    "statement",
    "reported",
    "estimate",
    "low",
    "high",
    "unit",
    "verdict",
    "coverage",
    "false_holds",
    "rule",
    "refuted",
    "untested",
    "since",
    "changes",
    "not_simulated",
    "figure",
    "reason",
]

_INTERVALS = (
    "Numbers in brackets are 95 % intervals, over seeds for trained nets: t intervals, of logarithms "
    "for ratios; for heights of peaks Tukey's simultaneous ones, which know that the peak was searched "
    "for; for places of peaks those of curves drawn around the mean one. Each verdict follows from the "
    "rule below its table: a number holds if its interval lies within the rule's limits, does not hold "
    "if it lies outside, and is undecided if it lies across one. The parts of a claim are judged at "
    "once by Holm's procedure. A claim holds if all its parts do, does not hold if none that was tested "
    "does, holds in part if at least one does, and is undecided if none does and one at least is "
    "undecided; the number in the table is that of the weakest part, and all stand behind the rule. "
    "Across claims nothing is corrected for their number: of forty that are wrong and at their limit, "
    "one is said to hold."
)

_SIMULATED = (
    "*Coverage* and *false holds* are simulated: the figure's own code measures tables of other seeds, "
    "drawn around the mean of each cell with the covariance of the real seeds, and the rule judges "
    "them. Coverage is the share of intervals with the truth inside, of the part where it is least. "
    "False holds is the share in which a part would be said to hold though its truth were just outside "
    "of the limit, of the part where it is largest; for claims of an effect also the share of tables "
    "without any effect on which the claim holds. Each is good to about two hundredths."
)

_SMOKE = (
    "**Smoke scale: the nets are trained far too briefly to show any effect, and the verdicts mean "
    "nothing.** They check that the rules run."
)

Link = Callable[[str], str]
"""From the name of a figure to where its picture is, or nothing if there is none."""


class ClaimError(RuntimeError):
    """The claims of the rooms do not fit together."""


@dataclass(frozen=True)
class Source:
    """A module with claims: its name, the figure whose facts they judge, and whose they are."""

    module: str
    figure: str
    source: str


def claims_frame(
    sources: Iterable[Source],
    facts: Mapping[str, Facts],
    simulated: Mapping[str, Simulated] | None = None,
) -> pd.DataFrame:
    """A row per claim: those on trained nets, then those that random instances have judged.

    ``simulated`` has the facts of figures on simulated tables, for the coverage and the errors. Raises
    :class:`ClaimError` for two claims of one name.
    """
    found = [(one, source) for source in sources for one in import_claims(source.module)]
    found.sort(key=lambda pair: order(pair[0].name))
    for (one, source), (other, another) in pairwise(found):
        if one.name == other.name:
            raise ClaimError(
                f"two claims are called {one.name}: in {source.module} and in {another.module}; "
                f"rename one of them (the last one so far is {found[-1][0].name})"
            )
    claims = {one.name: one for one, _ in found if isinstance(one, Claim)}
    rows = [_row(_resolved(one, claims), source, facts, simulated or {}) for one, source in found]
    rows += [_judged(row, name) for name, own in facts.items() for row in own.get("verdicts", [])]
    return pd.DataFrame(rows, columns=COLUMNS)


def _resolved(one: Claim | Again, claims: Mapping[str, Claim]) -> Claim:
    if isinstance(one, Claim):
        return one
    if one.claim not in claims:
        raise ClaimError(f"{one.claim} is to be judged again on {one.on}, and there is no such claim")
    return one.of(claims[one.claim])


def _row(
    claim: Claim, source: Source, facts: Mapping[str, Facts], simulated: Mapping[str, Simulated]
) -> dict[str, Any]:
    finding = claim.judged(source.figure, facts)
    trusted = Calibration()
    if not claim.not_simulated:
        trusted = calibrate(claim, source.figure, facts, simulated)
    return {
        "claim": claim.name,
        "source": claim.source or source.source,
        "kind": "",
        "statement": claim.statement,
        "reported": claim.reported,
        "estimate": finding.estimate,
        "low": finding.low,
        "high": finding.high,
        "unit": f"weakest part, {finding.part}" if finding.part else claim.unit,
        "verdict": finding.verdict,
        "coverage": trusted.coverage,
        "false_holds": trusted.false_holds,
        "rule": claim.explanation,
        "refuted": claim.refuted,
        "untested": claim.untested,
        "since": claim.since,
        "changes": " ".join(f"{day}: {text}" for day, text in claim.changes.items()),
        "not_simulated": claim.not_simulated,
        "figure": ", ".join(claim.figures or [source.figure]),
        "reason": finding.reason,
    }


def _judged(row: Mapping[str, Any], figure: str) -> dict[str, Any]:
    """A verdict that the facts of a figure hold already: its study has judged by random instances."""
    tested = row["instances"] > 0
    reason = f"violated by {row['violations']} of {row['instances']} random instances"
    return {
        **dict.fromkeys(_TEXTS, ""),
        **{name: row[name] for name in COLUMNS if name in row},
        "kind": row.get("kind", ""),
        "reported": "",
        "figure": ", ".join(dict.fromkeys([row["figure"], figure])),
        "reason": reason if tested else "needs cvxpy, which is not installed",
    }


def markdown(claims: pd.DataFrame, scale: str, link: Link) -> str:
    """The claims by source, in Markdown, with the number of each verdict."""
    parts = ["# What the papers claim, and whether it holds here", ""]
    parts += [f"Scale: {scale}. {totals(claims)}.", ""]
    if scale == "smoke":
        parts += [_SMOKE, ""]
    parts += [_INTERVALS, "", _SIMULATED, ""]
    for source, rows in claims.groupby("source", sort=False):
        parts += [f"## {source}", "", markdown_table(_shown(rows, link)), ""]
        parts += [_explained(row) for _, row in rows.iterrows()] + [""]
    return "\n".join(parts)


def plain(claims: pd.DataFrame, scale: str) -> str:
    """The claims as text for a terminal."""
    lines = []
    for source, rows in claims.groupby("source", sort=False):
        lines += ["", str(source), ""]
        for _, row in rows.iterrows():
            lines += textwrap.wrap(
                f"{row['claim']:3} {row['verdict'].upper()}: {row['statement']}.",
                width=100,
                subsequent_indent="    ",
            )
            lines += textwrap.wrap(
                beside_paper(row), 100, initial_indent="    ", subsequent_indent="    "
            )
    note = ["", _SMOKE.replace("**", "")] if scale == "smoke" else []
    return "\n".join([*lines, "", f"Scale {scale}: {totals(claims)}.", *note, ""])


def totals(claims: pd.DataFrame) -> str:
    """How many claims got each verdict, theorems apart."""
    proved = claims["kind"] == THEOREM
    counts = claims.loc[~proved, "verdict"].value_counts()
    found = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    if not proved.any():
        return found
    held = int((claims.loc[proved, "verdict"] == "holds").sum())
    theorems = f"of {proved.sum()} theorems {held} hold on all of their random instances"
    return f"{found}, of {(~proved).sum()} empirical claims; {theorems}"


_TEXTS = ("refuted", "untested", "since", "changes", "not_simulated")


def read_claims(path: Path) -> pd.DataFrame:
    """The table of claims, with empty texts where there are none."""
    texts = [*_TEXTS, "reported", "kind", "unit", "rule", "figure", "reason"]
    claims = pd.read_csv(path, dtype=dict.fromkeys(texts, str))
    return claims.fillna(dict.fromkeys(texts, ""))


def beside_paper(row: "pd.Series[str]") -> str:
    """The number of a claim or why there is none, and what the paper has."""
    here = f"here {_number(row)} ({row['unit']})" if _number(row) else str(row["reason"])
    return here + (f"; paper: {row['reported']}" if row["reported"] else "")


def _shown(rows: pd.DataFrame, link: Link) -> pd.DataFrame:
    shown = []
    for _, row in rows.iterrows():
        here = f"{_number(row)}: {row['unit']}" if _number(row) else row["reason"]
        shown.append(
            {
                "": row["claim"],
                "claim": row["statement"],
                "paper": row["reported"],
                "here": here,
                "coverage": _in_digits(row["coverage"]),
                "false holds": _in_digits(row["false_holds"]),
                "verdict": f"**{row['verdict']}**",
                "figure": ", ".join(_linked(name, link(name)) for name in figures_of(row["figure"])),
            }
        )
    table = pd.DataFrame(shown)
    return table.drop(columns=[name for name in _OPTIONAL if not table[name].any()])


_OPTIONAL = ("paper", "coverage", "false holds")


def _in_digits(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.2f}"


def figures_of(entry: str) -> list[str]:
    """The names in the column ``figure``."""
    return entry.split(", ")


def _explained(row: "pd.Series[str]") -> str:
    """The rule of a claim, what it gave part by part, and what speaks for the rule itself."""
    found = f" *{row['reason']}.*" if _number(row) and row["reason"] else ""
    words = {
        "refuted": "Refuted",
        "untested": "Not tested",
        "since": "Rule of",
        "changes": "Changed after its result had been seen",
        "not_simulated": "Not simulated",
    }
    about = [f"{word}: {_sentence(row[name])}" for name, word in words.items() if row[name]]
    return " ".join([f"- **{row['claim']}.** {row['rule']}{found}", *about])


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."


def _linked(name: str, target: str) -> str:
    return f"[{name}]({target})" if target else name


def _number(row: "pd.Series[float]") -> str:
    return Finding("holds", row["estimate"], row["low"], row["high"]).number


def main() -> None:
    """Print the claims of the scale on the command line, or of the one that config.yaml names."""
    default = yaml.safe_load((ROOT / "config.yaml").read_bytes())["scale"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scale", nargs="?", default=default)
    parser.add_argument("--images", action="store_true", help="with the claims on images")
    arguments = parser.parse_args()
    table = "claims_images" if arguments.images else "claims"
    path = ROOT / "results" / arguments.scale / f"{table}.csv"
    if not path.exists():
        target = table.replace("_", "-")
        raise SystemExit(f"{path} is missing; make it with: make {target} SCALE={arguments.scale}")
    print(plain(read_claims(path), arguments.scale))


if __name__ == "__main__":
    main()
