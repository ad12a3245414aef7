"""The table of all claims: as a frame, in Markdown and as plain text.

python -m pipeline.claims.report [SCALE]   prints results/SCALE/claims.csv
"""

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.claims.claim import Claim, Facts, import_claims, order
from pipeline.claims.findings import Finding
from pipeline.pages.markdown import markdown as markdown_table

ROOT = Path(__file__).resolve().parents[3]

VERDICTS = ("holds", "holds in part", "does not hold", "not tested")

COLUMNS = [
    "claim",
    "source",
    "statement",
    "reported",
    "estimate",
    "low",
    "high",
    "unit",
    "verdict",
    "rule",
    "figure",
    "reason",
]

_INTERVALS = (
    "Numbers in brackets are 95 % intervals, over seeds for trained nets: t intervals, of logarithms "
    "for ratios; for heights of peaks Tukey's simultaneous ones, which know that the peak was searched "
    "for. Places of peaks and rank correlations are resampled, which is too short for four seeds. Each "
    "verdict follows from the rule below its table: the claim holds if the interval lies within the "
    "rule's limits, does not hold if it lies outside, and holds in part if it lies across one. A claim "
    "of several parts holds if all do, does not hold if none does even in part, and else holds in part, "
    "also where a part could not be tested; the number in the table is that of the weakest part, and "
    "all stand behind the rule. Many claims are judged at once, without a correction for their number: "
    "a verdict near its limit is no proof."
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


def claims_frame(sources: Iterable[Source], facts: Mapping[str, Facts]) -> pd.DataFrame:
    """A row per claim: those on trained nets, then those that random instances have judged.

    Raises :class:`ClaimError` for two claims of one name.
    """
    found = [(one, source) for source in sources for one in import_claims(source.module)]
    found.sort(key=lambda pair: order(pair[0].name))
    for (one, source), (other, another) in pairwise(found):
        if one.name == other.name:
            raise ClaimError(
                f"two claims are called {one.name}: in {source.module} and in {another.module}; "
                f"rename one of them (the last one so far is {found[-1][0].name})"
            )
    rows = [_row(one, source, facts) for one, source in found]
    rows += [_judged(row, name) for name, own in facts.items() for row in own.get("verdicts", [])]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(claim: Claim, source: Source, facts: Mapping[str, Facts]) -> dict[str, Any]:
    finding = claim.judged(source.figure, facts)
    return {
        "claim": claim.name,
        "source": claim.source or source.source,
        "statement": claim.statement,
        "reported": claim.reported,
        "estimate": finding.estimate,
        "low": finding.low,
        "high": finding.high,
        "unit": f"weakest part, {finding.part}" if finding.part else claim.unit,
        "verdict": finding.verdict,
        "rule": claim.explanation,
        "figure": ", ".join(claim.figures or [source.figure or "none"]),
        "reason": finding.reason,
    }


def _judged(row: Mapping[str, Any], figure: str) -> dict[str, Any]:
    """A verdict that the facts of a figure hold already: its study has judged by random instances."""
    tested = row["instances"] > 0
    reason = f"violated by {row['violations']} of {row['instances']} random instances"
    return {
        **{name: row[name] for name in COLUMNS if name in row},
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
    parts += [_INTERVALS, ""]
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
                f"{row['claim']:4}{row['verdict'].upper()}: {row['statement']}.",
                width=100,
                subsequent_indent="    ",
            )
            lines += textwrap.wrap(
                beside_paper(row), 100, initial_indent="    ", subsequent_indent="    "
            )
    note = ["", _SMOKE.replace("**", "")] if scale == "smoke" else []
    return "\n".join([*lines, "", f"Scale {scale}: {totals(claims)}.", *note, ""])


def totals(claims: pd.DataFrame) -> str:
    """How many claims got each verdict."""
    counts = claims["verdict"].value_counts()
    return ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)


def read_claims(path: Path) -> pd.DataFrame:
    """The table of claims, with empty texts where there are none."""
    texts = ["reported", "unit", "rule", "figure", "reason"]
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
                "verdict": f"**{row['verdict']}**",
                "figure": ", ".join(_linked(name, link(name)) for name in figures_of(row["figure"])),
            }
        )
    table = pd.DataFrame(shown)
    return table if table["paper"].any() else table.drop(columns="paper")


def figures_of(entry: str) -> list[str]:
    """The names in the column ``figure``."""
    return entry.split(", ")


def _explained(row: "pd.Series[str]") -> str:
    """The rule of a claim, and what it gave part by part."""
    found = f" *{row['reason']}.*" if _number(row) and row["reason"] else ""
    return f"- **{row['claim']}.** {row['rule']}{found}"


def _linked(name: str, target: str) -> str:
    return f"[{name}]({target})" if target else name


def _number(row: "pd.Series[float]") -> str:
    return Finding("holds", row["estimate"], row["low"], row["high"]).number


def main() -> None:
    """Print the claims of the scale on the command line, or of the one that config.yaml names."""
    default = yaml.safe_load((ROOT / "config.yaml").read_text())["scale"]
    scale = sys.argv[1] if len(sys.argv) > 1 else default
    path = ROOT / "results" / scale / "claims.csv"
    if not path.exists():
        raise SystemExit(f"{path} is missing; make it with: make claims SCALE={scale}")
    print(plain(read_claims(path), scale))


if __name__ == "__main__":
    main()
