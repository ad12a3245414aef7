"""Damage every kind of result in every way: it is found, named, and made again with the same bytes.

PYTHONPATH=scripts python -m tests.fuzz.damage            the whole matrix, half an hour
PYTHONPATH=scripts python -m tests.fuzz.damage bounds     one kind of file

Prints a line for each case, and ends with 1 if one of them went wrong.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import FIGURE, Project

RUN = (FIGURE, "--cores", "2", "--quiet", "host", "reason", "--config", "scale=smoke")
DATA = "results/data/mnist1d"
ARRAYS = f"{DATA}/arrays.safetensors"
LABELS = "results/labels/mnist1d/pair_swap~42/noise~0/labels.safetensors"
RUNS = "results/smoke/double_descent/noise~0"
NARROW, WIDE = f"{RUNS}/width~16", f"{RUNS}/width~256"
TABLES = "results/smoke/tables"
FACTS = "results/smoke/facts/double_descent.json"


class Kind(NamedTuple):
    """A file, one that is put in its place, and what has to go for it to be read.

    Where nothing has to go, no job reads the file.
    """

    file: str
    other: str
    gone: tuple[str, ...] = ()


KINDS = {
    "arrays": Kind(ARRAYS, LABELS, (f"{NARROW}/bounds.csv",)),
    "labels": Kind(LABELS, ARRAYS, (f"{NARROW}/run.json",)),
    "checkpoints": Kind(
        f"{NARROW}/checkpoints.safetensors",
        f"{WIDE}/checkpoints.safetensors",
        (f"{NARROW}/bounds.csv",),
    ),
    "history": Kind(f"{NARROW}/history.csv", f"{WIDE}/history.csv", (f"{TABLES}/double_descent.csv",)),
    "summary": Kind(f"{NARROW}/run.json", f"{WIDE}/run.json", (f"{TABLES}/double_descent.csv",)),
    "bounds": Kind(f"{NARROW}/bounds.csv", f"{WIDE}/bounds.csv", (f"{TABLES}/double_descent.csv",)),
    "table": Kind(f"{TABLES}/double_descent.csv", f"{TABLES}/double_descent_epochs.csv", (FACTS,)),
    "epochs": Kind(f"{TABLES}/double_descent_epochs.csv", f"{TABLES}/double_descent.csv"),
    "facts": Kind(FACTS, "figures/double_descent.json", (FIGURE,)),
    "pdf": Kind(FIGURE, "figures/double_descent.png"),
    "png": Kind("figures/double_descent.png", FIGURE),
    "sidecar": Kind("figures/double_descent.json", FACTS),
    "manifest": Kind(f"{DATA}/manifest.json", FACTS),
}


def empty(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def half(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def half_of_the_lines(path: Path, other: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))


def bit(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 3] ^= 1
    path.write_bytes(content)


def replaced(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def replaced_with_seal(path: Path, other: Path) -> None:
    for source, target in ((other, path), (_seal(other), _seal(path))):
        shutil.copy(source, target)


def deleted(path: Path, other: Path) -> None:
    path.unlink()


def bit_of_the_seal(path: Path, other: Path) -> None:
    bit(_seal(path), other)


WAYS: dict[str, Callable[[Path, Path], None]] = {
    way.__name__: way
    for way in (
        empty,
        half,
        half_of_the_lines,
        bit,
        replaced,
        replaced_with_seal,
        deleted,
        bit_of_the_seal,
    )
}


def _seal(path: Path) -> Path:
    return path.with_name(f".{path.name}.seal")


def reproducible(project: Project) -> dict[str, bytes]:
    """Everything that must come out the same, by path; bounds.csv has times in it."""
    patterns = (ARRAYS, LABELS, f"{DATA}/manifest.json", f"{RUNS}/*/checkpoints.safetensors")
    patterns += (f"{RUNS}/*/history.csv", f"{RUNS}/*/run.json", f"{TABLES}/*.csv", FACTS)
    patterns += ("figures/double_descent.*",)
    return {
        str(path.relative_to(project.folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(project.folder.glob(pattern))
    }


def verify(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/verify.py", "--scale", "smoke", *arguments],
        cwd=project.folder,
        env=project.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )


def damaged(whole: Project, folder: Path, kind: str, way: str, *, kept_time: bool) -> Project:
    """A copy with one file damaged, and whatever was made from it and has to go gone."""
    shutil.copytree(whole.folder, folder, symlinks=True, dirs_exist_ok=True)
    project = Project(folder)
    file, other, _ = KINDS[kind]
    before = (folder / file).stat()
    WAYS[way](folder / file, folder / other)
    if kept_time and way != "deleted":
        os.utime(folder / file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return project


def check(project: Project, expected: dict[str, bytes], kind: str, way: str) -> str:
    """What goes wrong with a damaged project; nothing, if it ends with the expected bytes."""
    file, _, gone = KINDS[kind]
    seen = verify(project)
    if seen.returncode != 1 or f"  {file} " not in seen.stdout:
        return f"not found by verify: {seen.stdout}"
    if gone and way != "deleted":
        for name in gone:
            (project.folder / name).unlink()
        refused = project.snakemake(*RUN, check=False)
        if refused.returncode == 0 or file not in refused.stdout or "set-aside" not in refused.stdout:
            return f"not refused by name: {refused.stdout}"
        if "Traceback" in refused.stdout:
            return f"traceback: {refused.stdout}"
    elif way != "deleted":
        verify(project, "--set-aside")
    if file.startswith(("results/data/", "results/labels/")):
        project.snakemake(file, *RUN[1:])
    made = project.snakemake(*RUN, check=False)
    if made.returncode != 0:
        return f"not made again: {made.stdout}"
    found = reproducible(project)
    different = [name for name in expected if found.get(name) != expected[name]]
    return f"other bytes: {different}" if different else ""


def cases(kinds: list[str]) -> Iterator[tuple[str, str, bool]]:
    for kind in kinds:
        for way in WAYS:
            for kept_time in (False, True) if way != "deleted" else (False,):
                yield kind, way, kept_time


def main(kinds: list[str]) -> int:
    wrong = count = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Project.copy_to(Path(folder) / "whole")
        whole.snakemake(*RUN)
        expected = reproducible(whole)
        for kind, way, kept_time in cases(kinds or list(KINDS)):
            started = time.monotonic()
            place = Path(folder) / "damaged"
            project = damaged(whole, place, kind, way, kept_time=kept_time)
            problem = check(project, expected, kind, way)
            shutil.rmtree(place)
            count, wrong = count + 1, wrong + bool(problem)
            seconds = time.monotonic() - started
            about = f"{kind:12} {way:20} time {'kept' if kept_time else 'new':5} {seconds:5.1f} s"
            print(about, problem or "ok", flush=True)
    print(f"{count} cases, {wrong} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
