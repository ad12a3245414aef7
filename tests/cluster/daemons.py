"""A SLURM of two nodes on this machine: munged, slurmctld and two slurmd, with a folder of their own."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil

TEMPLATE = Path(__file__).with_name("slurm.conf")
NODES = ("node1", "node2")
SYSTEM = os.environ["PATH"] + ":/usr/sbin:/sbin"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")


def missing() -> list[str]:
    """Programs that are not there."""
    return [name for name in NEEDED if shutil.which(name, path=SYSTEM) is None]


class Cluster:
    """A running cluster; use it in a ``with`` block, which ends all of its daemons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SYSTEM}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        self.folder.mkdir(mode=0o755)
        (self.folder / "state").mkdir()
        self._configure()
        try:
            self._start_munge()
            self._start("slurmctld", "-D")
            for node in NODES:
                self.start_node(node)
            self.wait_until(
                "nodes are idle",
                lambda: self.call("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * 2,
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.SubprocessError, AssertionError):
            self.call("scancel", f"--user={getpass.getuser()}")
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in reversed(self._daemons.values()):
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _configure(self) -> None:
        with ExitStack() as opened:  # all at once, so that no two are the same
            ports = [_free_port(opened) for _ in range(1 + len(NODES))]
        text = TEMPLATE.read_text().format(
            host=socket.gethostname().split(".")[0],
            folder=self.folder,
            user=getpass.getuser(),
            controller_port=ports[0],
            node1_port=ports[1],
            node2_port=ports[2],
        )
        (self.folder / "slurm.conf").write_text(text)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        places = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "seed-file": "seed",
            "log-file": "log",
        }
        options = [f"--{option}={self.folder}/munge.{end}" for option, end in places.items()]
        self._start("munged", "--foreground", "--force", *options)
        self.wait_until("munged listens", (self.folder / "munge.socket").exists)

    def _start(self, program: str, *arguments: str, name: str = "") -> None:
        command = [shutil.which(program, path=SYSTEM) or program, *arguments]
        with (self.folder / f"{name or program}.out").open("wb") as out:
            self._daemons[name or program] = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._start("slurmd", "-D", "-N", node, name=node)

    def kill_node(self, node: str) -> None:
        """End a node as when its power fails: its daemon and all of its jobs, without a word."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        jobs = [one for one in psutil.process_iter() if self._runs_on(one, node)]
        keepers = {parent for job in jobs for parent in job.parents() if parent.name() == "slurmstepd"}
        for process in [*keepers, *jobs]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _runs_on(self, process: psutil.Process, node: str) -> bool:
        try:
            theirs = process.environ()
        except psutil.Error:
            return False
        ours = {"SLURM_CONF": self.environment["SLURM_CONF"], "SLURMD_NODENAME": node}
        return theirs.items() >= ours.items()

    def call(self, *command: str) -> str:
        """What one of SLURM's own commands prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """The state of each job, by number."""
        lines = self.call("squeue", "-h", "--states=all", "--format=%A %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_until(self, what: str, happened: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(AssertionError):
                if happened():
                    return
            time.sleep(0.2)
        raise TimeoutError(f"waited {seconds:.0f} s in vain until {what}; see the logs in {self.folder}")


def _free_port(opened: ExitStack) -> int:
    found = opened.enter_context(closing(socket.socket()))
    found.bind(("127.0.0.1", 0))
    port: int = found.getsockname()[1]
    return port
