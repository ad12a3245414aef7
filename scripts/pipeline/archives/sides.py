"""Facts, tables, verdicts and settings of a finished run, in an archive or in a project's folder."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.archives.reading import opened
from pipeline.config.yaml_files import read_mapping
from pipeline.jobs.command import CommandError


@dataclass(frozen=True)
class Side:
    """One of two runs that are compared."""

    name: str
    scale: str
    code: str  # which version has made it, in words; empty where nobody knows
    files: tuple[str, ...]
    read: Callable[[str], bytes]

    def facts(self) -> dict[str, Any]:
        """The facts of each figure and table for readers, by its name."""
        return {Path(file).stem: self._json(file) for file in self._in("facts", ".json")}

    def tables(self) -> dict[str, pd.DataFrame]:
        """All tidy tables by name."""
        return {Path(file).stem: self._csv(file) for file in self._in("tables", ".csv")}

    def verdicts(self) -> dict[str, pd.DataFrame]:
        """Tables of claims by name."""
        names = [f"results/{self.scale}/{name}.csv" for name in ("claims", "claims_images")]
        return {Path(file).stem: self._csv(file) for file in names if file in self.files}

    def settings(self) -> dict[str, Any]:
        """With which settings each figure was made, by its name."""
        found = {}
        for file in self.files:
            if file.startswith("figures/") and file.endswith(".json"):
                about = self._json(file)
                if about.get("scale") == self.scale:
                    found[Path(file).stem] = about["settings"]
        return found

    def _in(self, folder: str, ending: str) -> list[str]:
        start = f"results/{self.scale}/{folder}/"
        return [file for file in self.files if file.startswith(start) and file.endswith(ending)]

    def _json(self, file: str) -> Any:
        try:
            return json.loads(self.read(file))
        except ValueError as error:
            raise CommandError(f"{self.name}: {file} is damaged ({error})") from None

    def _csv(self, file: str) -> pd.DataFrame:
        try:
            return pd.read_csv(io.BytesIO(self.read(file)))
        except ValueError as error:  # of pandas too
            raise CommandError(f"{self.name}: {file} is damaged ({error})") from None


def scale_of(path: Path) -> str:
    """The scale of an archive, or the one that the config.yaml of a folder names."""
    if path.is_dir():
        config = path / "config.yaml"
        return str(read_mapping(config, str(config)).get("scale"))
    with opened(path) as archive:
        return archive.about.scale


@contextmanager
def side(path: Path, scale: str) -> Iterator[Side]:
    """An archive, or what a folder has at a scale. Raises :class:`CommandError` where it has nothing."""
    if not path.is_dir():
        with opened(path) as archive:
            code = f"made by {archive.about.code.words}"
            files = tuple(sorted(archive.seals))
            yield Side(str(path), archive.about.scale, code, files, archive.read)
        return
    found = sorted([*path.glob(f"results/{scale}/**/*"), *path.glob("figures/*.json")])
    hidden = (".", "set-aside.")
    names = [file for file in found if file.is_file() and not file.name.startswith(hidden)]
    if not any(file.parent.name in ("facts", "tables") for file in names):
        raise CommandError(f"{path} has no results at scale {scale}; name another scale with --scale")
    files = tuple(file.relative_to(path).as_posix() for file in names)
    yield Side(str(path), scale, "a folder", files, lambda name: (path / name).read_bytes())
