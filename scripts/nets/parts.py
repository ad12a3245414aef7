"""Parts are found by folder: a data set, a family, a loss is one file, and no list names it.

A part with settings has a class ``Settings`` for them. The workflow checks settings on every call
and must not wait for torch, so :func:`settings_of` reads that class out of the file without running
the rest of it.
"""

import ast
import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from nets.settings import Section

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

ROOT = Path(__file__).resolve().parent

FOLDERS = {
    "data": "data",
    "noise": "noise",
    "model": "models",
    "loss": "training/losses",
    "schedule": "training/schedules",
    "optimizer": "training/optimisers",
    "augmentation": "training/augmentations",
    "penalty": "training/penalties",
}
"""Where the parts of each kind lie."""

_LIGHT = ("typing", "pydantic", "math", "nets.settings", "collections.abc", "enum")
"""What the settings of a part may be made of."""


class UnknownPartError(ValueError):
    """There is no part of that name; the message lists those that there are."""


def names(kind: str) -> list[str]:
    """The parts of a kind, by name."""
    return sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("[a-z]*.py"))


def module_name(kind: str, name: str) -> str:
    """The module that holds a part. Raises :class:`UnknownPartError`."""
    if name not in names(kind):
        raise UnknownPartError(f"there is no {kind} {name!r}; known: {', '.join(names(kind))}")
    return f"nets.{FOLDERS[kind].replace('/', '.')}.{name}"


def load(kind: str, name: str) -> ModuleType:
    """The module of a part, imported. Raises :class:`UnknownPartError`."""
    return importlib.import_module(module_name(kind, name))


def made(kind: str, settings: Section) -> Any:
    """What stands under the part's name in a set-up, as the ``Settings`` of its own file.

    Those that :func:`settings_of` returns can be checked, but not run.
    """
    name: str = settings.name  # type: ignore[attr-defined]
    return load(kind, name).Settings(**settings.model_dump(exclude={"name"}))


def settings_of(kind: str, name: str) -> type[Section]:
    """The settings of a part. Raises :class:`UnknownPartError`."""
    module_name(kind, name)
    return read_settings(ROOT / FOLDERS[kind] / f"{name}.py")


@cache
def stated(kind: str, name: str, constant: str) -> Any:
    """A constant at the top level of a part's file, which is not run; None if it is not stated."""
    path = ROOT / FOLDERS[kind] / f"{name}.py"
    if not path.exists():
        return None
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == constant:
            return ast.literal_eval(node.value)
    return None


@cache
def read_settings(path: Path) -> type[Section]:
    """The class ``Settings`` of a file whose imports are not run.

    Of the file are kept: imports from ``pydantic``, ``typing``, ``nets.settings`` and the like, and
    classes derived from ``Section``, with fields and methods. What a method needs besides is there
    only where the file itself is imported, see :func:`made`.

    Raises
    ------
    SyntaxError, NameError
        Where the file cannot be read, or its settings need something that is not kept.
    LookupError
        Where it has no class ``Settings``.
    """
    tree = ast.parse(path.read_bytes(), filename=str(path))
    derived = {"Section", "Family", "BaseModel"}
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in _LIGHT:
            kept.append(node)
        elif isinstance(node, ast.ClassDef) and derived & {ast.unparse(base) for base in node.bases}:
            derived.add(node.name)
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    _forget_types(part)
            kept.append(node)
    name = f"settings read from {path}"
    module = ModuleType(name)
    sys.modules[name] = module
    code = compile(ast.Module(kept, tree.type_ignores), str(path), "exec", dont_inherit=True)
    namespace: dict[str, Any] = vars(module)
    exec(code, namespace)
    found = namespace.get("Settings")
    if not isinstance(found, type) or found.__module__ != name:
        raise LookupError(f"{path} has no class Settings")
    return found


def _forget_types(method: ast.FunctionDef) -> None:
    """Annotations are evaluated where a method is defined, and those of torch are not there."""
    method.returns = None
    given = method.args
    for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs):
        argument.annotation = None
