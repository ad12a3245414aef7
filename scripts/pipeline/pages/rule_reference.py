"""Generates docs/rules.md, the table of what is known of each operator, from the registry.

python -m pipeline.pages.rule_reference
"""

from collections.abc import Mapping
from pathlib import Path

import lipbounds.layers  # noqa: F401  registers the rules of the project's own layers
from lipbounds.operators.table import MODULES, OPERATORS, Operator
from pipeline.provenance.files import write_text

PAGE = Path(__file__).resolve().parents[3] / "docs" / "rules.md"

_INTRODUCTION = """\
# Operators

Generated from the registry by `make docs`; do not edit.

What `upper_bound` knows of each operator in the graph that torch.export records of a model. Modules,
functions and methods that compute the same are the same operator, and those that are not listed are
broken up into others where torch can. What is left raises `UnknownLayerError`, which names all of it;
[library.md](library.md) shows how to keep a module of your own whole and give it a rule. Affine
operators merge with their neighbours before a norm is taken. All constants are rounded upward.

Several operators that are together one function of each entry, with the same numbers for all entries,
are read as that function: `x * (x > 0)`, `torch.where(x.abs() < 1, x * x / 2, x.abs() - 0.5)`,
`x * torch.sigmoid(x)`, `x - torch.tanh(x)`. Its slopes are enclosed in interval arithmetic on cells of
the line, to about 1e-4, for all float32 numbers and for float64 numbers up to 3e150. Where a comparison
chooses between two expressions, both must have exactly the same value at the place of the choice, in
rational numbers; else the function may jump, and the comparison is refused. Arithmetic with numbers,
minima and maxima, moduli, powers, exp, log, sqrt, sigmoid, tanh, erf, atan and softplus, comparisons,
masks and `where` are read.

A vector times such a function of its own length, along any axes, is read as one function too, with
`ord=2`: `x / (x.norm(dim=-1, keepdim=True) + 1)`, root mean square normalisation written as
`x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)`, layer normalisation as
`(x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True) + eps)`. Its constant is the largest
slope of |f(x)| in |x|, which the same enclosures give.

| operators | constant (2-norm) | source | tightness |
|---|---|---|---|
"""


def reference() -> str:
    """The page in Markdown."""
    operators = "\n".join(_rows({name.removeprefix("aten."): o for name, o in OPERATORS.items()}))
    modules = "\n".join(_rows({kind.__name__: rule for kind, rule in MODULES.items()}))
    header = "| modules | constant (2-norm) | source | tightness |\n|---|---|---|---|\n"
    return f"{_INTRODUCTION}{operators}\n\n## Modules that are kept whole\n\n{header}{modules}\n"


def _rows(known: Mapping[str, Operator]) -> list[str]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, rule in known.items():
        groups.setdefault((rule.constant, rule.source, rule.tightness), []).append(f"`{name}`")
    return [f"| {', '.join(names)} | {' | '.join(map(_cell, key))} |" for key, names in groups.items()]


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")


if __name__ == "__main__":
    write_text(PAGE, reference())
