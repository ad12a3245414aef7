"""At most so many jobs a GPU, by locks of the kernel that go with the process, however it dies.

Locks have the names of the GPUs themselves, whatever numbers a job sees them under, and lie in a folder
of the machine, so that they count for all projects and users on it. Not measured on a GPU.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.jobs.progress import LOG
from pipeline.provenance.files import OutputError

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

FOLDER = Path(tempfile.gettempdir()) / "gpu-slots"
_PAUSE = 0.2
"""Seconds between two looks for a free slot."""

_held: list[int] = []  # descriptors, which keep the locks for the life of the process


def hold_gpu(device: str, jobs_per_gpu: int) -> None:
    """Wait for a slot of a GPU and make that GPU the current one, where ``device`` may be a GPU.

    Nothing is done where a scheduler has assigned one, nor where there is none.
    """
    if device == "cpu" or _held or is_assigned(os.environ):
        return
    import torch  # jobs without a GPU need not wait for it

    if not torch.cuda.is_available():
        return  # choose_device says so if the device is cuda
    names = [str(torch.cuda.get_device_properties(n).uuid) for n in range(torch.cuda.device_count())]
    torch.cuda.set_device(take_slot(names, jobs_per_gpu, FOLDER))


def is_assigned(environment: Mapping[str, str]) -> bool:
    """Whether SLURM has given this job GPUs of its own, or shares of them."""
    return "SLURM_JOB_ID" in environment and bool(environment.get("CUDA_VISIBLE_DEVICES"))


def take_slot(gpus: Sequence[str], jobs_per_gpu: int, folder: Path) -> int:
    """Wait for a free slot and hold it until the process ends; the place in ``gpus`` of its GPU.

    GPUs with fewer jobs come first. Raises :class:`pipeline.provenance.files.OutputError` where locks
    cannot be made.
    """
    waited = False
    while True:
        for slot in range(jobs_per_gpu):
            for place, gpu in enumerate(gpus):
                if _lock(folder / f"{gpu}.{slot}"):
                    return place
        if not waited:
            LOG.info("waiting for one of %d slots on %d GPUs", jobs_per_gpu * len(gpus), len(gpus))
            waited = True
        time.sleep(_PAUSE)


def _lock(path: Path) -> bool:
    try:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
    except OSError as error:
        raise OutputError(
            f"cannot lock {path} ({error.strerror}), by which jobs share GPUs; set TMPDIR to a folder "
            "of this machine that can be written"
        ) from error
    _held.append(descriptor)
    return True


def _open(path: Path) -> int:
    """For reading, which a lock can do with: the file may be another user's."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o1777)  # for all users
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
