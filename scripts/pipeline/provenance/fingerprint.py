"""Identity of code: a digest of files and of everything of ours that they import.

A job depends on the code that it runs and on nothing else. Two digests are equal if the code is, apart
from comments, docstrings, layout, messages to the log, imports for type checkers only, the command
line of a script, and where files lie: the names of our modules are replaced by what they contain, so
a file can move. A module that states ``AFFECTS_RESULTS = False`` (progress, paths, settings, which
enter a job's identity by themselves) is left out with all that it imports, and so are the names that
are imported from it. A package whose
``__init__.py`` only imports is looked through: what is imported from it counts where it is defined.

Parts that are found by folder are imported by name only when they are needed, which no walk over
imports can see. Whoever asks for a digest hands in their files too.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

AFFECTS_RESULTS = False

ROOT = Path(__file__).resolve().parents[2]
"""Modules of ours lie below this folder."""

_EXEMPTION = "AFFECTS_RESULTS"

_ABOUT_DATA = ("TRAINING_POINTS", "TEST_POINTS", "POINT_SHAPE")
"""Constants that settings are checked by and costs reckoned by, and no job reads."""


class ImportCycleError(RuntimeError):
    """Modules of ours import each other in a circle, so that none can be digested before the others."""


class _Import(NamedTuple):
    name: str  # as it was imported, or the module for a plain import
    alias: str
    source: str  # the module
    files: tuple[Path, ...]  # ours; none for a module of others


class _Module(NamedTuple):
    code: str  # without imports
    imports: tuple[ast.Import | ast.ImportFrom, ...]
    exempt: bool
    only_imports: bool


def fingerprint(files: Iterable[Path], root: Path = ROOT) -> str:
    """Sixteen hex digits for ``files`` and the modules below ``root`` that they import.

    Raises :class:`ImportCycleError`.
    """
    digests = sorted(_digest(file.resolve(), root.resolve(), ()) for file in set(files))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def reachable(files: Iterable[Path], root: Path = ROOT) -> set[Path]:
    """The files that :func:`fingerprint` covers."""
    found: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        path = waiting.pop()
        if path not in found and not _module(path).exempt:
            found.add(path)
            waiting.extend(f for one in _imports(path, root.resolve()) for f in one.files)
    return found


def forget() -> None:
    """Read files anew on the next call."""
    _module.cache_clear()
    _imports.cache_clear()
    _known.clear()


_known: dict[tuple[Path, Path], str] = {}


def _digest(path: Path, root: Path, stack: tuple[Path, ...]) -> str:
    if (path, root) in _known:
        return _known[path, root]
    if path in stack:
        circle = [*stack[stack.index(path) :], path]
        names = " -> ".join(str(p.relative_to(root)) for p in circle)
        raise ImportCycleError(f"modules import each other in a circle: {names}; move what they share")
    parts = [_module(path).code]
    for one in _imports(path, root):
        kept = [file for file in one.files if not _module(file).exempt]
        if one.files and not kept:
            continue
        if one.files or _file_of(one.source, root) is not None:
            below = [_digest(file, root, (*stack, path)) for file in kept]
            parts.append(f"{one.name} {one.alias} {' '.join(below)}")
        else:
            parts.append(f"{one.name} {one.alias} {one.source}")
    code, *imports = parts
    _known[path, root] = hashlib.sha256("\n".join([code, *sorted(imports)]).encode()).hexdigest()
    return _known[path, root]


@cache
def _module(path: Path) -> _Module:
    return _parsed(path.read_bytes())


@cache
def _parsed(source: bytes) -> _Module:
    tree = ast.parse(source)
    exempt = any(_is_exempt(node) for node in tree.body)
    stripper = _Stripper()
    tree = stripper.visit(tree)
    code = ast.unparse(tree)
    return _Module(code, tuple(stripper.imports), exempt, not _says_anything(tree))


@cache
def _imports(path: Path, root: Path) -> tuple[_Import, ...]:
    return tuple(
        one._replace(files=tuple(file for file in one.files if not _is_around(file, path)))
        for node in _module(path).imports
        for one in _targets(node, root)
    )


def _is_around(file: Path, path: Path) -> bool:
    """Whether ``file`` is that of a package in which ``path`` lies: it has run before."""
    return file.name == "__init__.py" and file.parent in path.parents


class _Stripper(ast.NodeTransformer):
    """Takes out what cannot change a result, and imports, which it collects."""

    def __init__(self) -> None:
        self.imports: list[ast.Import | ast.ImportFrom] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.imports.append(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports.append(node)

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        call = node.value
        if isinstance(call, ast.Constant):
            return None  # a docstring, or one of a constant
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            where = call.func.value
            if isinstance(where, ast.Name) and where.id == "LOG":
                return None
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if ast.unparse(node.targets[0]) in _ABOUT_DATA else self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Settings enter a job's identity by their values: of their classes only methods count."""
        if {ast.unparse(base) for base in node.bases} & _SETTINGS:
            node.body = [part for part in node.body if not _is_field_or_validator(part)]
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        condition = ast.unparse(node.test)
        if condition in ("TYPE_CHECKING", "typing.TYPE_CHECKING") and not node.orelse:
            return None
        if condition == "__name__ == '__main__'":
            return None
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Into blocks alone, for no expression holds a statement."""
        for name in _BLOCKS:
            parts = getattr(node, name, None)
            if isinstance(parts, list):
                kept = [found for part in parts if (found := self.visit(part)) is not None]
                empty = name == "body" and not kept and not isinstance(node, ast.Module)
                setattr(node, name, [ast.Pass()] if empty else kept)
        return node


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements hold others."""


_SETTINGS = {"BaseModel", "Family", "Section", "Settings"}


def _is_field_or_validator(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return any("validator" in ast.unparse(one) for one in node.decorator_list)
    return isinstance(node, ast.AnnAssign)


def _says_anything(tree: ast.Module) -> bool:
    return any(not _is_list_of_names(node) for node in tree.body)


def _is_list_of_names(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _is_exempt(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and node.value.value is False
        and any(isinstance(t, ast.Name) and t.id == _EXEMPTION for t in node.targets)
    )


def _targets(node: ast.Import | ast.ImportFrom, root: Path) -> Iterator[_Import]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            files = tuple(_packages_and(alias.name, root))
            yield _Import(alias.name, alias.asname or "", alias.name, files)
        elif node.module and node.level == 0:
            files = tuple(_defining(node.module, alias.name, root))
            submodule = _file_of(f"{node.module}.{alias.name}", root) is not None
            name = "" if submodule else alias.name  # a module counts by what is in it
            yield _Import(name, alias.asname or alias.name, node.module, files)


def _defining(module: str, name: str, root: Path) -> Iterator[Path]:
    """The files behind ``from module import name``."""
    submodule = f"{module}.{name}"
    if _file_of(submodule, root) is not None:
        yield from _packages_and(submodule, root)
        return
    file = _file_of(module, root)
    if file is None:
        return
    if file.name == "__init__.py" and _module(file).only_imports:
        for one in _imports(file, root):
            if one.alias == name or (not one.alias and one.name == name):
                yield from one.files
                return
    yield from _packages_and(module, root)


def _packages_and(module: str, root: Path) -> Iterator[Path]:
    """The file of a module, and the packages around it that do more than import."""
    if _file_of(module, root) is None:
        return
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        file = _file_of(".".join(parts[:depth]), root)
        if file is not None and (depth == len(parts) or not _module(file).only_imports):
            yield file


def _file_of(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
