"""A SLURM of two nodes on this machine, with or without accounting, in a folder of its own.

The daemons are munged, slurmctld and two slurmd, and with accounting mariadbd and slurmdbd.
"""

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

HERE = Path(__file__).parent
NODES = ("node1", "node2")
SYSTEM = os.environ["PATH"] + ":/usr/sbin:/sbin"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb", "mariadb-install-db", "sacctmgr", "sacct")
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/munge.socket"""


def missing(accounting: bool = False) -> list[str]:
    """Programs that are not there."""
    needed = (*NEEDED, *(FOR_ACCOUNTING if accounting else ()))
    return [name for name in needed if shutil.which(name, path=SYSTEM) is None]


class Cluster:
    """A running cluster; use it in a ``with`` block, which ends all of its daemons."""

    def __init__(self, folder: Path, accounting: bool = False) -> None:
        self.folder, self.accounting = folder, accounting
        self.environment: Mapping[str, str] = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SYSTEM}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        self.folder.mkdir(mode=0o755)
        (self.folder / "state").mkdir()
        self._configure()
        try:
            self._start_munge()
            if self.accounting:
                self._start_accounting()
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
        for daemon in reversed(self._daemons.values()):  # each may need those that were there before it
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _configure(self) -> None:
        names = ("controller_port", "node1_port", "node2_port", "accounting_port", "database_port")
        with ExitStack() as opened:  # all at once, so that no two are the same
            ports = {name: _free_port(opened) for name in names}
        filled = {
            "host": socket.gethostname().split(".")[0],
            "folder": self.folder,
            "user": getpass.getuser(),
            "accounting": ACCOUNTING.format(folder=self.folder, **ports) if self.accounting else "",
            **ports,
        }
        for name in ("slurm.conf", "slurmdbd.conf"):
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_text((HERE / name).read_text().format(**filled))
        self._database_port = ports["database_port"]

    def _start_accounting(self) -> None:
        place, user = self.folder / "database", f"--user={getpass.getuser()}"
        plain = "--auth-root-authentication-method=normal"
        made = (
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={place}",
            user,
            plain,
            "--skip-test-db",
        )
        self.call(*made)
        listens = (
            f"--socket={place}/socket",
            "--bind-address=127.0.0.1",
            f"--port={self._database_port}",
        )
        self._start("mariadbd", "--no-defaults", f"--datadir={place}", user, *listens)
        self.wait_until("the database listens", (place / "socket").exists)
        entry = "'slurm'@'127.0.0.1'"
        words = f"create user {entry} identified by 'tests'; grant all on *.* to {entry}"
        self.call("mariadb", "--no-defaults", listens[0], "--user=root", f"--execute={words}")
        self._start("slurmdbd", "-D")
        self.wait_until("slurmdbd answers", lambda: "tests" in self._registered())

    def _registered(self) -> str:
        """The clusters that the accounting knows; this one is among them then."""
        with suppress(AssertionError):  # it is there already, or nobody answers yet
            self.call("sacctmgr", "--immediate", "add", "cluster", "tests")
        return self.call("sacctmgr", "--noheader", "list", "cluster")

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

    def wait_until(self, what: str, happened: Callable[[], bool], seconds: float = 120) -> None:
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
