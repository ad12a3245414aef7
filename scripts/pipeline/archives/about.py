"""What an archive says of itself, in archive.json: by which code and packages, with which settings."""

import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config.yaml_files import read_mapping
from pipeline.jobs.command import CommandError

NAME = "archive.json"

FORMAT = 1
"""Of archives: raised when one of before can no longer be read."""


class Code(BaseModel):
    """The version of the project, and the commit where it is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    version: str
    commit: str  # empty outside of a repository
    changed: bool  # since that commit

    @property
    def words(self) -> str:
        """For a sentence."""
        commit = f", commit {self.commit[:12]}" if self.commit else ""
        return f"version {self.version}{commit}{' with changes' if self.changed else ''}"


class Step(BaseModel):
    """A job of the run, and the files of it that are in the archive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # its benchmark file below benchmarks/runs, without the ending
    rule: str
    outputs: tuple[str, ...]


class About(BaseModel):
    """The content of archive.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    code: Code
    scale: str
    weights: bool
    machine: str
    python: str
    packages: dict[str, str]
    steps: tuple[Step, ...]


def read_about(content: dict[str, Any], name: str) -> About:
    """Check the content of an archive.json; ``name`` is the archive. Raises :class:`CommandError`."""
    found = content.get("format")
    if found != FORMAT:
        code = content.get("code")
        version = code.get("version", "?") if isinstance(code, dict) else "?"
        raise CommandError(
            f"{name} is an archive of format {found}, of version {version} of the project, and this "
            f"version reads format {FORMAT}; use the version that made it"
        )
    try:
        return About.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CommandError(f"{name} is damaged: its {NAME} has no sense at {where}") from None


def code_of(base: Path) -> Code:
    """The version of the project in ``base``. Raises :class:`pipeline.config.errors.ConfigError`."""
    cited = read_mapping(base / "CITATION.cff", "CITATION.cff")
    inside = Path(_git(base, "rev-parse", "--show-toplevel") or "/").resolve() == base.resolve()
    return Code(
        title=cited["title"],
        version=str(cited["version"]),
        commit=_git(base, "rev-parse", "HEAD") if inside else "",
        changed=inside and bool(_git(base, "status", "--porcelain", "--untracked-files=no")),
    )


def _git(base: Path, *words: str) -> str:
    """What git says; nothing where there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(base), *words], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def machine() -> str:
    """The kind of this machine, without its name."""
    return f"{platform.system()} {platform.machine()}"


def installed() -> dict[str, str]:
    """Versions of all packages of this environment."""
    found = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
    return dict(sorted(found.items()))
