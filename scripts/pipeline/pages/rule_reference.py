"""Generates docs/rules.md, the table of layer rules, from the registry.

python -m pipeline.pages.rule_reference
"""

from pathlib import Path

import lipbounds.layers  # noqa: F401  registers the rules of the project's own layers
from lipbounds.bounds.functions import MODULES, SLOPE_BOUNDED
from lipbounds.bounds.graph import HANDLERS
from lipbounds.bounds.rules import RULES
from pipeline.provenance.files import write_text

PAGE = Path(__file__).resolve().parents[3] / "docs" / "rules.md"

_INTRODUCTION = """\
# Layer rules

Generated from the registry by `make docs`; do not edit.

What `upper_bound` knows of each layer. Linear layers merge with their linear neighbours before a norm
is taken. All constants are rounded upward. A type of torch that is not in this table raises
`UnknownLayerError`; [library.md](library.md) shows how to add one. Modules of your own are looked into.

| layers | constant (2-norm) | source | tightness |
|---|---|---|---|
"""


def reference() -> str:
    """The page in Markdown."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for kind, rule in RULES.items():
        key = (rule.constant, rule.source, rule.tightness)
        groups.setdefault(key, []).append(f"`{kind.__name__}`")
    rows = [f"| {', '.join(names)} | {' | '.join(map(_cell, key))} |" for key, names in groups.items()]
    functions = sorted({_name(f) for f in [*MODULES, *SLOPE_BOUNDED, *HANDLERS]})
    listed = ", ".join(f"`{name}`" for name in functions)
    return f"{_INTRODUCTION}{chr(10).join(rows)}\n\n## Functions and methods\n\n{listed}\n"


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")


def _name(target: object) -> str:
    if isinstance(target, str):
        return f"Tensor.{target}"
    module = str(getattr(target, "__module__", "") or "torch").replace("_operator", "operator")
    module = module.replace("torch._C._nn", "torch.nn.functional")
    return f"{module}.{getattr(target, '__name__', target)}".replace("builtins.", "")


if __name__ == "__main__":
    write_text(PAGE, reference())
