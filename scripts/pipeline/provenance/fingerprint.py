"""Fingerprint of the code behind a result: a script and every module of ours that it imports.

Snakemake sees the files named in a rule and not what they import. The fingerprint covers imports
of imports, ignores comments, docstrings and layout, and is passed to each rule as a parameter.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_EXEMPTION = "AFFECTS_RESULTS"


def fingerprint(script: Path) -> str:
    """Sixteen hex digits for ``script`` and the modules below its folder that it imports.

    A module that states ``AFFECTS_RESULTS = False`` (progress display, say) is left out, so that
    editing it rebuilds nothing.
    """
    digest = hashlib.sha256()
    root = script.resolve().parent
    for path in sorted(_reachable(script.resolve(), root)):
        code = _normalised(path)
        if code is not None:
            digest.update(f"{path.relative_to(root)}\n{code}\n".encode())
    return digest.hexdigest()[:16]


def _reachable(script: Path, root: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported(path, root))
    return found


@cache
def _imported(path: Path, root: Path) -> tuple[Path, ...]:
    names: set[str] = set()
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(file for name in names for file in _module_files(name, root))


def _module_files(name: str, root: Path) -> Iterator[Path]:
    """The file of a module and the ``__init__.py`` of the packages around it, if they are ours."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:depth])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                yield candidate


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


@cache
def _normalised(path: Path) -> str | None:
    tree = _parse(path)  # imports are read off it too, which docstrings do not touch
    for node in ast.walk(tree):
        if _is_exempt(node):
            return None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    return ast.unparse(tree)


def _is_exempt(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and node.value.value is False
        and any(isinstance(t, ast.Name) and t.id == _EXEMPTION for t in node.targets)
    )


def _drop_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        node.body = node.body[1:] or [ast.Pass()]
