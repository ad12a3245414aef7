"""Copies of the project in which whole workflows can run without touching this one."""

import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.provenance.files import write_arrays
from pipeline.provenance.seals import write_seal

ROOT = Path(__file__).parents[1]
FIGURE = "figures/double_descent.pdf"
RUN = (FIGURE, "--cores", "2", "--config", "scale=smoke")
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PARTS = ("Snakefile", "config.yaml", "rules", "scripts", "profiles", "docs", "envs", "CITATION.cff")


class Project:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def copy_to(cls, folder: Path) -> "Project":
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(
                    source, folder / part
                )  # compiled modules too, which saves half a second a job
            else:
                shutil.copy(source, folder / part)
        return cls(folder)

    def command(self, *arguments: str) -> list[str]:
        """A snakemake call at smoke scale; the target has to come first."""
        return [sys.executable, "-m", "snakemake", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"CI": "true"}

    def snakemake(
        self, *arguments: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment | dict(environment or {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """A call in a process group of its own, which appends to ``log``."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=hear_control_c,
            )

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))


def hear_control_c() -> None:
    """For a child: tests may run in the background, where shells have programs ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def collector():
    """Plans made in this process have garbage collected rarely, which is not for tests that train."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.fixture
def project(tmp_path):
    return Project.copy_to(tmp_path)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker fills by ``make``, which the others wait for."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project whose figure has been made at smoke scale; all workers share it, do not change it.

    Its folder has a name that shells and locales have trouble with, and the locale is the plainest.
    """

    def make(folder: Path) -> None:
        Project.copy_to(folder).snakemake(*RUN, environment=PLAIN)

    return Project(made_once(tmp_path_factory, "a b 'c'", make))


@pytest.fixture
def copy_of_finished(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Project(tmp_path)


def write_tensors(path, tensors, metadata=None):
    """Tensors as a file of the project's, sealed."""
    arrays = {key: tensor.detach().contiguous().numpy() for key, tensor in tensors.items()}
    write_arrays(path, arrays, metadata)
    write_seal(path)
